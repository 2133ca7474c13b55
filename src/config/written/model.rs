//! `models`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::detect::LayoutChoice;

/// A model to load.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The ONNX file, a path from the current directory. (s3:// and https:// are not in this version.)
    #[schemars(length(min = 1, max = 4096), example = &"/app/models/street.onnx",
        extend("x-remedy" = "write the path of an .onnx file"))]
    pub path: String,
    /// The SHA-256 that the file must have, 64 hexadecimal digits; absent: any.
    #[schemars(regex(pattern = r"^[0-9A-Fa-f]{64}$"),
        extend("x-remedy" = "write the 64 hexadecimal digits that `sha256sum FILE` prints"))]
    #[serde(default)]
    pub sha256: Option<String>,
    /// The layout of its output.
    #[serde(default)]
    pub layout: LayoutChoice,
    /// Its class names in order, in place of those in its metadata: a list, or the path of a text file with one a line.
    #[schemars(extend("x-remedy" = "write a list of names, or the path of a text file with one name a line"))]
    #[serde(default)]
    pub classes: Option<ClassList>,
}

/// The class names of a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ClassList {
    /// The names in order.
    Inline(#[schemars(length(min = 1, max = 10000), inner(length(min = 1, max = 128)))] Vec<String>),
    /// A text file with one name a line.
    File(#[schemars(length(min = 1, max = 4096))] String),
}
