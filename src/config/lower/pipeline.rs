//! The section `pipeline` of a camera.

use std::collections::BTreeMap;
use std::sync::Arc;

use kvs_config::raw::{
    AlprSection, CameraSection, DetectionOptions, DetectorBlock, DetectorType, MinBox, PipelineSection,
};
use kvs_config::{KeyPath, closest};

use crate::config::settings::{OcrSpec, PipelineEntry};
use crate::decide::{Confirm, ReadingRules, Roi, Rules, TextPattern};
use crate::detect::{BoxUnits, InputEncoding, LayoutChoice, ModelSpec, Thresholds};

use super::SettingsBuilder;
use super::roi::narrow;

/// The default of `median_conf` as a multiple of `conf_threshold`: a false detection seldom has a higher median.
const MEDIAN_FACTOR: f64 = 1.25;
/// The maximum of that default.
const MAX_DEFAULT_MEDIAN: f64 = 0.5;

/// The properties of an entry that its camera determines.
struct EntryContext<'c> {
    /// The entry's name in event ids.
    detector: String,
    roi: Option<&'c Roi>,
    /// `true` if the entry's model files must exist.
    is_needed: bool,
}

impl SettingsBuilder<'_> {
    /// Returns the enabled entries. The others are checked too.
    pub(super) fn pipeline(&mut self, camera: &CameraSection, at: &KeyPath) -> Vec<PipelineEntry> {
        let roi = camera.roi.as_ref().and_then(|roi| self.roi(roi, &at.key("roi")));
        let at = at.key("pipeline");
        if !camera.pipeline.iter().any(|entry| entry.enabled) {
            let remedy = "write `enabled: true` for at least one entry, or `enabled: false` for the camera";
            self.problem(&at, "no entry is enabled", remedy);
        }
        let mut counts = BTreeMap::new();
        let mut entries = Vec::new();
        for (i, entry) in camera.pipeline.iter().enumerate() {
            // Counted whether it is enabled or not: disabling one entry must not change the event ids of another.
            let count = counts.entry(entry.kind.as_str()).or_insert(0_usize);
            *count += 1;
            let context = EntryContext {
                detector: detector_name(entry.kind, *count),
                roi: roi.as_ref(),
                is_needed: camera.enabled && entry.enabled,
            };
            let lowered = self.entry(entry, context, &at.index(i));
            entries.extend(lowered.filter(|_| entry.enabled));
        }
        entries
    }

    fn entry(
        &mut self,
        entry: &PipelineSection,
        context: EntryContext<'_>,
        at: &KeyPath,
    ) -> Option<PipelineEntry> {
        let block = self.block(entry, at)?;
        let at = at.key(entry.kind.as_str());
        let (model, ocr) = self.entry_models(block, context.is_needed, &at);
        let mut rules = self.detection_rules(entry.kind, block.options(), context, &at);
        match block {
            DetectorBlock::Objects(section) => {
                // A misspelt class would be a detector that never reports anything.
                if let (Some(names), Some(model)) = (&section.classes, &model) {
                    self.check_classes(names, model, &at.key("classes"));
                }
                rules.classes = section.classes.as_deref().map(shared_names);
                rules.agnostic_nms = section.agnostic_nms;
            }
            DetectorBlock::Alpr(alpr) => {
                rules.reading = Some(self.ocr_rules(alpr, &at.key("plate_patterns")));
            }
        }
        model.map(|model| PipelineEntry { rules, model, ocr })
    }

    /// Returns the rules that entries of every type have. Classes, `agnostic_nms` and reading are placeholders for the type to set.
    fn detection_rules(
        &mut self,
        kind: DetectorType,
        options: &DetectionOptions,
        context: EntryContext<'_>,
        at: &KeyPath,
    ) -> Rules {
        let EntryContext { detector, roi, .. } = context;
        Rules {
            detector,
            kind: kind.as_str().to_owned(),
            thresholds: Thresholds { conf: narrow(options.conf_threshold), nms_iou: narrow(options.nms_iou) },
            agnostic_nms: false,
            classes: None,
            min_box: options.min_box.map(|min_box| self.min_box(min_box, roi, &at.key("min_box"))),
            roi: roi.cloned(),
            confirm: self.confirm(options, &at.key("temporal_confirm")),
            max_disappeared_ms: milliseconds(options.max_disappeared_seconds),
            cooldown_ms: milliseconds(options.cooldown_seconds),
            dwell_ms: milliseconds(options.dwell_seconds.unwrap_or_default()),
            update_ms: options.update_seconds.map(milliseconds),
            quiet_ms: options.activity.map(|activity| milliseconds(activity.quiet_seconds)),
            reading: None,
        }
    }

    /// Returns the block named like the entry's type. Blocks of other types are reported.
    fn block<'e>(&mut self, entry: &'e PipelineSection, at: &KeyPath) -> Option<DetectorBlock<'e>> {
        let name = entry.kind.as_str();
        for kind in entry.given_blocks().filter(|kind| *kind != entry.kind) {
            let message = format!("the block `{}` does not belong to an entry of type {name}", kind.as_str());
            let remedy = format!("rename the block to `{name}`, or write `type: {}`", kind.as_str());
            self.problem(&at.key(kind.as_str()), message, remedy);
        }
        let block = entry.block(entry.kind);
        if block.is_none() {
            let required = match entry.kind {
                DetectorType::Alpr => "`plate_detector_weights` and `ocr_weights`",
                DetectorType::Weapon | DetectorType::FireSmoke | DetectorType::Objects => "`yolo_weights`",
            };
            let remedy = format!("add `{name}:` with at least {required}");
            self.problem(&at.key("type"), format!("the block `{name}` is missing"), remedy);
        }
        block
    }

    /// Returns the detection model of a block, and its text recognition.
    fn entry_models(
        &mut self,
        block: DetectorBlock<'_>,
        is_needed: bool,
        at: &KeyPath,
    ) -> (Option<Arc<ModelSpec>>, Option<OcrSpec>) {
        match block {
            DetectorBlock::Objects(section) => {
                (self.model(&section.yolo_weights, &at.key("yolo_weights"), is_needed), None)
            }
            DetectorBlock::Alpr(section) => {
                let key = at.key("plate_detector_weights");
                let model = self.model(&section.plate_detector_weights, &key, is_needed);
                (model, self.ocr(section, is_needed, at))
            }
        }
    }

    /// Returns the text recognition of a block. Keys that only detection models have are reported.
    fn ocr(&mut self, alpr: &AlprSection, is_needed: bool, at: &KeyPath) -> Option<OcrSpec> {
        let at = at.key("ocr_weights");
        let model = self.model(&alpr.ocr_weights, &at, is_needed)?;
        if model.layout != LayoutChoice::Auto {
            let message = format!("model {} has a `layout`, which only detection models have", model.name);
            self.problem(&at, message, "name a recognition model, without `layout`");
        }
        if model.input != InputEncoding::default() {
            let message = format!("model {} has an `input`, which only detection models have", model.name);
            self.problem(&at, message, "name a recognition model, without `input`");
        }
        if model.box_units != BoxUnits::default() {
            let message = format!("model {} has `box_units`, which only detection models have", model.name);
            self.problem(&at, message, "name a recognition model, without `box_units`");
        }
        Some(OcrSpec { model, crop_expand: narrow(alpr.crop_expand) })
    }

    fn ocr_rules(&mut self, alpr: &AlprSection, at: &KeyPath) -> ReadingRules {
        let mut patterns = Vec::new();
        for (i, text) in alpr.plate_patterns.iter().flatten().enumerate() {
            match TextPattern::new(text) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => {
                    let message = format!("{text:?} is not a regular expression: {error}");
                    let remedy = "write an expression that matches a whole plate, such as [A-Z]{2}[0-9]{3,4}";
                    self.problem(&at.index(i), message, remedy);
                }
            }
        }
        ReadingRules { conf: narrow(alpr.ocr_conf_threshold), patterns }
    }

    fn check_classes(&mut self, names: &[String], model: &ModelSpec, at: &KeyPath) {
        // Classes in the model's metadata are checked once it is loaded.
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
        // A disabled `roi` does not set the units here, unlike for masks.
        let normalized = roi.is_some_and(|roi| roi.normalized);
        if normalized && width.max(height) > 1.0 {
            let message = format!(
                "{width} x {height} is larger than the frame, since the `roi` has `units: normalized`"
            );
            self.problem(at, message, "give fractions of the frame, from 0 to 1");
        } else if !normalized && width.max(height) > 0.0 && width.max(height) < 1.0 {
            let message = format!("{width} x {height} is smaller than a pixel");
            self.problem(
                at,
                message,
                "give frame pixels, or fractions of the frame with an enabled `roi` of `units: normalized`",
            );
        }
        (narrow(width), narrow(height))
    }

    fn confirm(&mut self, options: &DetectionOptions, at: &KeyPath) -> Confirm {
        let (confirm, conf) = (&options.temporal_confirm, options.conf_threshold);
        let frames = confirm.frames;
        // The schema admits each value by itself.
        let window = confirm.window.unwrap_or(frames.max(3));
        if frames > window {
            let message = format!("`frames: {frames}` exceeds `window: {window}`");
            self.problem(&at.key("frames"), message, "give at most as many `frames` as `window`");
        }
        // An object that one detection confirms has no median yet. Never below `conf_threshold`, which each detection exceeds.
        let default_median =
            if frames == 1 { 0.0 } else { conf.max((MEDIAN_FACTOR * conf).min(MAX_DEFAULT_MEDIAN)) };
        Confirm {
            frames,
            window,
            iou_threshold: narrow(confirm.iou_threshold),
            median_conf: narrow(confirm.median_conf.unwrap_or(default_median)),
        }
    }
}

fn shared_names(names: &[String]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(&**name)).collect()
}

/// Returns the name of an entry in event ids: its type, with `#2`, `#3`... for further entries of the type.
pub(super) fn detector_name(kind: DetectorType, count: usize) -> String {
    if count == 1 { kind.as_str().to_owned() } else { format!("{}#{count}", kind.as_str()) }
}

#[expect(clippy::cast_possible_truncation, reason = "the schema keeps seconds within 0..=86400")]
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}
