//! Expansion of `${NAME}` in values from the environment, and of `${camera_id}` in the prefix of a camera's snapshots.
//!
//! `$$` stands for a dollar sign, as does a `$` before anything but `{`. Keys are not expanded, and the value of a variable is
//! not expanded again. A variable that may hold a secret is refused by its name: write access to the configuration must not give
//! access to secrets in the environment of the service.

use crate::position::KeyPath;
use crate::problem::Problems;
use crate::tree::{Node, NodeValue};

/// A lookup of an environment variable by name.
pub type EnvLookup<'a> = &'a dyn Fn(&str) -> Option<String>;

const CAMERA_ID: &str = "camera_id";

/// Words that end a part of the name of a secret, where `_` separates parts.
const SECRET_WORDS: [&str; 9] =
    ["SECRET", "TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "AUTH", "AUTHORIZATION", "APIKEY"];
/// Parts of the name of a secret that are whole words: `BYPASS` is none.
const SECRET_PARTS: [&str; 2] = ["PASS", "PGPASS"];
/// The same behind or before another part: `PWD` alone is the working folder. SAS: a signed address of Azure.
const SECRET_BESIDE_OTHERS: [&str; 3] = ["PWD", "SAS", "DSN"];
/// Kinds of secret keys. `KEY` alone is not one: it may be the key of an object in S3.
const SECRET_KEYS: [&str; 6] =
    ["ACCESS_KEY", "API_KEY", "PRIVATE_KEY", "SECRET_KEY", "SIGNING_KEY", "ENCRYPTION_KEY"];
/// Variables that hold addresses, which may contain a password or a signature.
const ADDRESSES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "CONFIG_FILE"];
/// Services whose addresses usually contain a password: `REDIS_URL`, `MONGODB_URI`.
const SERVICES_WITH_LOGIN: [&str; 8] =
    ["DATABASE", "REDIS", "MONGO", "POSTGRES", "MYSQL", "AMQP", "RABBITMQ", "BROKER"];

/// Expands every value under `root`.
pub(super) fn expand(root: &mut Node, lookup: EnvLookup<'_>, problems: &mut Problems) {
    Expander { lookup, problems }.expand_node(root, &KeyPath::default(), None);
}

struct Expander<'a> {
    lookup: EnvLookup<'a>,
    problems: &'a mut Problems,
}

