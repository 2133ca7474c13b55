//! Typed reads of a row's attributes.

use std::collections::HashMap;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::aws::AwsFailure;

/// The attributes of one row, read with their types.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowReader<'a> {
    /// The row's key, for people.
    row: &'a str,
    attributes: &'a HashMap<String, AttributeValue>,
}

impl<'a> RowReader<'a> {
    /// Creates a reader of a row with this key.
    pub(super) fn new(row: &'a str, attributes: &'a HashMap<String, AttributeValue>) -> Self {
        Self { row, attributes }
    }

    /// Returns a number; a missing one is 0.
    pub(super) fn number<N: FromStr + Default>(self, name: &str) -> Result<N, AwsFailure> {
        let Some(value) = self.attributes.get(name) else { return Ok(N::default()) };
        let number = value.as_n().ok().and_then(|number| number.parse().ok());
        number.ok_or_else(|| self.unreadable(name, "is not a number of its range"))
    }

    /// Returns a text; `None` if it is missing.
    pub(super) fn text(self, name: &str) -> Result<Option<&'a str>, AwsFailure> {
        let Some(value) = self.attributes.get(name) else { return Ok(None) };
        let text = value.as_s().ok().map(String::as_str);
        text.map(Some).ok_or_else(|| self.unreadable(name, "is not a text"))
    }

    /// Returns a flag; a missing one is `false`.
    pub(super) fn flag(self, name: &str) -> Result<bool, AwsFailure> {
        let Some(value) = self.attributes.get(name) else { return Ok(false) };
        value.as_bool().copied().map_err(|_| self.unreadable(name, "is not true or false"))
    }

    /// Returns bytes.
    pub(super) fn bytes(self, name: &str) -> Result<&'a [u8], AwsFailure> {
        let bytes = self.attributes.get(name).and_then(|value| value.as_b().ok());
        bytes.map(AsRef::as_ref).ok_or_else(|| self.unreadable(name, "is missing or not binary"))
    }

    /// Returns the texts of a list or a set; a missing one is empty.
    pub(super) fn texts(self, name: &str) -> Result<Vec<&'a str>, AwsFailure> {
        match self.attributes.get(name) {
            None => Ok(Vec::new()),
            Some(AttributeValue::Ss(texts)) => Ok(texts.iter().map(String::as_str).collect()),
            Some(AttributeValue::L(values)) => {
                let texts = values.iter().map(|value| value.as_s().ok().map(String::as_str));
                texts.collect::<Option<_>>().ok_or_else(|| self.unreadable(name, "is not a list of texts"))
            }
            Some(_) => Err(self.unreadable(name, "is neither a list nor a set of texts")),
        }
    }

    /// Returns the numbers of a set; a missing one is empty.
    pub(super) fn numbers(self, name: &str) -> Result<Vec<u32>, AwsFailure> {
        let Some(value) = self.attributes.get(name) else { return Ok(Vec::new()) };
        let numbers = value
            .as_ns()
            .ok()
            .and_then(|numbers| numbers.iter().map(|number| number.parse().ok()).collect::<Option<_>>());
        numbers.ok_or_else(|| self.unreadable(name, "is not a set of numbers"))
    }

    /// Returns a reader of a map.
    pub(super) fn map(self, name: &str) -> Result<Self, AwsFailure> {
        let map = self.attributes.get(name).and_then(|value| value.as_m().ok());
        map.map(|attributes| Self { attributes, ..self })
            .ok_or_else(|| self.unreadable(name, "is missing or not a map"))
    }

    /// Returns the failure for an attribute that cannot be read.
    pub(super) fn unreadable(self, name: &str, why: &str) -> AwsFailure {
        AwsFailure::new("unreadable", &format!("attribute {name} of row {} {why}", self.row))
    }
}
