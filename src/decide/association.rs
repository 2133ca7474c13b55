//! Association of sightings with objects: by overlap with objects in view, along their way with hidden ones.

use super::track::Track;
use super::{Moment, Sighting};
use crate::media::BBox;

/// A thing that was missed for no longer than this is still in view: most are missed so while another passes before them.
pub(super) const IN_VIEW_MS: i64 = 700;
/// Time for which a hidden object that moved is matched along its way.
const FOLLOWED_MS: i64 = 3_500;
/// Minimum IoU of an object that stood with the place where it stood.
const STANDS_IOU: f32 = 0.4;
/// Maximum distance of a box's edge from the frame's edge that cuts it off, as a share of the frame's side.
const AT_EDGE: f32 = 0.01;
/// Maximum factor by which the height of an object changes while it is hidden.
const GROWS: f32 = 1.5;
/// Weight of a difference in looks against IoU.
const LOOKS_WEIGHT: f32 = 0.5;
/// Maximum jump of an object within the cool-down, in widths and heights of its box.
const JUMP_WIDTHS: f32 = 1.5;
const JUMP_HEIGHTS: f32 = 0.6;
/// A thing of whose way nothing is known moves no faster than this, in its heights a second,
const RUN: f32 = 2.0;
/// and its boxes are as inexact as this, in its heights.
const NOISE: f32 = 0.1;
/// Maximum speed of an object that may have turned while it was hidden, in its heights a second: a person's brisk walk.
const WALK: f32 = 1.0;
/// Minimum share of the smaller one of two boxes that lies in the other one, for one to lie upon the other.
const UPON: f32 = 0.5;

/// A thing and a sighting that may be of it, by their indices; the better the lower.
type Pair = (f32, usize, usize);

/// Things in view and sightings of their label that overlap enough, best first; ties by age of the thing, then rank.
pub(super) fn in_view(
    tracks: &[Track],
    moment: &Moment<'_>,
    sightings: &[Sighting],
    least_iou: f32,
) -> Vec<(usize, usize)> {
    pairs(tracks, sightings, |track, sighting| {
        let iou = track.expected(&track.bbox, moment.media).iou(&sighting.bbox);
        let fits = track.is_in_view(moment.media, IN_VIEW_MS) && iou > 0.0 && iou >= least_iou;
        fits.then(|| LOOKS_WEIGHT * track.looks_otherwise(sighting.looks.as_ref()).min(1.0) - iou)
    })
}

/// Things that are hidden and sightings of their label where they would come out, nearest first; ties as for [`in_view`].
pub(super) fn hidden(tracks: &[Track], moment: &Moment<'_>, sightings: &[Sighting]) -> Vec<(usize, usize)> {
    pairs(tracks, sightings, |track, sighting| {
        let looks = track.looks_otherwise(sighting.looks.as_ref());
        if looks > 1.0 {
            return None;
        }
        way_out(track, moment, &sighting.bbox).map(|way| way + looks)
    })
}

/// Things of whose way little is known yet, and sightings of their label as near as a run would bring them, nearest first.
pub(super) fn new(tracks: &[Track], moment: &Moment<'_>, sightings: &[Sighting]) -> Vec<(usize, usize)> {
    pairs(tracks, sightings, |track, sighting| {
        let since_s = seconds(track.out_of_sight_ms(moment.media));
        let is_new = track.is_new() && track.is_in_view(moment.media, 0);
        if !is_new || !is_as_high(&track.bbox, &sighting.bbox) {
            return None;
        }
        let height = track.bbox.y2 - track.bbox.y1;
        let (dx, dy) = offset(&track.bbox, &sighting.bbox);
        let way = dx.hypot(dy) / height;
        (way <= NOISE + RUN * since_s.min(1.0)).then_some(way)
    })
}

