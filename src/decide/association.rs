//! Association of sightings with tracks: by overlap for objects in view, by course and place for hidden ones.

use super::track::{IN_VIEW_MS, ObjectTrack};
use super::{FrameContext, Sighting};
use crate::media::BBox;

/// Time for which a hidden object that moved is matched along its course.
///
/// After that the window of [`distance_from_exit`] is as wide as the spaces between people, and another person would match. The
/// drawn scenes of `tests/scenes.rs` have people hidden for up to 3 s.
const FOLLOWED_MS: i64 = 3_500;
/// Minimum IoU of an object that stood with the place where it stood.
const STANDING_IOU: f32 = 0.4;
/// Maximum distance of a box from the frame's edge for the edge to cut it off, as a share of the frame's side.
const EDGE_SHARE: f32 = 0.01;
/// Maximum ratio of an object's heights before and after it was hidden: another one is nearer to the camera or farther away.
const MAX_GROWTH: f32 = 1.5;
/// Weight of a difference in appearance against IoU: it decides between two boxes that overlap a track about equally.
const APPEARANCE_WEIGHT: f32 = 0.5;
/// Maximum jump of an object within the cool-down, in widths and heights of its box.
///
/// With wider jumps, a car that comes was taken for one that had left (street clip of `testdata/footage`).
const JUMP_WIDTHS: f32 = 1.5;
/// See [`JUMP_WIDTHS`]; objects move less up and down the frame than across it.
const JUMP_HEIGHTS: f32 = 0.6;
/// Maximum speed of an object with unknown course, in its heights per second: a run.
const RUN: f32 = 2.0;
/// Error of a box's position that is allowed for in addition, in heights of the object.
const POSITION_NOISE: f32 = 0.1;
/// Maximum speed of an object that may have turned while it was hidden, in its heights per second: a person's brisk walk.
const WALK: f32 = 1.0;
/// Minimum share of the smaller one of two boxes that lies in the other one, for one to lie upon the other.
const UPON_SHARE: f32 = 0.5;

/// A possible match: its cost (lower is better), and the indices of track and sighting.
type CandidatePair = (f32, usize, usize);

/// Returns the tracks in view with the sightings of their label that overlap enough, best first; ties by index of the track, then of
/// the sighting.
pub(super) fn match_in_view(
    tracks: &[ObjectTrack],
    context: &FrameContext<'_>,
    sightings: &[Sighting],
    min_iou: f32,
) -> Vec<(usize, usize)> {
    pairs(tracks, sightings, |track, sighting| {
        let iou = track.predicted(&track.bbox, context.media).iou(&sighting.bbox);
        let fits = track.is_in_view(context.media, IN_VIEW_MS) && iou > 0.0 && iou >= min_iou;
        // Capped at 1: a partly covered object may look entirely different, and its place is still evidence.
        let appearance = track.appearance_difference(sighting.appearance.as_ref()).min(1.0);
        fits.then_some(APPEARANCE_WEIGHT * appearance - iou)
    })
}

/// Returns the hidden tracks with the sightings of their label where they are expected to reappear, nearest first; ties as for
/// [`match_in_view`].
pub(super) fn match_hidden(
    tracks: &[ObjectTrack],
    context: &FrameContext<'_>,
    sightings: &[Sighting],
) -> Vec<(usize, usize)> {
    pairs(tracks, sightings, |track, sighting| {
        // The place of a hidden object is only predicted, so appearance has a veto here, which it does not have in view.
        let appearance = track.appearance_difference(sighting.appearance.as_ref());
        if appearance > 1.0 {
            return None;
        }
        distance_from_exit(track, context, &sighting.bbox).map(|distance| distance + appearance)
    })
}

