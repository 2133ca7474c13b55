//! The sections `roi` and `masks`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The zones of a camera: only boxes in one of them are reported.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RoiSection {
    /// `false` keeps the zones without applying them.
    pub enabled: bool,
    /// The units of `points`, of the camera's `masks` and of `min_box`.
    pub units: RoiUnits,
    /// The zones. A box must be in one of them.
    #[schemars(length(min = 1, max = 64), extend("x-remedy" = "draw 1 to 64 polygons, or remove `roi`"))]
    pub polygons: Vec<ZonePolygon>,
    /// The part of a box that must be in a polygon.
    pub filter: FilterName,
    /// Minimum fraction of the box's area inside the polygon, for `filter: overlap`.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub min_overlap: Option<f64>,
}

impl Default for RoiSection {
    fn default() -> Self {
        Self {
            enabled: true,
            units: RoiUnits::Pixels,
            polygons: Vec::new(),
            filter: FilterName::Center,
            min_overlap: None,
        }
    }
}

/// The units of coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoiUnits {
    /// Pixels of the decoded frame.
    Pixels,
    /// Fractions of the frame's width and height, 0 to 1.
    Normalized,
}

/// The part of a box that must be in a polygon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FilterName {
    /// The center of the box.
    Center,
    /// Any part of the box.
    Any,
    /// The whole box.
    All,
    /// At least `min_overlap` of the box's area.
    Overlap,
}

/// A zone.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZonePolygon {
    /// The zone's name in events; absent: `zone-1`, `zone-2`...
    #[schemars(length(min = 1, max = 128))]
    #[serde(default)]
    pub name: Option<String>,
    /// The corners, `[x, y]` each, at least 3. The last one is joined to the first.
    #[schemars(length(min = 3, max = 256), inner(inner(range(min = 0, max = 65535))),
        extend("x-remedy" = "a polygon has 3 to 256 corners, [x, y] each"))]
    pub points: Vec<[f64; 2]>,
}

/// A region that is blacked out.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaskPolygon {
    /// The corners, `[x, y]` each, at least 3. The last one is joined to the first.
    #[schemars(length(min = 3, max = 256), inner(inner(range(min = 0, max = 65535))),
        extend("x-remedy" = "a mask has 3 to 256 corners, [x, y] each"))]
    pub points: Vec<[f64; 2]>,
}
