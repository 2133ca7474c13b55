//! The filter: selects the detections that satisfy the rules, and ranks them.

use std::sync::Arc;

use super::appearance::Appearance;
use super::{FrameFacts, Inference, Rules, roi};
use crate::media::{BBox, Detection, PlateText};

/// Minimum share of an object's middle that another object hides for it to count as covered.
const COVERED_SHARE: f32 = 0.5;

/// A detection that satisfies the rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// Name of the pipeline entry, as in [`Rules::detector`].
    pub detector: Arc<str>,
    /// Class name.
    pub label: Arc<str>,
    /// Confidence, 0..=1.
    pub conf: f32,
    /// Bounding box, frame px.
    pub bbox: BBox,
    /// Names of the zones that contain the box.
    pub zones: Vec<String>,
    /// Text that was recognized in the box.
    pub plate_text: Option<PlateText>,
    /// Colour histograms of the box, if the picture is known.
    pub(super) appearance: Option<Appearance>,
    /// `true` if another object covers most of the part that [`Self::appearance`] is taken from.
    pub(super) is_covered: bool,
    /// Rank among the boxes of this frame, entry and label, from 0, by left, top, right and bottom edge.
    pub rank: u32,
}

/// Label and last box of a confirmed track.
pub(super) type KnownObject = (String, BBox);

/// Returns the sightings with at least the configured confidence, and the faint ones below it; each sorted and ranked.
///
/// `known` are the confirmed tracks; only `agnostic_nms` uses them.
pub(super) fn filter_detections(
    inference: &Inference<'_>,
    frame: &FrameFacts<'_>,
    known: &[KnownObject],
) -> (Vec<Sighting>, Vec<Sighting>) {
    let rules = inference.rules;
    let detector: Arc<str> = rules.detector.as_str().into();
    let mut sightings = Vec::new();
    for detection in inference.detections.iter().filter(|one| satisfies(rules, one, frame.size_px)) {
        sightings.extend(sighting_of(inference, &detector, detection, frame));
    }
    if rules.agnostic_nms {
        sightings = suppress_across_labels(rules, sightings, known);
    }
    let (sure, faint) = sightings.into_iter().partition(|sighting| sighting.conf >= rules.thresholds.conf);
    (ranked(sure), ranked(faint))
}

/// Removes all but one of the boxes that overlap, whatever their labels.
fn suppress_across_labels(
    rules: &Rules,
    mut sightings: Vec<Sighting>,
    known: &[KnownObject],
) -> Vec<Sighting> {
    let iou = rules.thresholds.nms_iou;
    let is_known = |sighting: &Sighting| {
        known.iter().any(|(label, bbox)| **label == *sighting.label && bbox.iou(&sighting.bbox) >= iou)
    };
    // The label of a known object comes before a higher confidence: a van that is a car and a truck in turns would otherwise be
    // two incidents. A faint box of it does not suppress a sure one, since it could not start an incident.
    let order = |s: &Sighting| (s.conf >= rules.thresholds.conf, is_known(s));
    sightings.sort_by(|a, b| {
        let by_conf = b.conf.total_cmp(&a.conf);
        order(b)
            .cmp(&order(a))
            .then(by_conf)
            .then_with(|| a.label.cmp(&b.label))
            .then_with(|| compare_positions(a, b))
    });
    without_overlaps(sightings, iou)
}

/// Returns the sightings that overlap none of those before them that are kept.
fn without_overlaps(sightings: Vec<Sighting>, iou: f32) -> Vec<Sighting> {
    let mut kept: Vec<Sighting> = Vec::new();
    for sighting in sightings {
        if kept.iter().all(|better| better.bbox.iou(&sighting.bbox) < iou) {
            kept.push(sighting);
        }
    }
    kept
}

/// Returns the sightings sorted by label and position, with their ranks.
fn ranked(mut sightings: Vec<Sighting>) -> Vec<Sighting> {
    // The rank is a part of the event's id, so it must not depend on the order in which the model lists its boxes.
    sightings.sort_by(|a, b| a.label.cmp(&b.label).then_with(|| compare_positions(a, b)));
    for group in sightings.chunk_by_mut(|a, b| a.label == b.label) {
        for (sighting, rank) in group.iter_mut().zip(0..) {
            sighting.rank = rank;
        }
    }
    sightings
}