impl Expander<'_> {
    /// Expands a node. `camera_id` is the value of `${camera_id}`; `None` where it is not allowed.
    fn expand_node(&mut self, node: &mut Node, path: &KeyPath, camera_id: Option<&str>) {
        match &mut node.value {
            NodeValue::Text { text, expanded } if text.contains('$') => {
                match self.expand_text(text, camera_id) {
                    Ok(result) => (*text, *expanded) = result,
                    Err((message, remedy)) => self.problems.add(path, node.span, message, remedy),
                }
            }
            NodeValue::List(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    self.expand_node(item, &path.index(i), camera_id);
                }
            }
            NodeValue::Map(_) => self.expand_map(node, path, camera_id),
            _ => {}
        }
    }

    fn expand_map(&mut self, node: &mut Node, path: &KeyPath, camera_id: Option<&str>) {
        let camera_id = camera_id.map(str::to_owned).or_else(|| self.camera_id_of(node, path));
        let is_prefix_owner = path.to_string().ends_with(".routing.snapshot");
        let NodeValue::Map(entries) = &mut node.value else { return };
        for (key, value) in entries {
            let here = path.key(&key.name);
            let is_prefix = is_prefix_owner && key.name == "prefix";
            // A map passes the id on to the prefix in it; other values of a camera have no use for it.
            let inherits = is_prefix || matches!(value.value, NodeValue::Map(_));
            self.expand_node(value, &here, camera_id.as_deref().filter(|_| inherits));
        }
    }

    /// Returns the id of the camera at `path`; `None` if there is no camera at it.
    ///
    /// Returns a placeholder if the id is missing or wrong, which the schema check reports.
    fn camera_id_of(&self, node: &Node, path: &KeyPath) -> Option<String> {
        let is_camera = path.steps().len() == 2 && path.to_string().starts_with("cameras[");
        let id = match node.get("id").map(|id| &id.value) {
            Some(NodeValue::Text { text, .. }) => self.expand_text(text, None).ok().map(|(id, _)| id),
            _ => None,
        };
        // An id that the schema refuses could make a prefix wrong too: one mistake, not two.
        let id = id.filter(|id| id.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)));
        is_camera.then(|| id.unwrap_or_else(|| "camera".to_owned()))
    }

    /// Returns the expanded text, and `true` if a part of it comes from the environment.
    fn expand_text(&self, text: &str, camera_id: Option<&str>) -> Result<(String, bool), (String, String)> {
        let mut out = String::with_capacity(text.len());
        let mut from_environment = false;
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let tail = &rest[at + 1..];
            // `$$` first: in `$${NAME}` the reference is escaped.
            if let Some(after) = tail.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(reference) = tail.strip_prefix('{') {
                let (name, after) = split_reference(reference)?;
                out.push_str(&self.variable(name, camera_id)?);
                // The id is in the file, so messages may show it.
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

    /// Returns the value of a variable, or the message and remedy of a mistake.
    fn variable(&self, name: &str, camera_id: Option<&str>) -> Result<String, (String, String)> {
        if name == CAMERA_ID {
            return camera_id.map(str::to_owned).ok_or_else(|| {
                let message = "`${camera_id}` is not defined here".to_owned();
                (message, "use it only in a camera's `routing.snapshot.prefix`".to_owned())
            });
        }
        if is_secret_name(name) {
            let message =
                format!("`${{{name}}}` is not expanded: a variable with this name may hold a secret");
            let remedy = "write the value itself, or rename the variable, without SECRET, TOKEN, PASSWORD, CREDENTIAL, AUTH or ..._KEY";
            return Err((message, remedy.to_owned()));
        }
        (self.lookup)(name).ok_or_else(|| {
            let message = format!("the environment variable `{name}` is not set");
            (message, format!("set {name}, or write `$${{{name}}}` for the literal text"))
        })
    }
}

/// Returns `true` if a variable of this name may hold a secret, such as `HTTP_TOKEN`, `AWS_SECRET_ACCESS_KEY` and
/// `DBPASSWORD`, but not `TOKENIZER` or `MODEL_KEY`.
fn is_secret_name(name: &str) -> bool {
    // Proxies are read in either case: https_proxy, HTTPS_PROXY.
    let name = name.to_ascii_uppercase();
    let is_secret_part = |part: &str| {
        // PASSWORD2 and TOKENS are secrets as well.
        let word = part.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('S');
        SECRET_WORDS.iter().any(|secret| word.ends_with(secret))
            || SECRET_PARTS.contains(&part)
            || (SECRET_BESIDE_OTHERS.contains(&part) && part != name)
    };
    ADDRESSES.contains(&name.as_str())
        || is_address_with_login(&name)
        || SECRET_KEYS.iter().any(|key| name.contains(key))
        || name.starts_with("AWS_ENDPOINT_URL")
        || name.split('_').any(is_secret_part)
}

fn is_address_with_login(name: &str) -> bool {
    let is_of_service = |part: &str| SERVICES_WITH_LOGIN.iter().any(|service| part.starts_with(service));
    (name.ends_with("_URL") || name.ends_with("_URI")) && name.split('_').any(is_of_service)
}

/// Splits a reference at its closing brace, into the name and the rest.
fn split_reference(reference: &str) -> Result<(&str, &str), (String, String)> {
    let remedy = "write `${NAME}` with letters, digits and _ only, or `$$` for a dollar sign".to_owned();
    let Some((name, after)) = reference.split_once('}') else {
        return Err((format!("`${{{reference}` has no closing brace"), remedy));
    };
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts_well && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Ok((name, after))
    } else {
        Err((format!("`${{{name}}}` is not a valid variable name"), remedy))
    }
}

#[cfg(test)]
mod tests {
    use super::is_secret_name;

    #[test]
    fn secret_names_are_recognized() {
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
            "COOKIE_SIGNING_KEY",
            "MAPS_APIKEY",
            "BLOB_SAS_URL",
            "MYSQL_PWD",
            "PGPASS",
            "SENTRY_DSN",
            "DATABASE_URL",
            "REDIS_URL",
            "MONGODB_URI",
            "CELERY_BROKER_URL",
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
            "PWD",
            "MODEL_URL",
            "REDIS_STREAM",
            "STAGE",
            "BUCKET",
            "HOME",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
