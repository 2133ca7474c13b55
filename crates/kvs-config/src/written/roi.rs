//! `roi` and `masks`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where in the frame a box must be.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RoiSection {
    /// Whether it counts.
    pub enabled: bool,
    /// What `points`, the camera's `masks` and `min_box` are measured in.
    pub units: Units,
    /// The regions; a box must be in one of them.
    #[schemars(length(min = 1, max = 64), extend("x-remedy" = "draw 1 to 64 polygons, or leave `roi` out"))]
    pub polygons: Vec<Polygon>,
    /// When a box is in a polygon.
    pub filter: FilterName,
    /// For `filter: overlap`: the least share of the box's area inside.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub min_overlap: Option<f64>,
}

impl Default for RoiSection {
    fn default() -> Self {
        Self {
            enabled: true,
            units: Units::Pixels,
            polygons: Vec::new(),
            filter: FilterName::Center,
            min_overlap: None,
        }
    }
}

/// What coordinates are measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Units {
    /// Pixels of the decoded frame.
    Pixels,
    /// Shares of the frame's width and height, 0 to 1.
    Normalized,
}

/// When a box is in a polygon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FilterName {
    /// Its centre is.
    Center,
    /// Any part of it is.
    Any,
    /// All of it is.
    All,
    /// At least `min_overlap` of its area is.
    Overlap,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Polygon {
    /// Its name in events; absent: `zone-1`, `zone-2`...
    #[schemars(length(min = 1, max = 128))]
    #[serde(default)]
    pub name: Option<String>,
    /// Its corners, `[x, y]` each, at least 3; the last joins the first.
    #[schemars(length(min = 3, max = 256), inner(inner(range(min = 0, max = 65535))),
        extend("x-remedy" = "a polygon has 3 to 256 corners, [x, y] each"))]
    pub points: Vec<[f64; 2]>,
}

/// A region without a name.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Its corners, `[x, y]` each, at least 3; the last joins the first.
    #[schemars(length(min = 3, max = 256), inner(inner(range(min = 0, max = 65535))),
        extend("x-remedy" = "a mask has 3 to 256 corners, [x, y] each"))]
    pub points: Vec<[f64; 2]>,
}
