//! Membership of boxes in zones: exact polygon geometry in `f64`.

use super::{Roi, RoiFilter};
use crate::media::BBox;

/// Tolerance for rounding errors, as a share of the box's area: a box that touches an edge is outside, one that fills the zone is
/// inside.
const SHARE_EPSILON: f64 = 1e-6;

/// A corner in frame px.
type Corner = (f64, f64);

/// Returns the names of the zones that contain `bbox`, in the order of the configuration.
///
/// Polygons are simple (no edge crosses another); their winding does not matter. A box without area counts by its centre.
pub(super) fn zones_of(roi: &Roi, bbox: &BBox, frame_px: (u32, u32)) -> Vec<String> {
    let scale = if roi.normalized { (f64::from(frame_px.0), f64::from(frame_px.1)) } else { (1.0, 1.0) };
    let is_in = |points: &[(f32, f32)]| {
        let polygon: Vec<Corner> =
            points.iter().map(|&(x, y)| (f64::from(x) * scale.0, f64::from(y) * scale.1)).collect();
        box_is_in(&polygon, bbox, roi.filter)
    };
    roi.zones.iter().filter(|zone| is_in(&zone.points)).map(|zone| zone.name.clone()).collect()
}

fn box_is_in(polygon: &[Corner], bbox: &BBox, filter: RoiFilter) -> bool {
    if filter == RoiFilter::Center || bbox.area() <= 0.0 {
        let (x, y) = bbox.centre();
        return contains(polygon, (f64::from(x), f64::from(y)));
    }
    let share = overlap_share(polygon, bbox);
    match filter {
        RoiFilter::Center | RoiFilter::Any => share > SHARE_EPSILON,
        RoiFilter::All => share >= 1.0 - SHARE_EPSILON,
        // An overlap of 0 still asks for some overlap, or each box of the frame would be in the zone.
        RoiFilter::Overlap(min_share) => share > 0.0 && share >= f64::from(min_share) - SHARE_EPSILON,
    }
}

/// Returns whether the point is inside, by the even-odd rule; a point on an edge belongs to one side of it.
fn contains(polygon: &[Corner], (x, y): Corner) -> bool {
    // A ray to the right. `>` on one end and not on the other counts a corner on the ray once, not twice.
    let crosses = |&((x1, y1), (x2, y2)): &(Corner, Corner)| {
        (y1 > y) != (y2 > y) && x < (x2 - x1) * (y - y1) / (y2 - y1) + x1
    };
    edges(polygon).filter(crosses).count() % 2 == 1
}

/// Returns the share of the box's area that lies in the polygon, 0..=1.
fn overlap_share(polygon: &[Corner], bbox: &BBox) -> f64 {
    let (x1, y1, x2, y2) = (f64::from(bbox.x1), f64::from(bbox.y1), f64::from(bbox.x2), f64::from(bbox.y2));
    area(&clip_to_box(polygon, (x1, y1), (x2, y2))) / ((x2 - x1) * (y2 - y1))
}

/// Returns the part of the polygon in the box, by Sutherland-Hodgman.
fn clip_to_box(polygon: &[Corner], low: Corner, high: Corner) -> Vec<Corner> {
    // The clip region, the box, is convex, so the polygon need not be. A part that falls into pieces is joined by edges without
    // area, which the shoelace formula ignores.
    let swap = |points: Vec<Corner>| points.into_iter().map(|(x, y)| (y, x)).collect::<Vec<_>>();
    let right = clip(polygon, low.0, 1.0);
    let middle = clip(&right, high.0, -1.0);
    let below = clip(&swap(middle), low.1, 1.0);
    clip(&below, high.1, -1.0)
}

/// Returns the part of the polygon where `sign * x >= sign * limit`.
fn clip(polygon: &[Corner], limit: f64, sign: f64) -> Vec<Corner> {
    let depth = |point: Corner| sign * (point.0 - limit);
    let mut kept = Vec::with_capacity(polygon.len() + 4);
    for (from, to) in edges(polygon) {
        let (before, after) = (depth(from), depth(to));
        if (before < 0.0) != (after < 0.0) {
            let share = before / (before - after);
            kept.push((limit, from.1 + share * (to.1 - from.1)));
        }
        if after >= 0.0 {
            kept.push(to);
        }
    }
    kept
}

/// Returns the area, by the shoelace formula.
fn area(polygon: &[Corner]) -> f64 {
    let Some(&(x0, y0)) = polygon.first() else { return 0.0 };
    // Relative to the first corner: products of small numbers lose fewer digits.
    let twice: f64 =
        edges(polygon).map(|((x1, y1), (x2, y2))| (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)).sum();
    twice.abs() / 2.0
}

