//! Which boxes count, and their rank.

use std::sync::Arc;

use super::looks::Looks;
use super::{FrameFacts, Look, Rules, roi};
use crate::media::{BBox, Detection, PlateText};

/// An object is covered where another one hides more than this share of it.
const COVERED: f32 = 0.5;

/// A box that the rules let through.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// The entry of the pipeline, as in [`Rules::detector`].
    pub detector: Arc<str>,
    /// The class name.
    pub label: Arc<str>,
    /// Confidence, 0..=1.
    pub conf: f32,
    /// Where, in frame px.
    pub bbox: BBox,
    /// Names of the zones that it is in.
    pub zones: Vec<String>,
    /// The text in it.
    pub reading: Option<PlateText>,
    /// What it looks like, where the picture is known.
    pub(super) looks: Option<Looks>,
    /// `true` where another object covers most of the part that [`Self::looks`] are of.
    pub(super) is_covered: bool,
    /// Its place among the boxes of this frame, entry and label, from 0, by left, top, right, bottom edge.
    pub rank: u32,
}

/// An object that is followed: its label and its last box.
pub(super) type KnownObject = (String, BBox);

/// The boxes that count: those that are sure enough, and the fainter ones; each sorted by label and position, with ranks.
///
/// `known` are the objects that are followed; only `agnostic_nms` asks for them.
pub(super) fn sightings(
    look: &Look<'_>,
    frame: &FrameFacts<'_>,
    known: &[KnownObject],
) -> (Vec<Sighting>, Vec<Sighting>) {
    let detector: Arc<str> = look.rules.detector.as_str().into();
    let counting = look
        .detections
        .iter()
        .filter(|detection| counts(look.rules, detection, frame.size_px))
        .filter_map(|detection| in_zones(look, &detector, detection, frame));
    let counting = counting.collect();
    let counting =
        if look.rules.agnostic_nms { one_label_each(look.rules, counting, known) } else { counting };
    let (sure, faint) =
        counting.into_iter().partition(|sighting| sighting.conf >= look.rules.thresholds.conf);
    (ranked(sure), ranked(faint))
}

/// Of boxes that overlap, whatever their labels, the first: a sure one before a faint one, one of a known object before a
/// new one, so that a label does not change with each frame, then the more confident one.
fn one_label_each(rules: &Rules, mut counting: Vec<Sighting>, known: &[KnownObject]) -> Vec<Sighting> {
    let iou = rules.thresholds.nms_iou;
    let is_known = |sighting: &Sighting| {
        known.iter().any(|(label, bbox)| **label == *sighting.label && bbox.iou(&sighting.bbox) >= iou)
    };
    let order = |s: &Sighting| (s.conf >= rules.thresholds.conf, is_known(s));
    counting.sort_by(|a, b| {
        let by_conf = b.conf.total_cmp(&a.conf);
        order(b)
            .cmp(&order(a))
            .then(by_conf)
            .then_with(|| a.label.cmp(&b.label))
            .then_with(|| by_position(a, b))
    });
    let mut kept: Vec<Sighting> = Vec::new();
    for sighting in counting {
        if kept.iter().all(|better| better.bbox.iou(&sighting.bbox) < iou) {
            kept.push(sighting);
        }
    }
    kept
}

fn ranked(mut sightings: Vec<Sighting>) -> Vec<Sighting> {
    sightings.sort_by(|a, b| a.label.cmp(&b.label).then_with(|| by_position(a, b)));
    rank(&mut sightings);
    sightings
}

fn counts(rules: &Rules, detection: &Detection, frame_px: (u32, u32)) -> bool {
    let bbox = &detection.bbox;
    let finite = [bbox.x1, bbox.y1, bbox.x2, bbox.y2].iter().all(|edge| edge.is_finite());
    let listed = rules.classes.as_ref().is_none_or(|classes| classes.contains(&detection.label));
    let (width_px, height_px) = least_px(rules, frame_px);
    let large = bbox.x2 - bbox.x1 >= width_px && bbox.y2 - bbox.y1 >= height_px;
    detection.conf >= rules.asked().conf && finite && listed && large
}

/// [`Rules::min_box`] in frame px.
#[expect(clippy::cast_precision_loss, reason = "a frame has less than 2^24 px a side")]
fn least_px(rules: &Rules, (frame_width, frame_height): (u32, u32)) -> (f32, f32) {
    let (width, height) = rules.min_box.unwrap_or((0.0, 0.0));
    if rules.roi.as_ref().is_some_and(|roi| roi.normalized) {
        (width * frame_width as f32, height * frame_height as f32)
    } else {
        (width, height)
    }
}

fn in_zones(
    look: &Look<'_>,
    detector: &Arc<str>,
    detection: &Detection,
    frame: &FrameFacts<'_>,
) -> Option<Sighting> {
    let zones = look.rules.roi.as_ref().map(|roi| roi::zones_of(roi, &detection.bbox, frame.size_px));
    if zones.as_ref().is_some_and(Vec::is_empty) {
        return None;
    }
    Some(Sighting {
        detector: Arc::clone(detector),
        label: Arc::clone(&detection.label),
        conf: detection.conf,
        bbox: detection.bbox,
        zones: zones.unwrap_or_default(),
        reading: detection.reading.clone(),
        looks: frame.picture.as_ref().map(|picture| Looks::of(picture, &detection.bbox)),
        is_covered: look.detections.iter().any(|other| covers(&other.bbox, &detection.bbox, look.rules)),
        rank: 0,
    })
}

/// Returns whether what is in the box `front` covers most of the middle of what is in `back`. What reaches further down in the
/// frame stands nearer to the camera. A box that overlaps as much as NMS allows for one object is that object's, too.
fn covers(front: &BBox, back: &BBox, rules: &Rules) -> bool {
    let (width, height) = (back.x2 - back.x1, back.y2 - back.y1);
    let middle = BBox {
        x1: back.x1 + 0.25 * width,
        y1: back.y1 + 0.15 * height,
        x2: back.x2 - 0.25 * width,
        y2: back.y2 - 0.15 * height,
    };
    let hidden = BBox {
        x1: middle.x1.max(front.x1),
        y1: middle.y1.max(front.y1),
        x2: middle.x2.min(front.x2),
        y2: middle.y2.min(front.y2),
    };
    front.y2 > back.y2
        && hidden.area() > COVERED * middle.area()
        && front.iou(back) < rules.thresholds.nms_iou
}

fn by_position(a: &Sighting, b: &Sighting) -> std::cmp::Ordering {
    let key = |s: &Sighting| [s.bbox.x1, s.bbox.y1, s.bbox.x2, s.bbox.y2, s.conf];
    let pairs = key(a).into_iter().zip(key(b));
    pairs.map(|(a, b)| a.total_cmp(&b)).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
}

/// Numbers the boxes of each label from 0; equal labels stand together.
fn rank(sightings: &mut [Sighting]) {
    for group in sightings.chunk_by_mut(|a, b| a.label == b.label) {
        for (sighting, rank) in group.iter_mut().zip(0..) {
            sighting.rank = rank;
        }
    }
}
