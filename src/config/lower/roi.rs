//! The sections `roi` and `masks`: zones and privacy masks.

use kvs_config::KeyPath;
use kvs_config::raw::{CameraSection, FilterName, RoiSection, RoiUnits, ZonePolygon};

use crate::decide::{Roi, RoiFilter, Zone};
use crate::decode::Masks;

use super::SettingsBuilder;

impl SettingsBuilder<'_> {
    /// Returns the zones of a camera, if they are enabled.
    pub(super) fn roi(&mut self, roi: &RoiSection, at: &KeyPath) -> Option<Roi> {
        if roi.enabled && roi.polygons.is_empty() {
            self.problem(at, "`polygons` is missing", "add `polygons`, or remove `roi`");
        }
        let normalized = roi.units == RoiUnits::Normalized;
        let zones = self.zones(&roi.polygons, normalized, &at.key("polygons"));
        let filter = self.filter(roi, at);
        // Everything above is checked even if the section is disabled.
        roi.enabled.then_some(Roi { zones, filter, normalized })
    }

    /// Returns the masks of a camera, in the units of its `roi`.
    pub(super) fn masks(&mut self, camera: &CameraSection, at: &KeyPath) -> Option<Masks> {
        // Masks have no units of their own; without `roi` they are in pixels.
        let normalized = camera.roi.as_ref().is_some_and(|roi| roi.units == RoiUnits::Normalized);
        let shapes = camera.masks.iter().flatten().enumerate();
        let polygons: Vec<_> = shapes
            .map(|(i, shape)| self.points(&shape.points, normalized, &at.index(i).key("points")))
            .collect();
        (!polygons.is_empty()).then_some(Masks { polygons, normalized })
    }

    fn zones(&mut self, polygons: &[ZonePolygon], normalized: bool, at: &KeyPath) -> Vec<Zone> {
        let mut zones: Vec<Zone> = Vec::with_capacity(polygons.len());
        for (i, polygon) in polygons.iter().enumerate() {
            let at = at.index(i);
            // Numbered by position, from 1, so that a name stays when another polygon gets one.
            let name = polygon.name.clone().unwrap_or_else(|| format!("zone-{}", i + 1));
            if zones.iter().any(|zone| zone.name == name) {
                let message = format!("the name {name:?} is used by an earlier polygon");
                self.problem(&at.key("name"), message, "give each polygon of a camera a unique name");
            }
            zones.push(Zone { name, points: self.points(&polygon.points, normalized, &at.key("points")) });
        }
        zones
    }

    fn points(&mut self, points: &[[f64; 2]], normalized: bool, at: &KeyPath) -> Vec<(f32, f32)> {
        self.check_units(points, normalized, at);
        if area(points) == 0.0 {
            self.problem(at, "the polygon has no area", "give at least 3 corners that are not on one line");
        }
        points.iter().map(|&[x, y]| (narrow(x), narrow(y))).collect()
    }

    /// Reports coordinates that only make sense in the other unit.
    fn check_units(&mut self, points: &[[f64; 2]], normalized: bool, at: &KeyPath) {
        let beyond = points.iter().position(|point| point.iter().any(|&n| n > 1.0));
        match (normalized, beyond) {
            (true, Some(i)) => {
                let message = format!(
                    "[{}, {}] is outside the frame, since `units` is normalized",
                    points[i][0], points[i][1]
                );
                self.problem(&at.index(i), message, "give numbers from 0 to 1, or write `units: pixels`");
            }
            // All coordinates at most 1: fractions are meant.
            (false, None) => {
                let message = "the polygon is not larger than a pixel, since `units` is pixels";
                self.problem(at, message, "give frame pixels, or write `units: normalized`");
            }
            _ => {}
        }
    }

    fn filter(&mut self, roi: &RoiSection, at: &KeyPath) -> RoiFilter {
        self.check_overlap(roi, at);
        match (roi.filter, roi.min_overlap) {
            (FilterName::Any, _) => RoiFilter::Any,
            (FilterName::All, _) => RoiFilter::All,
            (FilterName::Overlap, Some(share)) => RoiFilter::Overlap(narrow(share)),
            // `overlap` without `min_overlap` was reported above.
            (FilterName::Center, _) | (FilterName::Overlap, None) => RoiFilter::Center,
        }
    }

    /// Reports `filter: overlap` without `min_overlap`, and the reverse.
    fn check_overlap(&mut self, roi: &RoiSection, at: &KeyPath) {
        match (roi.filter, roi.min_overlap) {
            (FilterName::Overlap, None) => {
                let message = "`filter: overlap` requires `min_overlap`";
                self.problem(&at.key("filter"), message, "add `min_overlap`, a number from 0.01 to 1");
            }
            (FilterName::Any | FilterName::All | FilterName::Center, Some(_)) => {
                let message = "`min_overlap` is given, but `filter` is not overlap";
                let remedy = "write `filter: overlap`, or remove `min_overlap`";
                self.problem(&at.key("min_overlap"), message, remedy);
            }
            _ => {}
        }
    }
}

/// Returns twice the absolute area of a polygon, by the shoelace formula.
fn area(points: &[[f64; 2]]) -> f64 {
    let next = points.iter().cycle().skip(1);
    points.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum::<f64>().abs()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the schema keeps numbers within 0..=86400, where f32 is fine enough"
)]
pub(super) fn narrow(value: f64) -> f32 {
    value as f32
}