fn edges(polygon: &[Corner]) -> impl Iterator<Item = (Corner, Corner)> + '_ {
    let next = polygon.iter().cycle().skip(1);
    polygon.iter().copied().zip(next.copied())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decide::Zone;

    fn bbox(x1: f32, y1: f32, x2: f32, y2: f32) -> BBox {
        BBox { x1, y1, x2, y2 }
    }

    /// An L: the square 0..100 without its upper right quarter.
    const L: [(f32, f32); 6] =
        [(0.0, 0.0), (50.0, 0.0), (50.0, 50.0), (100.0, 50.0), (100.0, 100.0), (0.0, 100.0)];

    fn is_in(filter: RoiFilter, bbox: BBox) -> bool {
        let zone = Zone { name: "l".into(), points: L.to_vec() };
        !zones_of(&Roi { zones: vec![zone], filter, normalized: false }, &bbox, (200, 200)).is_empty()
    }

    #[test]
    fn filters_by_table() {
        use RoiFilter::{All, Any, Center, Overlap};
        let table = [
            ("centre inside", Center, bbox(10.0, 10.0, 30.0, 30.0), true),
            ("centre in the notch", Center, bbox(60.0, 10.0, 90.0, 40.0), false),
            ("centre outside, part inside", Center, bbox(90.0, 60.0, 150.0, 90.0), false),
            ("a corner inside", Any, bbox(40.0, 20.0, 90.0, 45.0), true),
            ("only in the notch", Any, bbox(55.0, 5.0, 95.0, 45.0), false),
            ("only touches an edge", Any, bbox(50.0, 0.0, 90.0, 40.0), false),
            ("polygon inside the box", Any, bbox(-10.0, -10.0, 150.0, 150.0), true),
            ("all inside", All, bbox(10.0, 60.0, 90.0, 90.0), true),
            ("exactly the lower half", All, bbox(0.0, 50.0, 100.0, 100.0), true),
            ("corners inside, the notch cuts in", All, bbox(10.0, 40.0, 90.0, 90.0), false),
            ("half inside, half asked", Overlap(0.5), bbox(50.0, 60.0, 150.0, 90.0), true),
            ("half inside, more asked", Overlap(0.51), bbox(50.0, 60.0, 150.0, 90.0), false),
            ("nothing inside, nothing asked", Overlap(0.0), bbox(150.0, 150.0, 160.0, 160.0), false),
            ("a point inside", All, bbox(20.0, 20.0, 20.0, 20.0), true),
            ("a point outside", Any, bbox(70.0, 20.0, 70.0, 20.0), false),
        ];
        for (name, filter, bbox, expected) in table {
            assert_eq!(is_in(filter, bbox), expected, "{name}");
        }
    }

    #[test]
    fn normalised_zones_scale_with_the_frame_and_are_named_in_order() {
        let zone = |name: &str, x1: f32, x2: f32| Zone {
            name: name.into(),
            points: vec![(x1, 0.0), (x2, 0.0), (x2, 1.0), (x1, 1.0)],
        };
        let zones = vec![zone("right", 0.5, 1.0), zone("all", 0.0, 1.0), zone("left", 0.0, 0.5)];
        let roi = Roi { zones, filter: RoiFilter::Center, normalized: true };
        let zones = zones_of(&roi, &bbox(900.0, 10.0, 1000.0, 20.0), (1280, 720));
        assert_eq!(zones, ["right", "all"]);
    }

    /// A strategy for polygons with corners around a centre by rising angle: simple, mostly not convex.
    fn star() -> impl Strategy<Value = Vec<Corner>> {
        proptest::collection::vec(10.0..100.0_f64, 3..12).prop_map(|radii| {
            let step = std::f64::consts::TAU / radii.len() as f64;
            let corner = |(i, r): (usize, &f64)| {
                (100.0 + r * (step * i as f64).cos(), 100.0 + r * (step * i as f64).sin())
            };
            radii.iter().enumerate().map(corner).collect()
        })
    }

    /// Returns the share of a grid of points in the box that the polygon contains: the slow twin of [`overlap_share`].
    fn sampled_share(polygon: &[Corner], bbox: &BBox) -> f64 {
        const SIDE: u32 = 64;
        let at = |low: f32, high: f32, i: u32| {
            f64::from(low) + f64::from(high - low) * (f64::from(i) + 0.5) / f64::from(SIDE)
        };
        let inside = (0..SIDE * SIDE)
            .filter(|i| {
                let point = (at(bbox.x1, bbox.x2, i % SIDE), at(bbox.y1, bbox.y2, i / SIDE));
                contains(polygon, point)
            })
            .count();
        inside as f64 / f64::from(SIDE * SIDE)
    }

    proptest! {
        #[test]
        fn overlap_equals_sampling(
            polygon in star(),
            (x, y) in (0.0..180.0_f32, 0.0..180.0_f32),
            (w, h) in (5.0..150.0_f32, 5.0..150.0_f32),
        ) {
            let bbox = bbox(x, y, x + w, y + h);
            let exact = overlap_share(&polygon, &bbox);
            let sampled = sampled_share(&polygon, &bbox);
            prop_assert!((exact - sampled).abs() < 0.04, "{exact} against {sampled}");
            prop_assert!((0.0..=1.0 + 1e-9).contains(&exact));
        }

        #[test]
        fn winding_does_not_matter(polygon in star(), (x, y) in (0.0..180.0_f32, 0.0..180.0_f32)) {
            let bbox = bbox(x, y, x + 30.0, y + 20.0);
            let mut reversed = polygon.clone();
            reversed.reverse();
            let difference = overlap_share(&polygon, &bbox) - overlap_share(&reversed, &bbox);
            prop_assert!(difference.abs() < 1e-9);
        }
    }
}
