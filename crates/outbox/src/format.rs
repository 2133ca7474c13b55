//! The version of the table layout.

/// The version of the table layout, which the crate's documentation describes.
pub(crate) const FORMAT: u32 = 1;
