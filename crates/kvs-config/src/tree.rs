//! The tree of a file, in which every key and value has its position.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::Spanned;

use crate::position::{KeyPath, PathStep, TextSpan};

/// A value and its position.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: NodeValue,
    pub(super) span: TextSpan,
}

#[derive(Clone, Debug)]
pub(super) enum NodeValue {
    Null,
    Bool(bool),
    Number(Number),
    /// A text; `expanded` if a part of it comes from the environment.
    Text {
        text: String,
        expanded: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key and its position.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) span: TextSpan,
}

/// Parses a YAML document; an empty one is [`NodeValue::Null`].
///
/// Repetition by aliases is limited by the number of nodes (250,000) and the bytes of texts (64 MiB) after expansion.
///
/// # Errors
/// The text is not YAML, has a duplicate key, or exceeds a limit. Only the first error is reported.
pub(super) fn parse(text: &str) -> Result<Node, serde_saphyr::Error> {
    // Strict booleans: `yes` and `no` are texts, as in YAML 1.2. Infinities and NaN stay texts, so that the type check reports them
    // with their position. No ratio of aliases to anchors: a thousand cameras may share one anchor.
    let options = serde_saphyr::options! {
       strict_booleans: true,
       with_snippet: false,
       non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::AsString,
       budget: serde_saphyr::budget! { enforce_alias_anchor_ratio: false },
    };
    serde_saphyr::from_str_with_options(text, options)
}

impl Node {
    /// Returns the value under `key`, if this is a map that has the key.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            NodeValue::Map(entries) => entries.iter().find(|(k, _)| k.name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// Moves a map or list that begins on a line below its key to the position of the key, which is where a reader looks.
    fn at_key(mut self, key: &Key) -> Self {
        let is_block =
            matches!(self.value, NodeValue::Map(_) | NodeValue::List(_)) && self.span.line > key.span.line;
        if is_block {
            self.span = key.span;
        }
        self
    }

    /// Returns the node at `path`, or its nearest ancestor in the tree.
    pub(super) fn nearest(&self, path: &KeyPath) -> &Self {
        let mut node = self;
        for step in path.steps() {
            let next = match (step, &node.value) {
                (PathStep::Key(key), _) => node.get(key),
                (PathStep::Index(index), NodeValue::List(items)) => items.get(*index),
                (PathStep::Index(_), _) => None,
            };
            let Some(next) = next else { break };
            node = next;
        }
        node
    }

    /// Converts the tree to JSON, without keys that have no value, so that they take their defaults.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            NodeValue::Null => serde_json::Value::Null,
            NodeValue::Bool(b) => (*b).into(),
            NodeValue::Number(n) => serde_json::Value::Number(n.clone()),
            NodeValue::Text { text, .. } => text.clone().into(),
            NodeValue::List(items) => items.iter().map(Self::to_json).collect(),
            NodeValue::Map(entries) => entries
                .iter()
                .filter(|(_, node)| !matches!(node.value, NodeValue::Null))
                .map(|(key, node)| (key.name.clone(), node.to_json()))
                .collect(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<NodeValue>::deserialize(deserializer)?;
        Ok(Self { value: spanned.value, span: spanned.defined.into() })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Option<String>>::deserialize(deserializer)?;
        // YAML reads a plain `null` or `~` as null, in a key too.
        let name = spanned.value.unwrap_or_else(|| "null".to_owned());
        Ok(Self { name, span: spanned.defined.into() })
    }
}

impl<'de> Deserialize<'de> for NodeValue {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = NodeValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<NodeValue, E> {
        Ok(NodeValue::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<NodeValue, E> {
        Ok(NodeValue::Null)
    }

    fn visit_some<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<NodeValue, D::Error> {
        NodeValue::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<NodeValue, E> {
        Ok(NodeValue::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<NodeValue, E> {
        Ok(NodeValue::Number(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<NodeValue, E> {
        Ok(NodeValue::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<NodeValue, E> {
        Number::from_f64(value)
            .map(NodeValue::Number)
            // JSON has no such numbers.
            .ok_or_else(|| E::custom("infinity and NaN are not allowed"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<NodeValue, E> {
        Ok(NodeValue::Text { text: value.to_owned(), expanded: false })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<NodeValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(NodeValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NodeValue, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = map.next_entry::<Key, Node>()? {
            let node = node.at_key(&key);
            entries.push((key, node));
        }
        Ok(NodeValue::Map(entries))
    }
}
