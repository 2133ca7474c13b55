//! Reads the profiles of AWS's tools in `~/.aws/config` and `~/.aws/credentials`.
//!
//! The SDK reads them too, but its errors do not name the files and the profiles in them, as those of this program do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A function that returns the value of an environment variable.
pub(super) type EnvironmentLookup<'a> = &'a dyn Fn(&str) -> Option<String>;

const DEFAULT: &str = "default";
/// Keys by which a profile has its own credentials.
const SOURCES: [&str; 6] = [
    "aws_access_key_id",
    "credential_process",
    "login_session",
    "sso_account_id",
    "sso_session",
    "sso_start_url",
];

/// The sections of both files.
#[derive(Clone, Debug)]
pub(super) struct ProfileFiles {
    selected: String,
    files: Vec<ProfileFile>,
}

#[derive(Clone, Debug)]
struct ProfileFile {
    path: PathBuf,
    is_there: bool,
    kind: ProfileFileKind,
    /// Keys and values by section: `default`, `profile NAME`, `sso-session NAME`.
    sections: BTreeMap<String, BTreeMap<String, String>>,
    /// Names in headings that are not valid in this file but in the other one, with the headings.
    misnamed: BTreeMap<String, String>,
}

impl ProfileFiles {
    /// Reads the files that the environment names, or those of the home folder. A missing one is empty.
    pub(super) fn read(environment: EnvironmentLookup<'_>) -> Self {
        let set = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
        let path = |variable: &str, file: &str| {
            let named = set(variable).unwrap_or_else(|| format!("~/.aws/{file}"));
            in_home(&named, environment)
        };
        let config = ProfileFile::read(path("AWS_CONFIG_FILE", "config"), ProfileFileKind::Config);
        let credentials = ProfileFile::read(
            path("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            ProfileFileKind::Credentials,
        );
        let selected = set("AWS_PROFILE").unwrap_or_else(|| DEFAULT.to_owned());
        Self { selected, files: vec![config, credentials] }
    }

    /// Returns the name of the profile in use.
    pub(super) fn selected(&self) -> &str {
        &self.selected
    }

    /// Returns `true` if either file has the profile.
    pub(super) fn has(&self, profile: &str) -> bool {
        self.profile_names().contains(profile)
    }

    /// Returns `true` if there is an SSO session of this name.
    pub(super) fn has_sso_session(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.sections.contains_key(&format!("sso-session {name}")))
    }

    /// Returns a key's value in a profile.
    pub(super) fn value(&self, profile: &str, key: &str) -> Option<String> {
        let section = format!("profile {profile}");
        // The credentials file takes precedence over the configuration, so the last value counts.
        let mut values = self.files.iter().filter_map(|file| file.sections.get(&section)?.get(key));
        values.next_back().filter(|value| !value.is_empty()).cloned()
    }

    /// Returns the names of all profiles.
    pub(super) fn profile_names(&self) -> BTreeSet<String> {
        let sections = self.files.iter().flat_map(|file| file.sections.keys());
        sections.filter_map(|section| section.strip_prefix("profile ")).map(str::to_owned).collect()
    }

    /// Returns the remedy for a profile whose heading has the form of the other file.
    pub(super) fn heading_remedy(&self, profile: &str) -> Option<String> {
        let file = self.files.iter().find(|file| file.misnamed.contains_key(profile))?;
        let (written, path) = (&file.misnamed[profile], file.path.display());
        let wanted = match file.kind {
            ProfileFileKind::Config => format!("[profile {profile}]"),
            ProfileFileKind::Credentials => format!("[{profile}]"),
        };
        Some(format!("in {path} write {wanted} in place of [{written}]"))
    }

