//! Warnings about zones that are allowed and have surprising effects.

use kvs_config::raw::{RoiSection, RoiUnits, ZonePolygon};

/// Area below which a zone is tiny: pixels.
const TINY_PX: f64 = 32.0;

/// Area below which a zone is tiny: fraction of the frame, 60 pixels of 1920 x 1080.
const TINY_FRACTION: f64 = 3e-5;

type ZoneCorner = [f64; 2];

/// Returns the warnings about enabled zones, each with the index of its polygon; at most one per zone.
pub(in crate::config) fn zone_advice(roi: &RoiSection) -> Vec<(usize, String)> {
    let polygons = roi.polygons.iter().enumerate().filter(|_| roi.enabled);
    let advice = polygons.filter_map(|(i, polygon)| {
        let advice = crossing_advice(&polygon.points).or_else(|| size_advice(&polygon.points, roi.units))?;
        Some((i, format!("{}: {advice}", name_of(polygon, i))))
    });
    advice.collect()
}

fn name_of(polygon: &ZonePolygon, index: usize) -> String {
    match &polygon.name {
        Some(name) => format!("zone {name:?}"),
        None => format!("zone \"zone-{}\"", index + 1),
    }
}

fn crossing_advice(points: &[ZoneCorner]) -> Option<String> {
    let (a, b) = crossing_edges(points)?;
    // Corners are numbered from 1, as the zone editor shows them.
    let ends = |edge: usize| format!("{} to {}", edge + 1, (edge + 1) % points.len() + 1);
    Some(format!(
        "its edges cross ({} and {}), and parts of it count as outside: move a corner so that no edge crosses another",
        ends(a),
        ends(b)
    ))
}

fn size_advice(points: &[ZoneCorner], units: RoiUnits) -> Option<String> {
    let area = area_of(points);
    let (limit, shown) = match units {
        RoiUnits::Pixels => (TINY_PX, format!("{area:.0} square pixels")),
        RoiUnits::Normalized => (TINY_FRACTION, format!("{:.4} % of the frame", 100.0 * area)),
    };
    (area < limit).then(|| format!("it covers only {shown}, and hardly any box is in it: draw it larger"))
}

/// Returns the first two edges that cross, by the index of the corner where each begins. Edges that only touch do not cross.
fn crossing_edges(points: &[ZoneCorner]) -> Option<(usize, usize)> {
    let edge = |i: usize| (points[i], points[(i + 1) % points.len()]);
    let later = |a: usize| (a + 1..points.len()).map(move |b| (a, b));
    (0..points.len()).flat_map(later).find(|&(a, b)| do_cross(edge(a), edge(b)))
}

fn do_cross((a, b): (ZoneCorner, ZoneCorner), (c, d): (ZoneCorner, ZoneCorner)) -> bool {
    // Strict on both sides: neighbours have a corner in common and touch there.
    side(a, b, c) * side(a, b, d) < 0.0 && side(c, d, a) * side(c, d, b) < 0.0
}

/// Returns -1, 0 or 1 for a point on one side of the line from `a` to `b`, on it, or on the other side.
fn side(a: ZoneCorner, b: ZoneCorner, point: ZoneCorner) -> f64 {
    let turn = (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0]);
    if turn == 0.0 { 0.0 } else { turn.signum() }
}

/// Returns the area, by the shoelace formula.
fn area_of(points: &[ZoneCorner]) -> f64 {
    let next = points.iter().cycle().skip(1);
    let twice: f64 = points.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum();
    twice.abs() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(points: &[ZoneCorner], units: RoiUnits) -> Option<String> {
        let polygon = ZonePolygon { name: Some("door".to_owned()), points: points.to_vec() };
        let roi = RoiSection { units, polygons: vec![polygon], ..RoiSection::default() };
        let disabled = RoiSection { enabled: false, ..roi.clone() };
        assert_eq!(zone_advice(&disabled), []);
        zone_advice(&roi).pop().map(|(index, text)| {
            assert_eq!(index, 0);
            text
        })
    }

    #[test]
    fn crossing_edges_and_tiny_zones_are_reported_by_table() {
        use RoiUnits::{Normalized, Pixels};
        let bow_tie = [[0.0, 0.0], [100.0, 100.0], [100.0, 0.0], [0.0, 100.0]];
        let square = |side: f64| [[0.0, 0.0], [side, 0.0], [side, side], [0.0, side]];
        let notch = [[0.0, 0.0], [50.0, 0.0], [50.0, 50.0], [100.0, 50.0], [100.0, 100.0], [0.0, 100.0]];
        let touching = [[0.0, 0.0], [100.0, 0.0], [100.0, 100.0], [50.0, 0.0], [0.0, 100.0]];
        let table: [(&str, &[ZoneCorner], RoiUnits, Option<&str>); 7] = [
            ("a bow tie", &bow_tie, Pixels, Some("its edges cross (1 to 2 and 3 to 4)")),
            ("a square", &square(100.0), Pixels, None),
            ("not convex", &notch, Pixels, None),
            ("a corner on an edge", &touching, Pixels, None),
            ("5 x 5 pixels", &square(5.0), Pixels, Some("covers only 25 square pixels")),
            ("0.5 % each way", &square(0.005), Normalized, Some("covers only 0.0025 % of the frame")),
            ("1 % each way", &square(0.01), Normalized, None),
        ];
        for (name, points, units, expected) in table {
            let found = advice(points, units);
            let holds =
                expected.map_or(found.is_none(), |part| found.as_ref().is_some_and(|it| it.contains(part)));
            assert!(holds, "{name}: {found:?}");
        }
    }

    #[test]
    fn a_zone_without_a_name_has_that_of_its_place() {
        let roi = RoiSection {
            polygons: vec![ZonePolygon { name: None, points: vec![[0.0, 0.0], [2.0, 0.0], [2.0, 2.0]] }],
            ..RoiSection::default()
        };
        assert!(zone_advice(&roi)[0].1.starts_with("zone \"zone-1\": it covers only 2 square pixels"));
    }
}