/// Returns the tracks with unknown course and the sightings of their label that are as near as a run would bring them, nearest first.
pub(super) fn match_new(
    tracks: &[ObjectTrack],
    context: &FrameContext<'_>,
    sightings: &[Sighting],
) -> Vec<(usize, usize)> {
    // At 5 inferences per second, the second box of somebody who runs past does not overlap the first.
    pairs(tracks, sightings, |track, sighting| {
        let since_s = seconds(track.out_of_sight_ms(context.media));
        let is_new = track.is_new() && track.is_in_view(context.media, 0);
        if !is_new || !has_similar_height(&track.bbox, &sighting.bbox) {
            return None;
        }
        let height = track.bbox.y2 - track.bbox.y1;
        let (dx, dy) = offset(&track.bbox, &sighting.bbox);
        let distance = dx.hypot(dy) / height;
        (distance <= POSITION_NOISE + RUN * since_s.min(1.0)).then_some(distance)
    })
}

fn pairs(
    tracks: &[ObjectTrack],
    sightings: &[Sighting],
    cost: impl Fn(&ObjectTrack, &Sighting) -> Option<f32>,
) -> Vec<(usize, usize)> {
    let mut pairs: Vec<CandidatePair> = Vec::new();
    for (t, track) in tracks.iter().enumerate() {
        for (s, sighting) in sightings.iter().enumerate().filter(|(_, seen)| *track.label == *seen.label) {
            pairs.extend(cost(track, sighting).map(|cost| (cost, t, s)));
        }
    }
    // Equal costs must not depend on the sort: the same footage gives the same events.
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    pairs.into_iter().map(|(_, t, s)| (t, s)).collect()
}

/// Returns the distance of `place` from where a hidden object is expected, in its sizes; `None` if it cannot be that object.
fn distance_from_exit(track: &ObjectTrack, context: &FrameContext<'_>, place: &BBox) -> Option<f32> {
    let whole = whole_box(track, place);
    if !has_similar_height(&whole, place) {
        return None;
    }
    // An object that stood has no course to follow. It stays matched to its place until its incident ends.
    if track.is_standing() {
        let iou = track.bbox.iou(place);
        return (iou >= STANDING_IOU).then_some(1.0 - iou);
    }
    let hidden_ms = track.missed_for_ms(context.media);
    // An object at the frame's edge has left, and the one that comes in there is another one.
    let crosses_edge = is_at_edge(&track.bbox, context.frame_px) || is_at_edge(place, context.frame_px);
    if hidden_ms > FOLLOWED_MS || crosses_edge {
        return None;
    }
    // An object that emerges half hidden is narrow, but has its full height.
    let height = place.y2 - place.y1;
    let width = widest(&whole, place).max(height / 2.0);
    distance_from_course(&track.followed(&whole, context.media), place, (width, height), hidden_ms)
}

/// Returns the distance of `place` from the box that is expected after `hidden_ms`, in its sizes; `None` if it strays too far.
fn distance_from_course(
    expected: &BBox,
    place: &BBox,
    (width, height): (f32, f32),
    hidden_ms: i64,
) -> Option<f32> {
    // The uncertainty along the course grows with the time. Across it, a walk on the ground strays little.
    let hidden_s = seconds(hidden_ms);
    let (dx, dy) = offset(expected, place);
    let (dx, dy) = (dx / (width * (0.6 + 0.3 * hidden_s)), dy / (height * (0.15 + 0.1 * hidden_s)));
    (dx <= 1.0 && dy <= 1.0).then_some(dx.hypot(dy))
}

/// Returns the squared distance, px, that a lost object would have jumped to be at `place`; `None` if it is too far or over the
/// edge of the frame.
pub(super) fn jump(track: &ObjectTrack, context: &FrameContext<'_>, place: &BBox) -> Option<f32> {
    if is_at_edge(&track.bbox, context.frame_px) || is_at_edge(place, context.frame_px) {
        return None;
    }
    // Also from the predicted box: somebody who walks behind a pole is narrow when last seen, and emerges farther on than the
    // last box is wide. The last box is measured as it was seen: with its usual size, a car that came was taken for one
    // that had left half out of the frame (street clip).
    let from = [track.bbox, track.predicted(&track.bbox, context.media)];
    let distances = from.into_iter().filter_map(|from| {
        let (dx, dy) = offset(&from, place);
        let near = dx <= JUMP_WIDTHS * (from.x2 - from.x1) && dy <= JUMP_HEIGHTS * (from.y2 - from.y1);
        near.then_some(dx * dx + dy * dy)
    });
    distances.min_by(f32::total_cmp)
}

