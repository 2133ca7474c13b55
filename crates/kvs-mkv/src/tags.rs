//! Tags elements: pairs of a name and a text.

use crate::ebml::EbmlElement;
use crate::{ElementId, MkvError, MkvLimits};

/// A SimpleTag. Names may repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// TagName up to the first NUL.
    pub name: String,
    /// TagString up to the first NUL; empty if the tag has none.
    pub value: String,
}

impl Tag {
    /// Returns a tag with this name and text.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// Reads the simple tags of a Tags element in stream order, nested ones after the tag that contains them.
pub(crate) fn read_tags(element: &EbmlElement<'_>, limits: &MkvLimits) -> Result<Vec<Tag>, MkvError> {
    let mut tags = Vec::new();
    for child in element.children() {
        let child = child?;
        if child.id == ElementId::TAG {
            read_simple_tags(&child, limits, 0, &mut tags)?;
        }
    }
    Ok(tags)
}

/// Reads the SimpleTags directly inside `parent`, which is a Tag or a SimpleTag.
fn read_simple_tags(
    parent: &EbmlElement<'_>,
    limits: &MkvLimits,
    depth: usize,
    tags: &mut Vec<Tag>,
) -> Result<(), MkvError> {
    for child in parent.children() {
        let child = child?;
        // Ignored: Targets. RFC 9559 (5.1.8.1.1) makes it mandatory, but AWS leaves it out, so it is not
        // required.
        if child.id != ElementId::SIMPLE_TAG {
            continue;
        }
        check_tag_limits(&child, limits, depth, tags.len())?;
        tags.push(read_name_and_value(&child)?);
        read_simple_tags(&child, limits, depth + 1, tags)?;
    }
    Ok(())
}

/// Returns an error if a SimpleTag at this depth, after `count` others, exceeds a limit.
fn check_tag_limits(
    tag: &EbmlElement<'_>,
    limits: &MkvLimits,
    depth: usize,
    count: usize,
) -> Result<(), MkvError> {
    let too_many = |limit, count| MkvError::TooMany { offset: tag.offset, element: tag.id, limit, count };
    if depth >= limits.depth {
        return Err(too_many("depth", limits.depth));
    }
    if count >= limits.tags {
        return Err(too_many("tags", limits.tags));
    }
    Ok(())
}

fn read_name_and_value(simple_tag: &EbmlElement<'_>) -> Result<Tag, MkvError> {
    let mut tag = Tag::new("", "");
    for child in simple_tag.children() {
        let child = child?;
        match child.id {
            ElementId::TAG_NAME => tag.name = child.text(),
            ElementId::TAG_STRING => tag.value = child.text(),
            // Ignored: TagLanguage, TagDefault, TagBinary. KVS defines text tags only.
            _ => {}
        }
    }
    Ok(tag)
}
