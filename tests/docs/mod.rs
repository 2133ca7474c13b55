//! The documents say what is so: links lead somewhere, names exist, tables equal the program's.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test needs must be there")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use kvs_infer::config::{Overrides, event_schema, parse};
use kvs_infer::eval::parse_truth;
use kvs_infer::telemetry::all_metrics;
use regex_lite::Regex;

/// Folders that hold nothing of the project's own.
const FOREIGN: [&str; 7] = ["target", "node_modules", ".git", ".cache", ".venv", "corpus", "artifacts"];
/// Routes that only the page itself asks for.
const OF_THE_PAGE: [&str; 4] = ["/page/{file}", "/icon.svg", "/login", "/logout"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

fn documents_under(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() && !FOREIGN.contains(&name.as_str()) {
            documents_under(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// Every document, with its path from the root.
fn documents() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    documents_under(root(), &mut paths);
    paths.sort();
    let named = |path: &PathBuf| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (named(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// The text without its fenced blocks.
fn prose(text: &str) -> String {
    text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// The contents of the fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fenced = text.split("\n```").skip(1).step_by(2);
    let of_language = |block: &str| {
        block.split_once('\n').filter(|(named, _)| *named == language).map(|(_, body)| body.to_owned())
    };
    fenced.filter_map(of_language).collect()
}

/// Returns the part below a heading, up to the next heading of any level.
fn section(text: &str, heading: &str) -> String {
    let begun = text.lines().skip_while(|line| *line != heading).skip(1);
    begun.take_while(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

/// Returns the first word of each code span in the first column of a section's table.
fn first_column(section: &str) -> BTreeSet<String> {
    let name = Regex::new(r"^\| `([^` ]+)").unwrap();
    section.lines().filter_map(|line| Some(name.captures(line)?[1].to_owned())).collect()
}

fn spans(text: &str) -> Vec<String> {
    let span = Regex::new("`([^`\n]+)`").unwrap();
    span.captures_iter(&prose(text)).map(|found| found[1].to_owned()).collect()
}

/// A heading's anchor, as forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

fn anchors(text: &str) -> BTreeSet<String> {
    let text = prose(text);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

fn help_of(command: &[&str]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_kvs-infer"));
    let output = program.args(command).arg("--help").output().unwrap();
    assert!(output.status.success(), "{command:?} --help");
    String::from_utf8(output.stdout).unwrap()
}

fn commands() -> BTreeSet<String> {
    let name = Regex::new(r"^  ([a-z]+)  ").unwrap();
    let help = help_of(&[]);
    let listed = help.lines().skip_while(|line| *line != "Commands:").take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| Some(name.captures(line)?[1].to_owned()));
    names.filter(|name| name != "help").collect()
}

#[test]
fn the_documents_are_found() {
    let found: Vec<String> = documents().into_iter().map(|(name, _)| name).collect();
    for name in ["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "docs/operations.md"] {
        assert!(found.iter().any(|path| path == name), "{name} is not among {found:?}");
    }
}

#[test]
fn links_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut dead = Vec::new();
    for (name, text) in documents() {
        for found in link.captures_iter(&prose(&text)) {
            let target = &found[1];
            if !target.contains("://") && !leads_somewhere(&name, &text, target) {
                dead.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(dead.is_empty(), "dead links: {dead:#?}");
}

fn leads_somewhere(from: &str, text: &str, target: &str) -> bool {
    let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
    let file = root().join(from).parent().unwrap().join(path);
    let there =
        if path.is_empty() { text.to_owned() } else { std::fs::read_to_string(&file).unwrap_or_default() };
    (path.is_empty() || file.exists()) && (fragment.is_empty() || anchors(&there).contains(fragment))
}

#[test]
fn named_paths_exist() {
    let path = Regex::new(r"^[A-Za-z0-9_./-]+$").unwrap();
    let of_source = Regex::new(r"\.(rs|toml|py)$").unwrap();
    let mut missing = Vec::new();
    for (name, text) in documents() {
        for span in spans(&text).iter().filter(|span| path.is_match(span)) {
            let top = span.split('/').next().unwrap();
            let ours =
                span.contains('/') && !top.is_empty() && root().join(top).is_dir() && !FOREIGN.contains(&top);
            if (ours || of_source.is_match(span)) && !root().join(span).exists() {
                missing.push(format!("{name}: {span}"));
            }
        }
    }
    assert!(missing.is_empty(), "no such paths: {missing:#?}");
}

/// Adds the files under `folder` whose text contains `word`, in any case, by their paths from the root.
fn files_with_word(folder: &Path, word: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_with_word(&path, word, found);
        } else if std::fs::read_to_string(&path).is_ok_and(|text| text.to_lowercase().contains(word)) {
            found.insert(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
        }
    }
}

#[test]
fn the_walkthrough_of_a_new_sink_names_the_production_files_that_sns_touched() {
    let text = read("CONTRIBUTING.md");
    let section = text.split_once("\n### A new sink\n").unwrap().1;
    let item = Regex::new(r"(?m)^[0-9]+\. `([^`]+)`").unwrap();
    let named: BTreeSet<String> = item.captures_iter(section).map(|found| found[1].to_owned()).collect();
    let mut touched = BTreeSet::from(["Cargo.toml".to_owned()]);
    for folder in ["src", "crates/kvs-config/src"] {
        files_with_word(&root().join(folder), "sns", &mut touched);
    }
    touched.retain(|path| !path.starts_with("src/sinks/sns/"));
    assert!(read("Cargo.toml").contains("aws-sdk-sns"));
    assert_eq!(named, touched);
    assert!(named.len() <= 4, "{named:?}");
}

#[test]
fn named_make_targets_exist() {
    let (target, makefile) = (Regex::new(r"\bmake ([a-z-]+)").unwrap(), read("Makefile"));
    for (name, text) in documents() {
        let fenced = text.split("\n```").skip(1).step_by(2).map(str::to_owned);
        for code in spans(&text).into_iter().chain(fenced) {
            for found in target.captures_iter(&code) {
                let rule = format!("\n{}:", &found[1]);
                assert!(makefile.contains(&rule), "{name}: the Makefile has no target {}", &found[1]);
            }
        }
    }
}

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 120, "README.md has {lines} lines, of at most 120");
}

#[test]
fn the_readme_lists_the_commands() {
    assert_eq!(first_column(&section(&read("README.md"), "## Commands")), commands());
}

#[test]
fn the_readme_lists_the_paths() {
    let route = Regex::new(r#"\.route\("([^"]+)""#).unwrap();
    let source = read("src/http/routes.rs");
    let routes = route.captures_iter(&source).map(|found| found[1].to_owned());
    let routes: BTreeSet<String> = routes.filter(|path| !OF_THE_PAGE.contains(&path.as_str())).collect();
    // Paths that belong together share a row.
    let cell = Regex::new(r"^\|([^|]+)\|").unwrap();
    let path = Regex::new("`(/[^` ]*)`").unwrap();
    let table = section(&read("README.md"), "## HTTP");
    let cells = table.lines().filter_map(|line| Some(cell.captures(line)?[1].to_owned()));
    let listed =
        cells.flat_map(|cell| path.captures_iter(&cell).map(|found| found[1].to_owned()).collect::<Vec<_>>());
    assert_eq!(listed.collect::<BTreeSet<String>>(), routes);
}

#[test]
fn the_readme_names_the_variables() {
    let variable = Regex::new(r"\b[A-Z][A-Z0-9]*(_[A-Z0-9]+)+\b").unwrap();
    let names = |text: &str| -> BTreeSet<String> {
        variable.find_iter(text).map(|found| found.as_str().to_owned()).collect()
    };
    let helps: String = commands().iter().map(|command| help_of(&[command])).collect();
    let known =
        names(&[helps.clone(), read("Makefile"), read("scripts/env"), read("scripts/setup")].concat());
    let readme = names(&read("README.md"));
    let unknown: Vec<_> = readme.difference(&known).collect();
    assert!(unknown.is_empty(), "README.md names variables that nothing reads: {unknown:?}");
    let read_by_clap = Regex::new(r"\[env:\s+([A-Z_]+)").unwrap();
    for found in read_by_clap.captures_iter(&helps) {
        assert!(readme.contains(&found[1]), "README.md does not name {}", &found[1]);
    }
}

#[test]
fn ports_agree() {
    let default = Regex::new(r"HTTP_PORT=[^\]]*\]\s+\[default: (\d+)\]").unwrap();
    let asked = Regex::new(r"(?:localhost|127\.0\.0\.1):(\d+)").unwrap();
    for command in ["run", "demo", "healthcheck"] {
        let help = help_of(&[command]);
        let port = default.captures(&help).unwrap_or_else(|| panic!("{command}: no port in {help}"));
        assert_eq!(&port[1], "8080", "{command}");
    }
    assert!(help_of(&["sim"]).contains("127.0.0.1:4567"));
    for (name, text) in documents() {
        for found in asked.captures_iter(&text) {
            assert!(["8080", "4567"].contains(&&found[1]), "{name}: {}", &found[0]);
        }
    }
}

#[test]
fn the_table_of_metrics_is_the_programs() {
    let text = section(&read("docs/operations.md"), "## Metrics");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let output = Command::new(env!("CARGO_BIN_EXE_kvs-infer")).args(["schema", "metrics"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let printed: Vec<&str> = printed.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows, printed, "paste what `kvs-infer schema metrics` prints into docs/operations.md");
    assert_eq!(rows.len(), all_metrics().len());
}

#[test]
fn the_table_of_probes_is_the_programs() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("m.onnx"), "no model").unwrap();
    let camera = |id: &str, mode: &str| {
        let objects = "pipeline: [{ type: objects, objects: { yolo_weights: m.onnx } }]";
        format!("  - {{ id: {id}, kvs_stream_name: NAME, playback: {{ mode: {mode} }}, {objects} }}\n")
    };
    let publishers = "publishers: { kds_stream: NAME, s3_bucket: bucket, ddb_table: NAME, local_dir: events, \
                      sns_topic_arn: 'arn:aws:sns:us-east-1:123456789012:NAME' }\n";
    let shared = "state: { dir: state, ddb_table: NAME }\nsharing: { table: workers }\n";
    let cameras = [camera("a", "GETMEDIA"), camera("b", "HLS")].concat();
    std::fs::write(folder.path().join("c.yaml"), format!("{publishers}{shared}cameras:\n{cameras}")).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_kvs-infer"));
    program.args(["check", "--live", "--json", "--config", "c.yaml"]).current_dir(&folder);
    // Without credentials no service is called.
    for (name, value) in
        [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_REGION", "us-east-1"), ("HOME", "/none")]
    {
        program.env(name, value);
    }
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONFIG_FILE"] {
        program.env_remove(name);
    }
    let output = program.output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let printed: BTreeSet<String> = lines
        .filter_map(|line| Some(line["probe"].as_str()?.replace("m.onnx", "NAME").replace("workers", "NAME")))
        .collect();
    let (name, table) =
        (Regex::new("`([^`]+)`").unwrap(), section(&read("docs/operations.md"), "## Live check"));
    // What stands in brackets is the condition of the line.
    let condition = Regex::new(r"\([^)]*\)").unwrap();
    let first = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let documented: BTreeSet<String> = first
        .flat_map(|cell| {
            let cell = condition.replace_all(cell, "").into_owned();
            name.captures_iter(&cell).map(|found| found[1].to_owned()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(documented, printed, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn named_metrics_exist() {
    let name = Regex::new(r"\bkvs_infer_[a-z_]+\b").unwrap();
    let known: BTreeSet<&str> = all_metrics().iter().map(|metric| metric.name).collect();
    for (file, text) in documents() {
        for span in spans(&text) {
            let Some(found) = name.find(&span).filter(|found| !span[found.end()..].starts_with('*')) else {
                continue;
            };
            let metric = ["_bucket", "_count", "_sum"]
                .iter()
                .fold(found.as_str(), |name, part| name.trim_end_matches(part));
            assert!(known.contains(metric), "{file}: there is no metric {metric}");
        }
    }
}

#[test]
fn configurations_in_the_documents_load() {
    let environment = |name: &str| Some(name.to_owned());
    let mut count = 0;
    for (name, text) in documents() {
        for yaml in blocks(&text, "yaml").iter().filter(|yaml| yaml.contains("\ncameras:")) {
            count += 1;
            parse(&name, yaml, &environment, &Overrides::default())
                .unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    }
    assert!(count > 0, "README.md shows no configuration");
}

#[test]
fn truth_files_in_the_documents_can_be_used() {
    let mut count = 0;
    for (name, text) in documents() {
        for yaml in blocks(&text, "yaml").iter().filter(|yaml| yaml.contains("\nvisits:")) {
            count += 1;
            parse_truth(&name, yaml).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    }
    assert!(count > 0, "docs/evaluation.md shows no truth file");
}

#[test]
fn events_in_the_documents_are_valid() {
    let schema = jsonschema::validator_for(&serde_json::to_value(event_schema()).unwrap()).unwrap();
    let mut count = 0;
    for (name, text) in documents() {
        for json in blocks(&text, "json").iter().filter(|json| json.contains("\"event_id\"")) {
            count += 1;
            let event = serde_json::from_str(json).unwrap_or_else(|why| panic!("{name}: {why}"));
            let errors: Vec<String> = schema.iter_errors(&event).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{name}: {errors:?}");
        }
    }
    assert!(count > 0, "docs/operations.md shows no event");
}

/// Code that a shell is meant to run: blocks of bash, and blocks that are indented.
fn shell_code(text: &str) -> Vec<String> {
    let indented = text.split("\n\n").filter(|part| part.lines().all(|line| line.starts_with("    ")));
    blocks(text, "bash").into_iter().chain(indented.map(str::to_owned)).collect()
}

#[test]
fn shell_code_parses() {
    let mut parsed = 0;
    for (name, text) in documents() {
        let code = if name == "README.md" { shell_code(&text) } else { blocks(&text, "bash") };
        for code in code {
            let output = Command::new("bash").args(["-n", "-c", &code]).output().unwrap();
            assert!(output.status.success(), "{name}: {}\n{code}", String::from_utf8_lossy(&output.stderr));
            parsed += 1;
        }
    }
    assert!(parsed > 25, "{parsed} blocks of bash");
}

#[test]
fn named_commands_and_their_flags_exist() {
    let call = Regex::new(r#"kvs-infer ([a-z]+)((?:\\\n|[^\n#|;`&"])*)"#).unwrap();
    let flag = Regex::new(r"(?:^|\s)(--[a-z][a-z-]*)").unwrap();
    let (commands, mut seen) = (commands(), 0);
    for (name, text) in documents() {
        for code in spans(&text).into_iter().chain(shell_code(&text)) {
            for found in call.captures_iter(&code).filter(|found| commands.contains(&found[1])) {
                // A word that has a help of its own is a command of the command.
                let below =
                    found[2].split_whitespace().next().filter(|word| ["quantize", "half"].contains(word));
                let help = help_of(&[Some(&found[1]), below].into_iter().flatten().collect::<Vec<&str>>());
                for flag in flag.captures_iter(&found[2]) {
                    let is_there =
                        help.contains(&format!("{} ", &flag[1])) || help.contains(&format!("{}\n", &flag[1]));
                    assert!(is_there, "{name}: kvs-infer {} has no {}", &found[1], &flag[1]);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 10, "{seen} flags");
}

#[test]
fn the_table_of_metrics_in_cloudwatch_is_the_programs() {
    let source = read("src/telemetry/emf.rs");
    let made = source.split("#[cfg(test)]").next().unwrap();
    let metric = Regex::new(r#"\("([A-Z][A-Za-z]+)", "(Count|Seconds|Bytes|Percent|None)","#).unwrap();
    let mut made: Vec<(String, String)> =
        metric.captures_iter(made).map(|found| (found[1].to_owned(), found[2].to_owned())).collect();
    let row = Regex::new(r"(?m)^\| Service[, A-Za-z]* \| `([A-Za-z]+)` \| ([A-Za-z]+) \|").unwrap();
    let text = section(&read("docs/operations.md"), "## Metrics in CloudWatch");
    let mut documented: Vec<(String, String)> =
        row.captures_iter(&text).map(|found| (found[1].to_owned(), found[2].to_owned())).collect();
    made.sort();
    documented.sort();
    assert_eq!(documented, made);
}

/// Files of the project's own with these ends of names, with their paths from the root.
fn own_files(ends: &[&str]) -> Vec<(String, String)> {
    let (mut folders, mut files) = (vec![root().to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() && !FOREIGN.contains(&name.as_str()) {
                folders.push(path);
            } else if path.is_file() && ends.iter().any(|end| name.ends_with(end)) {
                let from_root = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                files.push((from_root, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    files
}

#[test]
fn requirements_are_defined_where_they_are_named() {
    let (named, defined) = (Regex::new(r"\bR(\d+)\b").unwrap(), Regex::new(r"(?m)^//! - R(\d+): ").unwrap());
    let ids = |pattern: &Regex, text: &str| -> BTreeSet<String> {
        pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
    };
    let known = ids(&defined, &read("tests/faults/main.rs"));
    assert!(known.len() > 4, "{known:?}");
    // In other code such a word may be a model or the id of a request.
    let comments =
        |text: &str| text.lines().filter(|line| line.trim_start().starts_with("//")).collect::<String>();
    for (name, text) in own_files(&[".rs", ".md", "Makefile", ".yml"]) {
        let is_code = name.ends_with(".rs") && !name.starts_with("tests/faults/");
        let text = if is_code { comments(&text) } else { text };
        let unknown: Vec<_> = ids(&named, &text).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{name}: tests/faults/main.rs does not define R{unknown:?}");
    }
}

#[test]
fn no_text_points_to_a_document_that_is_not_here() {
    let elsewhere =
        [["product", "contract"].join(" "), ["our", "contract"].join(" "), ["house", "review"].join("-")];
    for (name, text) in own_files(&[".rs", ".md", "Makefile", ".py", ".yaml", ".yml"]) {
        for words in &elsewhere {
            assert!(!text.contains(words.as_str()), "{name}: says {words:?}, which no reader has");
        }
    }
}