fn pairs(
    tracks: &[Track],
    sightings: &[Sighting],
    cost: impl Fn(&Track, &Sighting) -> Option<f32>,
) -> Vec<(usize, usize)> {
    let mut pairs: Vec<Pair> = Vec::new();
    for (t, track) in tracks.iter().enumerate() {
        for (s, sighting) in sightings.iter().enumerate().filter(|(_, seen)| *track.label == *seen.label) {
            pairs.extend(cost(track, sighting).map(|cost| (cost, t, s)));
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    pairs.into_iter().map(|(_, t, s)| (t, s)).collect()
}

/// Returns the distance of `place` from the place of a hidden object, in its sizes; `None` if it cannot be that object.
fn way_out(track: &Track, moment: &Moment<'_>, place: &BBox) -> Option<f32> {
    let whole = whole_box(track, place);
    if !is_as_high(&whole, place) {
        return None;
    }
    if track.stands() {
        let iou = track.bbox.iou(place);
        return (iou >= STANDS_IOU).then_some(1.0 - iou);
    }
    let hidden_ms = track.looked_for_ms(moment.media);
    let crosses_edge = is_at_edge(&track.bbox, moment.frame_px) || is_at_edge(place, moment.frame_px);
    if hidden_ms > FOLLOWED_MS || crosses_edge {
        return None;
    }
    let expected = track.followed(&whole, moment.media);
    // What comes out half hidden is narrow, and as high as ever.
    let height = place.y2 - place.y1;
    let width = widest(&whole, place).max(height / 2.0);
    // The longer it is hidden, the less is known of where along its way it is.
    let hidden_s = seconds(hidden_ms);
    let (dx, dy) = offset(&expected, place);
    let (dx, dy) = (dx / (width * (0.6 + 0.3 * hidden_s)), dy / (height * (0.15 + 0.1 * hidden_s)));
    (dx <= 1.0 && dy <= 1.0).then_some(dx.hypot(dy))
}

/// Returns the squared distance, px, that a lost object would have jumped to be at `place`; `None` if it is too far or over the
/// edge of the frame.
pub(super) fn jump(track: &Track, moment: &Moment<'_>, place: &BBox) -> Option<f32> {
    if is_at_edge(&track.bbox, moment.frame_px) || is_at_edge(place, moment.frame_px) {
        return None;
    }
    let from = [track.bbox, track.expected(&track.bbox, moment.media)];
    let ways = from.into_iter().filter_map(|from| {
        let (dx, dy) = offset(&from, place);
        let near = dx <= JUMP_WIDTHS * (from.x2 - from.x1) && dy <= JUMP_HEIGHTS * (from.y2 - from.y1);
        near.then_some(dx * dx + dy * dy)
    });
    ways.min_by(f32::total_cmp)
}

/// Returns the squared distance, px, between `place` and the last place of a lost object; `None` if it could not have walked there
/// while it was hidden, in any direction, or if it was hidden for too long or over the edge of the frame.
pub(super) fn walk(track: &Track, moment: &Moment<'_>, place: &BBox) -> Option<f32> {
    let hidden_ms = track.looked_for_ms(moment.media);
    let crosses_edge = is_at_edge(&track.bbox, moment.frame_px) || is_at_edge(place, moment.frame_px);
    if hidden_ms > FOLLOWED_MS || crosses_edge {
        return None;
    }
    let height = track.usual_height().max(track.bbox.y2 - track.bbox.y1);
    let (dx, dy) = offset(&track.bbox, place);
    (dx.hypot(dy) <= height * (NOISE + WALK * seconds(hidden_ms))).then_some(dx * dx + dy * dy)
}

/// Returns whether one of two boxes lies mostly in the other one.
pub(super) fn is_upon(a: &BBox, b: &BBox) -> bool {
    let shared = BBox { x1: a.x1.max(b.x1), y1: a.y1.max(b.y1), x2: a.x2.min(b.x2), y2: a.y2.min(b.y2) };
    shared.x1 < shared.x2 && shared.y1 < shared.y2 && shared.area() >= UPON * a.area().min(b.area())
}

/// Returns the box of a lost object with its usual height, since something may have hidden its legs or its head last: around the
/// part that was seen, and as near to `place` as that allows. What was narrow last stays so: how far its sides reach is not known.
fn whole_box(track: &Track, place: &BBox) -> BBox {
    let seen = track.bbox;
    let height = track.usual_height().max(seen.y2 - seen.y1);
    let (_, y) = place.centre();
    let y1 = (y - height / 2.0).max(seen.y2 - height).min(seen.y1);
    BBox { y1, y2: y1 + height, ..seen }
}

fn is_as_high(a: &BBox, b: &BBox) -> bool {
    let (a, b) = (a.y2 - a.y1, b.y2 - b.y1);
    a <= b * GROWS && b <= a * GROWS
}

/// Returns whether the frame's edge cuts a box off: its object may be leaving or entering.
#[expect(clippy::cast_precision_loss, reason = "a frame has less than 2^24 px a side")]
fn is_at_edge(bbox: &BBox, (width, height): (u32, u32)) -> bool {
    let (width, height) = (width as f32, height as f32);
    let (x, y) = (AT_EDGE * width, AT_EDGE * height);
    bbox.x1 <= x || bbox.y1 <= y || bbox.x2 >= width - x || bbox.y2 >= height - y
}

fn widest(a: &BBox, b: &BBox) -> f32 {
    (a.x2 - a.x1).max(b.x2 - b.x1)
}

/// Between the centres, px.
fn offset(a: &BBox, b: &BBox) -> (f32, f32) {
    let ((ax, ay), (bx, by)) = (a.centre(), b.centre());
    ((bx - ax).abs(), (by - ay).abs())
}

/// Of media time.
#[expect(clippy::cast_precision_loss, reason = "at most FOLLOWED_MS")]
fn seconds(ms: i64) -> f32 {
    ms as f32 / 1000.0
}
