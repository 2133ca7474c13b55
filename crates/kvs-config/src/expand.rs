//! `${NAME}` in values: from the environment; `${camera_id}` in the prefix of a camera's snapshots.
//!
//! `$$` stands for a dollar sign; a dollar sign before anything else stands for itself. Keys are not
//! expanded, and what a variable holds is not expanded again. A variable that may hold a secret is refused by its name:
//! who can write the configuration must not learn what the environment of the service holds.

use crate::place::KeyPath;
use crate::problem::Problems;
use crate::tree::{Node, Value};

/// Looks a variable of the environment up.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

const CAMERA_ID: &str = "camera_id";

/// Words at the end of a part of a name (parts are separated by `_`) that holds a secret.
const SECRET_WORDS: [&str; 8] =
    ["SECRET", "TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "AUTH", "AUTHORIZATION"];
/// Kinds of keys that are secrets. `KEY` alone is not: it may be the key of an object in S3.
const SECRET_KEYS: [&str; 4] = ["ACCESS_KEY", "API_KEY", "PRIVATE_KEY", "SECRET_KEY"];
/// Variables that hold addresses, with a password or a signature in them as it may be.
const ADDRESSES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "CONFIG_FILE", "DATABASE_URL"];

/// Expands every value under `root`.
pub(super) fn expand(root: &mut Node, environment: Environment<'_>, problems: &mut Problems) {
    Expander { environment, problems }.node(root, &KeyPath::default(), None);
}

struct Expander<'a> {
    environment: Environment<'a>,
    problems: &'a mut Problems,
}

impl Expander<'_> {
    /// `camera_id` is what `${camera_id}` stands for here; `None`: it may not stand here.
    fn node(&mut self, node: &mut Node, path: &KeyPath, camera_id: Option<&str>) {
        match &mut node.value {
            Value::Text { text, expanded } if text.contains('$') => match self.text(text, camera_id) {
                Ok(result) => (*text, *expanded) = result,
                Err((message, remedy)) => self.problems.add(path, node.place, message, remedy),
            },
            Value::List(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    self.node(item, &path.index(i), camera_id);
                }
            }
            Value::Map(_) => self.map(node, path, camera_id),
            _ => {}
        }
    }

    fn map(&mut self, node: &mut Node, path: &KeyPath, camera_id: Option<&str>) {
        let camera_id = camera_id.map(str::to_owned).or_else(|| self.camera_id_of(node, path));
        let is_prefix_owner = path.to_string().ends_with(".routing.snapshot");
        let Value::Map(entries) = &mut node.value else { return };
        for (key, value) in entries {
            let here = path.key(&key.name);
            let is_prefix = is_prefix_owner && key.name == "prefix";
            let inherits = is_prefix || matches!(value.value, Value::Map(_));
            self.node(value, &here, camera_id.as_deref().filter(|_| inherits));
        }
    }

    /// The id of the camera that `node` is, if it is one; a stand-in where its id is missing or wrong, which
    /// is reported elsewhere.
    fn camera_id_of(&self, node: &Node, path: &KeyPath) -> Option<String> {
        let is_camera = path.steps().len() == 2 && path.to_string().starts_with("cameras[");
        let id = match node.get("id").map(|id| &id.value) {
            Some(Value::Text { text, .. }) => self.text(text, None).ok().map(|(id, _)| id),
            _ => None,
        };
        let id = id.filter(|id| id.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)));
        is_camera.then(|| id.unwrap_or_else(|| "camera".to_owned()))
    }

    /// Returns the text expanded, and whether a part of it comes from the environment.
    fn text(&self, text: &str, camera_id: Option<&str>) -> Result<(String, bool), (String, String)> {
        let mut out = String::with_capacity(text.len());
        let mut from_environment = false;
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let tail = &rest[at + 1..];
            if let Some(after) = tail.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(reference) = tail.strip_prefix('{') {
                let (name, after) = split_reference(reference)?;
                out.push_str(&self.variable(name, camera_id)?);
                from_environment |= name != CAMERA_ID;
                rest = after;
            } else {
                out.push('$');
                rest = tail;
            }
        }
        out.push_str(rest);
        Ok((out, from_environment))
    }

    fn variable(&self, name: &str, camera_id: Option<&str>) -> Result<String, (String, String)> {
        if name == CAMERA_ID {
            return camera_id.map(str::to_owned).ok_or_else(|| {
                let message = "`${camera_id}` has no meaning here".to_owned();
                (message, "it stands only in a camera's `routing.snapshot.prefix`".to_owned())
            });
        }
        if is_secret_name(name) {
            let message = format!("`${{{name}}}` is not expanded: a variable of this name may hold a secret");
            let remedy = "write the value itself, or give the variable another name, without SECRET, TOKEN, PASSWORD, CREDENTIAL, AUTH or ..._KEY";
            return Err((message, remedy.to_owned()));
        }
        (self.environment)(name).ok_or_else(|| {
            let message = format!("the environment has no variable `{name}`");
            (message, format!("set {name}, or write `$${{{name}}}` if the text itself is meant"))
        })
    }
}

/// Returns whether a variable of this name may hold a secret, such as `HTTP_TOKEN`, `AWS_SECRET_ACCESS_KEY` and
/// `DBPASSWORD`, but not `TOKENIZER` or `MODEL_KEY`.
fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let is_secret_part = |part: &str| {
        let word = part.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('S');
        SECRET_WORDS.iter().any(|secret| word.ends_with(secret)) || part == "PASS"
    };
    ADDRESSES.contains(&name.as_str())
        || SECRET_KEYS.iter().any(|key| name.contains(key))
        || name.starts_with("AWS_ENDPOINT_URL")
        || name.split('_').any(is_secret_part)
}

/// The name and what follows the brace.
fn split_reference(reference: &str) -> Result<(&str, &str), (String, String)> {
    let remedy = "write `${NAME}` with letters, digits and _ only, or `$$` for a dollar sign".to_owned();
    let Some((name, after)) = reference.split_once('}') else {
        return Err((format!("`${{{reference}` has no closing brace"), remedy));
    };
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts_well && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Ok((name, after))
    } else {
        Err((format!("`${{{name}}}` names no variable"), remedy))
    }
}

#[cfg(test)]
mod tests {
    use super::is_secret_name;

    #[test]
    fn names_of_secrets_by_table() {
        for name in [
            "HTTP_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ACCESS_KEY_ID",
            "AWS_SESSION_TOKEN",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_ENDPOINT_URL_S3",
            "CONFIG_FILE",
            "https_proxy",
            "db_password2",
            "DBPASSWORD",
            "MYTOKENS",
            "SMTP_PASS",
            "GITHUB_AUTH",
            "MAPS_API_KEY",
            "TLS_PRIVATE_KEY",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "AWS_REGION",
            "CAMERA_PREFIX",
            "KVS_INFER_CACHE",
            "MODEL_KEY",
            "TOKENIZER",
            "SECRETARY_CAMERA",
            "AUTHOR",
            "BYPASS",
            "STAGE",
            "BUCKET",
            "HOME",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
