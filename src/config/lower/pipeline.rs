//! A camera's `pipeline`.

use std::collections::BTreeMap;
use std::sync::Arc;

use kvs_config::written::{self, Activity, Alpr, Camera, Detector, DetectorType, MinBox, TemporalConfirm};
use kvs_config::{KeyPath, closest};

use crate::config::meant::{PipelineEntry, ReadingSpec};
use crate::decide::{Confirm, ReadingRules, Roi, Rules, TextPattern};
use crate::detect::{BoxUnits, InputEncoding, LayoutChoice, ModelSpec, Thresholds};

use super::Lowering;
use super::roi::narrow;

/// The median of a thing's confidences that confirms it by default, as a share of `conf_threshold`, and the most that it is:
/// what is no such thing is seldom surer than that.
const MEDIAN_SHARE: f64 = 1.25;
const MEDIAN_MOST: f64 = 0.5;

/// What the blocks of all types have.
struct Block<'e> {
    weights: &'e str,
    weights_key: &'static str,
    classes: Option<&'e [String]>,
    conf_threshold: f64,
    nms_iou: f64,
    agnostic_nms: bool,
    min_box: Option<MinBox>,
    temporal_confirm: &'e TemporalConfirm,
    max_disappeared_seconds: f64,
    cooldown_seconds: f64,
    dwell_seconds: Option<f64>,
    update_seconds: Option<f64>,
    activity: Option<Activity>,
}

impl<'e> From<&'e Detector> for Block<'e> {
    fn from(block: &'e Detector) -> Self {
        Self {
            weights: &block.yolo_weights,
            weights_key: "yolo_weights",
            classes: block.classes.as_deref(),
            conf_threshold: block.conf_threshold,
            nms_iou: block.nms_iou,
            agnostic_nms: block.agnostic_nms,
            min_box: block.min_box,
            temporal_confirm: &block.temporal_confirm,
            max_disappeared_seconds: block.max_disappeared_seconds,
            cooldown_seconds: block.cooldown_seconds,
            dwell_seconds: block.dwell_seconds,
            update_seconds: block.update_seconds,
            activity: block.activity,
        }
    }
}

impl<'e> From<&'e Alpr> for Block<'e> {
    fn from(block: &'e Alpr) -> Self {
        Self {
            weights: &block.plate_detector_weights,
            weights_key: "plate_detector_weights",
            classes: None,
            conf_threshold: block.conf_threshold,
            nms_iou: block.nms_iou,
            agnostic_nms: false,
            min_box: block.min_box,
            temporal_confirm: &block.temporal_confirm,
            max_disappeared_seconds: block.max_disappeared_seconds,
            cooldown_seconds: block.cooldown_seconds,
            dwell_seconds: block.dwell_seconds,
            update_seconds: block.update_seconds,
            activity: block.activity,
        }
    }
}