fn satisfies(rules: &Rules, detection: &Detection, frame_px: (u32, u32)) -> bool {
    let bbox = &detection.bbox;
    // A NaN would enter the Kalman filter of its track and never leave it.
    let is_finite = [bbox.x1, bbox.y1, bbox.x2, bbox.y2].iter().all(|edge| edge.is_finite());
    let is_listed = rules.classes.as_ref().is_none_or(|classes| classes.contains(&detection.label));
    let (width_px, height_px) = min_size_px(rules, frame_px);
    let is_large = bbox.x2 - bbox.x1 >= width_px && bbox.y2 - bbox.y1 >= height_px;
    detection.conf >= rules.detector_thresholds().conf && is_finite && is_listed && is_large
}

/// Returns [`Rules::min_box`] in frame px.
#[expect(clippy::cast_precision_loss, reason = "a frame has less than 2^24 px per side")]
fn min_size_px(rules: &Rules, (frame_width, frame_height): (u32, u32)) -> (f32, f32) {
    let (width, height) = rules.min_box.unwrap_or((0.0, 0.0));
    if rules.roi.as_ref().is_some_and(|roi| roi.normalized) {
        (width * frame_width as f32, height * frame_height as f32)
    } else {
        (width, height)
    }
}

/// Returns the sighting of a detection; `None` if zones are configured and it is in none of them.
fn sighting_of(
    inference: &Inference<'_>,
    detector: &Arc<str>,
    detection: &Detection,
    frame: &FrameFacts<'_>,
) -> Option<Sighting> {
    let Inference { rules, detections, .. } = inference;
    let zones = rules.roi.as_ref().map(|roi| roi::zones_of(roi, &detection.bbox, frame.size_px));
    if zones.as_ref().is_some_and(Vec::is_empty) {
        return None;
    }
    Some(Sighting {
        detector: Arc::clone(detector),
        label: Arc::clone(&detection.label),
        conf: detection.conf,
        bbox: detection.bbox,
        zones: zones.unwrap_or_default(),
        plate_text: detection.reading.clone(),
        appearance: frame.picture.as_ref().map(|picture| Appearance::of(picture, &detection.bbox)),
        // Of all detections, also those that the rules exclude: a car covers a person where only persons are configured.
        is_covered: detections.iter().any(|other| covers(&other.bbox, &detection.bbox, rules)),
        rank: 0,
    })
}

/// Returns whether the object in the box `front` covers most of the middle of the one in `back`.
fn covers(front: &BBox, back: &BBox, rules: &Rules) -> bool {
    let (width, height) = (back.x2 - back.x1, back.y2 - back.y1);
    let middle = BBox {
        x1: back.x1 + 0.25 * width,
        y1: back.y1 + 0.15 * height,
        x2: back.x2 - 0.25 * width,
        y2: back.y2 - 0.15 * height,
    };
    let hidden = intersection(&middle, front);
    // On level ground, the object whose box reaches farther down stands nearer to the camera. A box that overlaps as much as NMS
    // allows for one object is a second box of the same object, which covers nothing.
    front.y2 > back.y2
        && hidden.area() > COVERED_SHARE * middle.area()
        && front.iou(back) < rules.thresholds.nms_iou
}

/// Returns the part that both boxes have in common, which has no area if they are apart.
fn intersection(a: &BBox, b: &BBox) -> BBox {
    BBox { x1: a.x1.max(b.x1), y1: a.y1.max(b.y1), x2: a.x2.min(b.x2), y2: a.y2.min(b.y2) }
}

fn compare_positions(a: &Sighting, b: &Sighting) -> std::cmp::Ordering {
    let key = |s: &Sighting| [s.bbox.x1, s.bbox.y1, s.bbox.x2, s.bbox.y2, s.conf];
    let pairs = key(a).into_iter().zip(key(b));
    pairs.map(|(a, b)| a.total_cmp(&b)).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
}
