//! `${NAME}` in values: from the environment; `${camera_id}` in the prefix of a camera's snapshots.
//!
//! `$$` stands for a dollar sign; a dollar sign before anything else stands for itself. Keys are not
//! expanded, and what a variable holds is not expanded again.

use crate::place::KeyPath;
use crate::problem::Problems;
use crate::tree::{Node, Value};

/// Looks a variable of the environment up.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

const CAMERA_ID: &str = "camera_id";

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
                Ok(result) => (*text, *expanded) = (result, true),
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
            Some(Value::Text { text, .. }) => self.text(text, None).ok(),
            _ => None,
        };
        let id = id.filter(|id| id.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)));
        is_camera.then(|| id.unwrap_or_else(|| "camera".to_owned()))
    }

    fn text(&self, text: &str, camera_id: Option<&str>) -> Result<String, (String, String)> {
        let mut out = String::with_capacity(text.len());
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
                rest = after;
            } else {
                out.push('$');
                rest = tail;
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn variable(&self, name: &str, camera_id: Option<&str>) -> Result<String, (String, String)> {
        if name == CAMERA_ID {
            return camera_id.map(str::to_owned).ok_or_else(|| {
                let message = "`${camera_id}` has no meaning here".to_owned();
                (message, "it stands only in a camera's `routing.snapshot.prefix`".to_owned())
            });
        }
        (self.environment)(name).ok_or_else(|| {
            let message = format!("the environment has no variable `{name}`");
            (message, format!("set {name}, or write `$${{{name}}}` if the text itself is meant"))
        })
    }
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
