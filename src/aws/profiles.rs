//! The files that AWS's tools share: profiles in `~/.aws/config` and `~/.aws/credentials`.
//!
//! The SDK reads them too. Its errors do not name the files or the profiles that are in them, and this does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Returns the value of an environment variable.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

const DEFAULT: &str = "default";

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
    /// Keys and values by section: `default`, `profile NAME`, `sso-session NAME`.
    sections: BTreeMap<String, BTreeMap<String, String>>,
}

impl ProfileFiles {
    /// Reads the files that the environment names, or those of the home folder. A missing one is empty.
    pub(super) fn read(environment: Environment<'_>) -> Self {
        let set = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
        let home = set("HOME").map(PathBuf::from).unwrap_or_default();
        let path = |variable: &str, file: &str| {
            set(variable).map_or_else(|| home.join(".aws").join(file), |path| expand_home(&path, &home))
        };
        let config = ProfileFile::read(path("AWS_CONFIG_FILE", "config"), Kind::Config);
        let credentials =
            ProfileFile::read(path("AWS_SHARED_CREDENTIALS_FILE", "credentials"), Kind::Credentials);
        let selected = set("AWS_PROFILE").unwrap_or_else(|| DEFAULT.to_owned());
        Self { selected, files: vec![config, credentials] }
    }

    /// Returns the name of the profile in use.
    pub(super) fn selected(&self) -> &str {
        &self.selected
    }

    /// Returns whether either file has the profile.
    pub(super) fn has(&self, profile: &str) -> bool {
        self.profile_names().contains(profile)
    }

    /// Returns whether there is an SSO session of this name.
    pub(super) fn has_sso_session(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.sections.contains_key(&format!("sso-session {name}")))
    }

    /// Returns a key's value in a profile.
    pub(super) fn value(&self, profile: &str, key: &str) -> Option<String> {
        let section = format!("profile {profile}");
        let mut values = self.files.iter().filter_map(|file| file.sections.get(&section)?.get(key));
        values.next_back().filter(|value| !value.is_empty()).cloned()
    }

    /// Returns the names of all profiles.
    pub(super) fn profile_names(&self) -> BTreeSet<String> {
        let sections = self.files.iter().flat_map(|file| file.sections.keys());
        sections.filter_map(|section| section.strip_prefix("profile ")).map(str::to_owned).collect()
    }

    /// Returns the searched files in words, such as `/home/me/.aws/config (missing), ...`.
    pub(super) fn searched(&self) -> String {
        let one = |file: &ProfileFile| {
            let missing = if file.is_there { "" } else { " (missing)" };
            format!("{}{missing}", file.path.display())
        };
        self.files.iter().map(one).collect::<Vec<_>>().join(" and ")
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Config,
    Credentials,
}

impl ProfileFile {
    fn read(path: PathBuf, kind: Kind) -> Self {
        let text = std::fs::read(&path);
        let is_there = text.is_ok();
        let sections = sections(&String::from_utf8_lossy(&text.unwrap_or_default()), kind);
        Self { path, is_there, sections }
    }
}

fn expand_home(path: &str, home: &Path) -> PathBuf {
    path.strip_prefix("~/").map_or_else(|| PathBuf::from(path), |rest| home.join(rest))
}

fn sections(text: &str, kind: Kind) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut current = None;
    for line in text.trim_start_matches('\u{feff}').lines() {
        // An indented line continues the value above it, which none of the keys that are asked for has.
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            current = rest.split_once(']').and_then(|(name, _)| section_name(name, kind));
            if let Some(name) = &current {
                sections.entry(name.clone()).or_default();
            }
        } else if let (Some(name), Some((key, value))) = (&current, line.split_once('=')) {
            let value = value.split(" #").next().unwrap_or_default().trim();
            let section = sections.entry(name.clone()).or_default();
            section.insert(key.trim().to_ascii_lowercase(), value.to_owned());
        }
    }
    sections
}

/// Returns the section's kind and name with one blank between them.
fn section_name(header: &str, kind: Kind) -> Option<String> {
    let mut words = header.split_whitespace();
    let (first, second) = (words.next()?, words.next());
    let bare = |name: &str| name.trim_matches(['"', '\'']).to_owned();
    match (kind, first, second) {
        (Kind::Credentials, name, None) => Some(format!("profile {}", bare(name))),
        (Kind::Config, DEFAULT, None) => Some(format!("profile {DEFAULT}")),
        (Kind::Config, kind @ ("profile" | "sso-session"), Some(name)) => {
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
}