    /// Returns the chain of `source_profile` from `profile` on if it is circular, and `None` otherwise.
    pub(super) fn circle_from(&self, profile: &str) -> Option<Vec<String>> {
        let mut seen = vec![profile.to_owned()];
        loop {
            let last = seen.last()?;
            let has = |profile: &str, key: &str| self.value(profile, key).is_some();
            if !has(last, "role_arn") || has(last, "web_identity_token_file") {
                return None;
            }
            let source = self.value(last, "source_profile")?;
            let is_again = seen.contains(&source);
            // A role may be assumed with other credentials of its own profile, or with the keys of another profile.
            let beside = source == *last && SOURCES.iter().any(|key| has(&source, key));
            if beside || !is_again && has(&source, "aws_access_key_id") {
                return None;
            }
            seen.push(source);
            if is_again {
                return Some(seen);
            }
        }
    }

    /// Returns the searched files as a text, such as `/home/me/.aws/config (missing), ...`.
    pub(super) fn searched(&self) -> String {
        let one = |file: &ProfileFile| {
            let missing = if file.is_there { "" } else { " (missing)" };
            format!("{}{missing}", file.path.display())
        };
        self.files.iter().map(one).collect::<Vec<_>>().join(" and ")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProfileFileKind {
    Config,
    Credentials,
}

impl ProfileFile {
    fn read(path: PathBuf, kind: ProfileFileKind) -> Self {
        let text = std::fs::read(&path);
        let is_there = text.is_ok();
        let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
        Self { path, is_there, kind, sections: sections(&text, kind), misnamed: misnamed(&text, kind) }
    }
}

/// Returns a path with `~` replaced by the home folder, as AWS's tools do; without one it stays.
pub(super) fn in_home(path: &str, environment: EnvironmentLookup<'_>) -> PathBuf {
    let home = environment("HOME").filter(|home| !home.trim().is_empty());
    match (path.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            Path::new(&home).join(rest.trim_start_matches('/'))
        }
        _ => PathBuf::from(path),
    }
}

fn sections(text: &str, kind: ProfileFileKind) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut current = None;
    // Editors on Windows write a byte order mark.
    for line in text.trim_start_matches('\u{feff}').lines() {
        // An indented line continues the value above it. None of the keys that this program reads has such values.
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            current = rest.split_once(']').and_then(|(name, _)| section_name(name, kind));
            if let Some(name) = &current {
                sections.entry(name.clone()).or_default();
            }
        } else if let (Some(name), Some((key, value))) = (&current, line.split_once('=')) {
            // AWS's tools accept a comment after a blank and `#`.
            let value = value.split(" #").next().unwrap_or_default().trim();
            let section = sections.entry(name.clone()).or_default();
            section.insert(key.trim().to_ascii_lowercase(), value.to_owned());
        }
    }
    sections
}

/// Returns the names in headings of the other file's form: `[p]` in the configuration, `[profile p]` among the credentials.
fn misnamed(text: &str, kind: ProfileFileKind) -> BTreeMap<String, String> {
    let headings = text.trim_start_matches('\u{feff}').lines().filter_map(|line| {
        let (heading, _) = line.strip_prefix('[')?.split_once(']')?;
        let words: Vec<&str> = heading.split_whitespace().collect();
        let name = match (kind, words.as_slice()) {
            (ProfileFileKind::Config, [name]) if *name != DEFAULT => name,
            (ProfileFileKind::Credentials, ["profile", name]) => name,
            _ => return None,
        };
        Some((name.trim_matches(['"', '\'']).to_owned(), words.join(" ")))
    });
    headings.collect()
}

