//! Large files: a configuration is read, and anything else is refused with a report of limited size.

use std::fmt::Write as _;

use kvs_config::{Problem, ProblemReport, read};

const FRONT: &str = "cameras:
  - &front
    id: front
    kvs_stream_name: front-stream
    pipeline: [{ type: objects, objects: { yolo_weights: m.onnx } }]
";

fn problems_of(text: &str) -> Vec<Problem> {
    read(text, &|_| None).err().unwrap_or_default()
}

#[test]
fn a_thousand_cameras_share_an_anchor() {
    let mut text = FRONT.to_owned();
    for i in 1..1000 {
        writeln!(text, "  - {{ <<: *front, id: camera-{i} }}").expect("memory");
    }
    let document = read(&text, &|_| None).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(document.raw.cameras.len(), 1000);
    assert_eq!(document.raw.cameras[999].kvs_stream_name, "front-stream");
}

/// Returns lists of ten aliases, each of the previous list.
fn aliases_in_aliases() -> String {
    let level = |i: usize| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "));
    "a0: &a0 [x, x, x, x]\n".to_owned() + &(1..9).map(level).collect::<String>()
}

#[test]
fn files_that_aliases_blow_up_are_refused() {
    let long_texts = format!("a: &a {}\nb: [{}]\n", "y".repeat(1 << 20), "*a, ".repeat(90));
    for (name, text, said) in [
        ("values", aliases_in_aliases(), "values, counting those that aliases repeat"),
        ("texts", long_texts, "bytes of text, counting what aliases repeat"),
        ("depth", format!("a: {}{}", "[".repeat(80), "]".repeat(80)), "65 levels of nesting"),
    ] {
        let problems = problems_of(&text);
        let [problem] = &problems[..] else { panic!("{name}: {problems:#?}") };
        assert!(problem.message.ends_with(said), "{name}: {}", problem.message);
        assert!(problem.span.is_some(), "{name}");
    }
}

/// A line is shown per mistake: whole lines would make the report grow with the square of the file.
#[test]
fn a_report_grows_with_the_mistakes_only() {
    let key = "k".repeat(50_000);
    for (name, text) in [
        ("one line", format!("cameras: [{}]", "a, ".repeat(2000))),
        ("below one long key", format!("models: {{ ? {key} : {{ {} }} }}", keys(2000))),
    ] {
        let problems = problems_of(&text);
        assert!(problems.len() >= 2000, "{name}: {}", problems.len());
        let report =
            ProblemReport { kind: "config", file: "c", text: &text, problems: &problems }.to_string();
        assert!(report.len() < problems.len() * 1000, "{name}: {} bytes", report.len());
    }
}

fn keys(count: usize) -> String {
    (0..count).map(|i| format!("k{i}: 7, ")).collect()
}

#[test]
fn a_long_line_is_shown_around_its_mistake() {
    let text = format!(
        "device: cpu # {}\nmodels: {{ a: {{ path: m.onnx, {}sha: 1, {} }} }}",
        "-".repeat(300),
        " ".repeat(200),
        " ".repeat(200)
    );
    let problems = problems_of(&text);
    let report = ProblemReport { kind: "config", file: "c", text: &text, problems: &problems }.to_string();
    let lines: Vec<&str> = report.lines().collect();
    let shown = lines.iter().position(|line| line.starts_with("   2 | ...")).expect("the line");
    assert_eq!(lines[shown].find("sha: 1"), lines[shown + 1].find("^^^"), "{report}");
    assert!(lines[shown].ends_with("...") && lines[shown].len() < 180, "{report}");
}

/// Lines are counted as YAML counts them, so that the report shows the right one.
#[test]
fn lines_may_end_with_a_carriage_return() {
    for end in ["\n", "\r\n", "\r"] {
        let text = format!("log_level: info{end}{end}device: gpu{end}");
        let problems = problems_of(&text);
        let report =
            ProblemReport { kind: "config", file: "c", text: &text, problems: &problems }.to_string();
        assert!(
            report.contains("c:3:9\n     |\n   3 | device: gpu\n     |         ^^^\n"),
            "{end:?}: {report}"
        );
    }
}
