//! The expressions of a conditional write.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

/// The expressions of a conditional write of one row.
///
/// Every attribute has a placeholder: many names, such as OWNER, are reserved words of DynamoDB. A placeholder that no expression
/// uses would be refused, so names and values are noted where they are used.
#[derive(Clone, Debug, Default)]
pub(super) struct RowUpdate {
    sets: Vec<String>,
    removals: Vec<String>,
    conditions: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl RowUpdate {
    /// Sets an attribute.
    pub(super) fn set(mut self, attribute: &str, value: AttributeValue) -> Self {
        let set = format!("{} = {}", self.name(attribute), self.value(value));
        self.sets.push(set);
        self
    }

    /// Raises a number by one; `missing` is the number in a row without it.
    pub(super) fn raise(mut self, attribute: &str, missing: i64) -> Self {
        let name = self.name(attribute);
        let (missing, one) = (self.value(AttributeValue::N(missing.to_string())), self.value(number(1)));
        self.sets.push(format!("{name} = if_not_exists({name}, {missing}) + {one}"));
        self
    }

    /// Removes an attribute.
    pub(super) fn remove(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.removals.push(name);
        self
    }

    /// Sets an attribute, or removes it.
    pub(super) fn set_or_remove(self, attribute: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.set(attribute, value),
            None => self.remove(attribute),
        }
    }

    /// Requires that an attribute has this value.
    pub(super) fn require(self, attribute: &str, value: AttributeValue) -> Self {
        self.compare(attribute, "=", value)
    }

    /// Requires that a number has this value, where a missing one counts as 0.
    pub(super) fn require_number(mut self, attribute: &str, value: u64) -> Self {
        if value != 0 {
            return self.require(attribute, number(value));
        }
        let (name, zero) = (self.name(attribute), self.value(number(0)));
        self.conditions.push(format!("(attribute_not_exists({name}) OR {name} = {zero})"));
        self
    }

    /// Requires that an attribute is missing, or at most this number.
    pub(super) fn require_at_most(mut self, attribute: &str, value: u64) -> Self {
        let (name, value) = (self.name(attribute), self.value(number(value)));
        self.conditions.push(format!("(attribute_not_exists({name}) OR {name} <= {value})"));
        self
    }

    /// Requires that a number is lower than this one.
    pub(super) fn require_below(self, attribute: &str, value: u64) -> Self {
        self.compare(attribute, "<", number(value))
    }

    /// Requires that an attribute is there; that of a key: that the row is.
    pub(super) fn require_present(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.conditions.push(format!("attribute_exists({name})"));
        self
    }

    /// Requires that an attribute is missing; that of a key: that the row is.
    pub(super) fn require_absent(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.conditions.push(format!("attribute_not_exists({name})"));
        self
    }

    /// Returns the update expression.
    pub(super) fn update_expression(&self) -> Option<String> {
        let mut clauses = Vec::new();
        for (word, parts) in [("SET", &self.sets), ("REMOVE", &self.removals)] {
            if !parts.is_empty() {
                clauses.push(format!("{word} {}", parts.join(", ")));
            }
        }
        (!clauses.is_empty()).then(|| clauses.join(" "))
    }

    /// Returns the condition.
    pub(super) fn condition(&self) -> Option<String> {
        (!self.conditions.is_empty()).then(|| self.conditions.join(" AND "))
    }

    /// Returns the names of the placeholders.
    pub(super) fn names(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    /// Returns the values of the placeholders.
    pub(super) fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }

    fn compare(mut self, attribute: &str, operator: &str, value: AttributeValue) -> Self {
        let condition = format!("{} {operator} {}", self.name(attribute), self.value(value));
        self.conditions.push(condition);
        self
    }

    fn name(&mut self, attribute: &str) -> String {
        let placeholder = format!("#{attribute}");
        self.names.insert(placeholder.clone(), attribute.to_owned());
        placeholder
    }

    fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }
}

/// Returns a text as an attribute.
pub(super) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// Returns a number as an attribute.
pub(super) fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Returns bytes as an attribute.
pub(super) fn binary(bytes: Vec<u8>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expressions_name_each_placeholder_that_is_sent_and_no_other() {
        let update = RowUpdate::default()
            .set("owner", text("w"))
            .raise("rev", 0)
            .remove("next")
            .require_number("epoch", 0)
            .require_number("rev", 7)
            .require_absent("next");
        let expressions = format!("{:?} {:?}", update.update_expression(), update.condition());
        assert_eq!(
            update.update_expression().unwrap(),
            "SET #owner = :v0, #rev = if_not_exists(#rev, :v1) + :v2 REMOVE #next"
        );
        assert_eq!(
            update.condition().unwrap(),
            "(attribute_not_exists(#epoch) OR #epoch = :v3) AND #rev = :v4 AND attribute_not_exists(#next)"
        );
        let names = update.names().unwrap();
        let values = update.values().unwrap();
        assert_eq!((names.len(), values.len()), (4, 5));
        assert!(names.keys().chain(values.keys()).all(|placeholder| expressions.contains(placeholder)));
        assert!(RowUpdate::default().values().is_none(), "an empty map would be refused");
    }
}