/// Returns the section's kind and name with one blank between them.
fn section_name(header: &str, kind: ProfileFileKind) -> Option<String> {
    let mut words = header.split_whitespace();
    let (first, second) = (words.next()?, words.next());
    let bare = |name: &str| name.trim_matches(['"', '\'']).to_owned();
    match (kind, first, second) {
        (ProfileFileKind::Credentials, name, None) => Some(format!("profile {}", bare(name))),
        (ProfileFileKind::Config, DEFAULT, None) => Some(format!("profile {DEFAULT}")),
        (ProfileFileKind::Config, kind @ ("profile" | "sso-session"), Some(name)) => {
            Some(format!("{kind} {}", bare(name)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read_from_both_files() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".aws");
        std::fs::create_dir(&folder).unwrap();
        let config = "\u{feff}# comment\n[default]\nregion = us-east-1 # here\n[profile corp]\nsso_session=s\n\
                      s3 =\n  addressing_style = path\n[ profile  \"two\" ]\n[sso-session s]\n[services x]\n[odd]\n";
        std::fs::write(folder.join("config"), config).unwrap();
        let environment = |name: &str| match name {
            "HOME" => Some(home.path().display().to_string()),
            "AWS_PROFILE" => Some("corp".to_owned()),
            _ => None,
        };
        let files = ProfileFiles::read(&environment);
        assert_eq!(files.selected(), "corp");
        assert_eq!(files.profile_names().into_iter().collect::<Vec<_>>(), ["corp", "default", "two"]);
        assert_eq!(files.value("corp", "sso_session").as_deref(), Some("s"));
        assert_eq!(files.value("corp", "addressing_style"), None);
        assert_eq!(files.value("default", "region").as_deref(), Some("us-east-1"));
        assert!(files.has_sso_session("s") && !files.has_sso_session("t"));
        assert!(files.has("two") && !files.has("odd"));
        assert!(files.searched().ends_with(".aws/credentials (missing)"), "{}", files.searched());
        std::fs::write(folder.join("credentials"), "[corp]\naws_access_key_id = A\n[keys]\n").unwrap();
        let files = ProfileFiles::read(&environment);
        assert!(files.has("keys") && files.value("corp", "aws_access_key_id").is_some());
    }

    fn files(config: &str, credentials: &str) -> (tempfile::TempDir, ProfileFiles) {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("c"), config).unwrap();
        std::fs::write(home.path().join("k"), credentials).unwrap();
        let environment = |name: &str| match name {
            "HOME" => Some(home.path().display().to_string()),
            "AWS_CONFIG_FILE" => Some("~/c".to_owned()),
            "AWS_SHARED_CREDENTIALS_FILE" => Some("~/k".to_owned()),
            _ => None,
        };
        let files = ProfileFiles::read(&environment);
        (home, files)
    }

    #[test]
    fn a_heading_of_the_other_file_has_a_remedy() {
        let (_home, files) = files("[p]\n[profile q]\n[default]\n", "[profile k]\n[r]\n");
        for (profile, words) in [
            ("p", Some("/c write [profile p] in place of [p]")),
            ("k", Some("/k write [k] in place of [profile k]")),
            ("q", None),
            ("r", None),
            ("default", None),
        ] {
            let remedy = files.heading_remedy(profile);
            assert_eq!(remedy.is_some(), words.is_some(), "{profile}: {remedy:?}");
            assert!(remedy.unwrap_or_default().ends_with(words.unwrap_or_default()), "{profile}");
        }
    }

    #[test]
    fn circles_by_table() {
        let role = |name: &str, source: &str| {
            format!("[profile {name}]\nrole_arn = arn:aws:iam::1:role/{name}\nsource_profile = {source}\n")
        };
        let keys = "aws_access_key_id = A\naws_secret_access_key = S\n";
        for (name, config, circle) in [
            ("itself", role("a", "a"), Some("a a")),
            ("its own keys", role("a", "a") + keys, None),
            ("its own process", role("a", "a") + "credential_process = x\n", None),
            ("two", role("a", "b") + &role("b", "a"), Some("a b a")),
            ("a circle further on", role("a", "b") + &role("b", "c") + &role("c", "b"), Some("a b c b")),
            ("a source that is itself", role("a", "b") + &role("b", "b"), Some("a b b")),
            ("keys on the way", role("a", "b") + &role("b", "a") + keys, None),
            ("keys at the end", role("a", "b") + "[profile b]\n" + keys, None),
            ("no role there", role("a", "b") + "[profile b]\nsource_profile = a\n", None),
            ("no such source", role("a", "b"), None),
        ] {
            let (_home, files) = files(&config, "");
            let found = files.circle_from("a").map(|names| names.join(" "));
            assert_eq!(found.as_deref(), circle, "{name}");
        }
    }
}
