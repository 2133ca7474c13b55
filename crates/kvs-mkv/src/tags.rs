//! Tags: pairs of a name and a text.

use crate::ebml::Element;
use crate::{Error, Id, Limits};

/// A simple tag. Names may repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its name, up to the first NUL.
    pub name: String,
    /// Its text, up to the first NUL; empty where the tag has none.
    pub value: String,
}

impl Tag {
    /// A tag of that name and text.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// The simple tags of a Tags element in the order of the stream, nested ones after the one that holds them.
///
/// AWS leaves out the mandatory Targets, so nothing is asked of them.
pub(crate) fn read(tags: &Element<'_>, limits: &Limits) -> Result<Vec<Tag>, Error> {
    let mut read = Vec::new();
    for child in tags.children() {
        let child = child?;
        if child.id == Id::TAG {
            read_simple(&child, limits, 0, &mut read)?;
        }
    }
    Ok(read)
}

/// Reads the simple tags right inside `parent`, which is a Tag or a simple tag.
fn read_simple(
    parent: &Element<'_>,
    limits: &Limits,
    depth: usize,
    read: &mut Vec<Tag>,
) -> Result<(), Error> {
    for child in parent.children() {
        let child = child?;
        if child.id != Id::SIMPLE_TAG {
            continue;
        }
        let too_many =
            |limit, count| Error::TooMany { offset: child.offset, element: child.id, limit, count };
        if depth >= limits.depth {
            return Err(too_many("depth", limits.depth));
        }
        if read.len() >= limits.tags {
            return Err(too_many("tags", limits.tags));
        }
        read.push(read_pair(&child)?);
        read_simple(&child, limits, depth + 1, read)?;
    }
    Ok(())
}

fn read_pair(simple: &Element<'_>) -> Result<Tag, Error> {
    let mut tag = Tag::new("", "");
    for child in simple.children() {
        let child = child?;
        match child.id {
            Id::TAG_NAME => tag.name = child.text(),
            Id::TAG_STRING => tag.value = child.text(),
            _ => {}
        }
    }
    Ok(tag)
}