/// Returns the squared distance, px, between `place` and the last place of a lost object; `None` if it could not have walked there
/// while it was hidden, in any direction, or if it was hidden for too long or over the edge of the frame.
pub(super) fn walk(track: &ObjectTrack, context: &FrameContext<'_>, place: &BBox) -> Option<f32> {
    let hidden_ms = track.missed_for_ms(context.media);
    let crosses_edge = is_at_edge(&track.bbox, context.frame_px) || is_at_edge(place, context.frame_px);
    if hidden_ms > FOLLOWED_MS || crosses_edge {
        return None;
    }
    // A walk is measured in heights of the whole person, and the last box may have shown the head alone.
    let height = track.usual_height().max(track.bbox.y2 - track.bbox.y1);
    let (dx, dy) = offset(&track.bbox, place);
    let reach = height * (POSITION_NOISE + WALK * seconds(hidden_ms));
    (dx.hypot(dy) <= reach).then_some(dx * dx + dy * dy)
}

/// Returns whether one of two boxes lies mostly in the other one.
pub(super) fn is_upon(a: &BBox, b: &BBox) -> bool {
    let shared = BBox { x1: a.x1.max(b.x1), y1: a.y1.max(b.y1), x2: a.x2.min(b.x2), y2: a.y2.min(b.y2) };
    // By the smaller box, not by IoU: the second box is often of the upper body alone, and NMS has removed the rest.
    shared.x1 < shared.x2 && shared.y1 < shared.y2 && shared.area() >= UPON_SHARE * a.area().min(b.area())
}

/// Returns the last box of a track, extended to the object's usual height: around the part that was seen, and as near to `place` as
/// that allows.
fn whole_box(track: &ObjectTrack, place: &BBox) -> BBox {
    // An obstacle may have hidden the legs or the head last. The width is not extended: nothing shows on which side the hidden
    // part is, and with the usual width a car that came was taken for one that had left (street clip).
    let seen = track.bbox;
    let height = track.usual_height().max(seen.y2 - seen.y1);
    let (_, y) = place.centre();
    let y1 = (y - height / 2.0).max(seen.y2 - height).min(seen.y1);
    BBox { y1, y2: y1 + height, ..seen }
}

fn has_similar_height(a: &BBox, b: &BBox) -> bool {
    let (a, b) = (a.y2 - a.y1, b.y2 - b.y1);
    a <= b * MAX_GROWTH && b <= a * MAX_GROWTH
}

/// Returns whether the frame's edge cuts a box off: its object may be leaving or entering.
#[expect(clippy::cast_precision_loss, reason = "a frame has less than 2^24 px per side")]
fn is_at_edge(bbox: &BBox, (width, height): (u32, u32)) -> bool {
    let (width, height) = (width as f32, height as f32);
    let (x, y) = (EDGE_SHARE * width, EDGE_SHARE * height);
    bbox.x1 <= x || bbox.y1 <= y || bbox.x2 >= width - x || bbox.y2 >= height - y
}

fn widest(a: &BBox, b: &BBox) -> f32 {
    (a.x2 - a.x1).max(b.x2 - b.x1)
}

/// Returns the distance between the centres along each axis, px.
fn offset(a: &BBox, b: &BBox) -> (f32, f32) {
    let ((ax, ay), (bx, by)) = (a.centre(), b.centre());
    ((bx - ax).abs(), (by - ay).abs())
}

#[expect(clippy::cast_precision_loss, reason = "at most FOLLOWED_MS")]
fn seconds(ms: i64) -> f32 {
    ms as f32 / 1000.0
}
