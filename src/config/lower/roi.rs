//! `roi`: regions of interest.

use kvs_config::KeyPath;
use kvs_config::written::{Camera, FilterName, Polygon, RoiSection, Units};

use crate::decide::{Roi, RoiFilter, Zone};
use crate::decode::Masks;

use super::Lowering;

impl Lowering<'_> {
    /// The regions of a camera, if they count.
    pub(super) fn roi(&mut self, roi: &RoiSection, at: &KeyPath) -> Option<Roi> {
        if roi.enabled && roi.polygons.is_empty() {
            self.problem(at, "no polygon is drawn", "add `polygons`, or remove `roi`");
        }
        let normalized = roi.units == Units::Normalized;
        let zones = self.zones(&roi.polygons, normalized, &at.key("polygons"));
        let filter = self.filter(roi, at);
        roi.enabled.then_some(Roi { zones, filter, normalized })
    }

    /// The masks of a camera, in the units of its `roi`.
    pub(super) fn masks(&mut self, camera: &Camera, at: &KeyPath) -> Option<Masks> {
        let normalized = camera.roi.as_ref().is_some_and(|roi| roi.units == Units::Normalized);
        let shapes = camera.masks.iter().flatten().enumerate();
        let polygons: Vec<_> = shapes
            .map(|(i, shape)| self.points(&shape.points, normalized, &at.index(i).key("points")))
            .collect();
        (!polygons.is_empty()).then_some(Masks { polygons, normalized })
    }

    fn zones(&mut self, polygons: &[Polygon], normalized: bool, at: &KeyPath) -> Vec<Zone> {
        let mut zones: Vec<Zone> = Vec::with_capacity(polygons.len());
        for (i, polygon) in polygons.iter().enumerate() {
            let at = at.index(i);
            let name = polygon.name.clone().unwrap_or_else(|| format!("zone-{}", i + 1));
            if zones.iter().any(|zone| zone.name == name) {
                let message = format!("a polygon before is named {name:?} too");
                self.problem(&at.key("name"), message, "give each polygon of a camera a name of its own");
            }
            zones.push(Zone { name, points: self.points(&polygon.points, normalized, &at.key("points")) });
        }
        zones
    }

    fn points(&mut self, points: &[[f64; 2]], normalized: bool, at: &KeyPath) -> Vec<(f32, f32)> {
        self.units_of(points, normalized, at);
        if area(points) == 0.0 {
            self.problem(at, "the polygon has no area", "give at least 3 corners that are not on one line");
        }
        points.iter().map(|&[x, y]| (narrow(x), narrow(y))).collect()
    }

    /// Coordinates that can only have been measured in the other unit.
    fn units_of(&mut self, points: &[[f64; 2]], normalized: bool, at: &KeyPath) {
        let beyond = points.iter().position(|point| point.iter().any(|&n| n > 1.0));
        match (normalized, beyond) {
            (true, Some(i)) => {
                let message = format!(
                    "[{}, {}] lies outside the frame, for `units` is normalized",
                    points[i][0], points[i][1]
                );
                self.problem(&at.index(i), message, "give numbers from 0 to 1, or write `units: pixels`");
            }
            (false, None) => {
                let message = "the polygon is no larger than one pixel, for `units` is pixels";
                self.problem(at, message, "give frame pixels, or write `units: normalized`");
            }
            _ => {}
        }
    }

    fn filter(&mut self, roi: &RoiSection, at: &KeyPath) -> RoiFilter {
        match (roi.filter, roi.min_overlap) {
            (FilterName::Overlap, Some(share)) => return RoiFilter::Overlap(narrow(share)),
            (FilterName::Overlap, None) => {
                let message = "overlap, but `min_overlap` is missing";
                self.problem(&at.key("filter"), message, "add `min_overlap`, a number from 0.01 to 1");
            }
            (_, Some(_)) => {
                let message = "a least overlap is given, but `filter` is not overlap";
                self.problem(&at.key("min_overlap"), message, "write `filter: overlap`, or remove it");
            }
            (_, None) => {}
        }
        match roi.filter {
            FilterName::Any => RoiFilter::Any,
            FilterName::All => RoiFilter::All,
            FilterName::Center | FilterName::Overlap => RoiFilter::Center,
        }
    }
}

/// Twice the area that the corners enclose, sign dropped.
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