impl Lowering<'_> {
    /// The enabled entries; those that are not are checked too.
    pub(super) fn pipeline(&mut self, camera: &Camera, at: &KeyPath) -> Vec<PipelineEntry> {
        let roi = camera.roi.as_ref().and_then(|roi| self.roi(roi, &at.key("roi")));
        let at = at.key("pipeline");
        if !camera.pipeline.iter().any(|entry| entry.enabled) {
            let remedy = "write `enabled: true` for at least one, or `enabled: false` for the camera";
            self.problem(&at, "no entry is enabled: nothing would be looked for", remedy);
        }
        let mut counts = BTreeMap::new();
        let mut entries = Vec::new();
        for (i, entry) in camera.pipeline.iter().enumerate() {
            let count = counts.entry(entry.kind.as_str()).or_insert(0_usize);
            *count += 1;
            let detector = detector_name(entry.kind, *count);
            let needed = camera.enabled && entry.enabled;
            let lowered = self.entry(entry, detector, roi.as_ref(), needed, &at.index(i));
            entries.extend(lowered.filter(|_| entry.enabled));
        }
        entries
    }

    fn entry(
        &mut self,
        entry: &written::PipelineEntry,
        detector: String,
        roi: Option<&Roi>,
        needed: bool,
        at: &KeyPath,
    ) -> Option<PipelineEntry> {
        let kind = entry.kind;
        let block = self.block(entry, at)?;
        let at = at.key(kind.as_str());
        let model = self.model(block.weights, &at.key(block.weights_key), needed);
        if let (Some(names), Some(model)) = (block.classes, &model) {
            self.classes_exist(names, model, &at.key("classes"));
        }
        let alpr = entry.alpr.as_deref().filter(|_| kind == DetectorType::Alpr);
        let reading = alpr.and_then(|alpr| self.reading(alpr, needed, &at));
        let names = |names: &[String]| names.iter().map(|name| Arc::from(&**name)).collect();
        let rules = Rules {
            detector,
            kind: kind.as_str().to_owned(),
            thresholds: Thresholds { conf: narrow(block.conf_threshold), nms_iou: narrow(block.nms_iou) },
            agnostic_nms: block.agnostic_nms,
            classes: block.classes.map(names),
            min_box: block.min_box.map(|min_box| self.min_box(min_box, roi, &at.key("min_box"))),
            roi: roi.cloned(),
            confirm: self.confirm(block.temporal_confirm, block.conf_threshold, &at.key("temporal_confirm")),
            max_disappeared_ms: milliseconds(block.max_disappeared_seconds),
            cooldown_ms: milliseconds(block.cooldown_seconds),
            dwell_ms: milliseconds(block.dwell_seconds.unwrap_or_default()),
            update_ms: block.update_seconds.map(milliseconds),
            quiet_ms: block.activity.map(|activity| milliseconds(activity.quiet_seconds)),
            reading: alpr.map(|alpr| self.reading_rules(alpr, &at.key("plate_patterns"))),
        };
        model.map(|model| PipelineEntry { rules, model, reading })
    }

    /// The block that is named as the entry's type; others may not stand beside it.
    fn block<'e>(&mut self, entry: &'e written::PipelineEntry, at: &KeyPath) -> Option<Block<'e>> {
        let blocks = [
            (DetectorType::Weapon, entry.weapon.as_ref().map(Block::from)),
            (DetectorType::FireSmoke, entry.fire_smoke.as_ref().map(Block::from)),
            (DetectorType::Objects, entry.objects.as_ref().map(Block::from)),
            (DetectorType::Alpr, entry.alpr.as_deref().map(Block::from)),
        ];
        let name = entry.kind.as_str();
        for (kind, block) in &blocks {
            if *kind != entry.kind && block.is_some() {
                let message = format!("a block `{}` stands in an entry of type {name}", kind.as_str());
                let remedy = format!("name the block `{name}`, or write `type: {}`", kind.as_str());
                self.problem(&at.key(kind.as_str()), message, remedy);
            }
        }
        let block = blocks.into_iter().find(|(kind, _)| *kind == entry.kind).and_then(|(_, block)| block);
        if block.is_none() {
            let least = match entry.kind {
                DetectorType::Alpr => "`plate_detector_weights` and `ocr_weights`",
                DetectorType::Weapon | DetectorType::FireSmoke | DetectorType::Objects => "`yolo_weights`",
            };
            let remedy = format!("add `{name}:` with at least {least}");
            self.problem(&at.key("type"), format!("the entry has no block `{name}`"), remedy);
        }
        block
    }

    fn reading(&mut self, alpr: &Alpr, needed: bool, at: &KeyPath) -> Option<ReadingSpec> {
        let at = at.key("ocr_weights");
        let model = self.model(&alpr.ocr_weights, &at, needed)?;
        if model.layout != LayoutChoice::Auto {
            let message =
                format!("model {} has a `layout`, which is that of a detector's output", model.name);
            self.problem(&at, message, "name a recognition model, and leave its `layout` out");
        }
        if model.input != InputEncoding::default() {
            let message = format!("model {} has an `input`, which is that of a detector", model.name);
            self.problem(&at, message, "name a recognition model, and leave its `input` out");
        }
        if model.box_units != BoxUnits::default() {
            let message = format!("model {} has `box_units`, which are those of a detector", model.name);
            self.problem(&at, message, "name a recognition model, and leave its `box_units` out");
        }
        Some(ReadingSpec { model, crop_expand: narrow(alpr.crop_expand) })
    }

    fn reading_rules(&mut self, alpr: &Alpr, at: &KeyPath) -> ReadingRules {
        let mut patterns = Vec::new();
        for (i, text) in alpr.plate_patterns.iter().flatten().enumerate() {
            match TextPattern::new(text) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => {
                    let message = format!("{text:?} is no regular expression: {error}");
                    let remedy = "write one that a whole plate matches, such as [A-Z]{2}[0-9]{3,4}";
                    self.problem(&at.index(i), message, remedy);
                }
            }
        }
        ReadingRules { conf: narrow(alpr.ocr_conf_threshold), patterns }
    }

    fn classes_exist(&mut self, names: &[String], model: &ModelSpec, at: &KeyPath) {
        let Some(known) = &model.classes else { return };
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        for (i, name) in names.iter().enumerate().filter(|(_, name)| !known.contains(&name.as_str())) {
            let remedy = match closest(name, &known) {
                Some(close) => format!("did you mean `{close}`?"),
                None => format!("its classes are {}", known.join(", ")),
            };
            self.problem(&at.index(i), format!("model {} has no class {name:?}", model.name), remedy);
        }
    }

    fn min_box(&mut self, min_box: MinBox, roi: Option<&Roi>, at: &KeyPath) -> (f32, f32) {
        let MinBox { width, height } = min_box;
        let normalized = roi.is_some_and(|roi| roi.normalized);
        if normalized && width.max(height) > 1.0 {
            let message =
                format!("{width} x {height} is larger than the frame, for the `roi` has `units: normalized`");
            self.problem(at, message, "give shares of the frame, from 0 to 1");
        } else if !normalized && width.max(height) > 0.0 && width.max(height) < 1.0 {
            let message = format!("{width} x {height} is smaller than a pixel");
            self.problem(
                at,
                message,
                "give frame pixels (shares of the frame only with an enabled `roi` of `units: normalized`)",
            );
        }
        (narrow(width), narrow(height))
    }

    fn confirm(&mut self, confirm: &TemporalConfirm, conf: f64, at: &KeyPath) -> Confirm {
        let frames = confirm.frames;
        let window = confirm.window.unwrap_or(frames.max(3));
        if frames > window {
            let message = format!("{frames} sightings cannot be had in {window} looks");
            self.problem(&at.key("frames"), message, "give at most as many `frames` as `window`");
        }
        let by_default = if frames == 1 { 0.0 } else { conf.max((MEDIAN_SHARE * conf).min(MEDIAN_MOST)) };
        Confirm {
            frames,
            window,
            iou_threshold: narrow(confirm.iou_threshold),
            median_conf: narrow(confirm.median_conf.unwrap_or(by_default)),
        }
    }
}

fn detector_name(kind: DetectorType, count: usize) -> String {
    if count == 1 { kind.as_str().to_owned() } else { format!("{}#{count}", kind.as_str()) }
}

#[expect(clippy::cast_possible_truncation, reason = "the schema keeps seconds within 0..=86400")]
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}
