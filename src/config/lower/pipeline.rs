//! A camera's `pipeline`.

use std::collections::BTreeMap;
use std::sync::Arc;

use kvs_config::written::{self, Camera, Detector, DetectorType, MinBox, TemporalConfirm};
use kvs_config::{KeyPath, closest};

use crate::config::meant::PipelineEntry;
use crate::decide::{Confirm, Roi, Rules};
use crate::detect::{ModelSpec, Thresholds};

use super::Lowering;
use super::roi::narrow;

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
        let model = self.model(&block.yolo_weights, &at.key("yolo_weights"), needed);
        if let (Some(names), Some(model)) = (&block.classes, &model) {
            self.classes_exist(names, model, &at.key("classes"));
        }
        let rules = Rules {
            detector,
            kind: kind.as_str().to_owned(),
            thresholds: Thresholds { conf: narrow(block.conf_threshold), nms_iou: narrow(block.nms_iou) },
            classes: block
                .classes
                .as_ref()
                .map(|names| names.iter().map(|name| Arc::from(&**name)).collect()),
            min_box: block.min_box.map(|min_box| self.min_box(min_box, roi, &at.key("min_box"))),
            roi: roi.cloned(),
            confirm: self.confirm(&block.temporal_confirm, &at.key("temporal_confirm")),
            cooldown_ms: milliseconds(block.cooldown_seconds),
            dwell_ms: milliseconds(block.dwell_seconds.unwrap_or_default()),
            update_ms: block.update_seconds.map(milliseconds),
            reading: None,
        };
        model.map(|model| PipelineEntry { rules, model })
    }

    /// The block that is named as the entry's type; others may not stand beside it.
    fn block<'e>(&mut self, entry: &'e written::PipelineEntry, at: &KeyPath) -> Option<&'e Detector> {
        let blocks = [
            (DetectorType::Weapon, &entry.weapon),
            (DetectorType::FireSmoke, &entry.fire_smoke),
            (DetectorType::Objects, &entry.objects),
        ];
        let name = entry.kind.as_str();
        for (kind, block) in &blocks {
            if *kind != entry.kind && block.is_some() {
                let message = format!("a block `{}` stands in an entry of type {name}", kind.as_str());
                let remedy = format!("name the block `{name}`, or write `type: {}`", kind.as_str());
                self.problem(&at.key(kind.as_str()), message, remedy);
            }
        }
        let block =
            blocks.into_iter().find(|(kind, _)| *kind == entry.kind).and_then(|(_, block)| block.as_ref());
        if block.is_none() {
            let remedy = format!("add `{name}:` with at least `yolo_weights`");
            self.problem(&at.key("type"), format!("the entry has no block `{name}`"), remedy);
        }
        block
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

    fn confirm(&mut self, confirm: &TemporalConfirm, at: &KeyPath) -> Confirm {
        let frames = confirm.frames;
        let window = confirm.window.unwrap_or(frames.max(3));
        if frames > window {
            let message = format!("{frames} sightings cannot be had in {window} looks");
            self.problem(&at.key("frames"), message, "give at most as many `frames` as `window`");
        }
        Confirm { frames, window, iou_threshold: narrow(confirm.iou_threshold) }
    }
}

fn detector_name(kind: DetectorType, count: usize) -> String {
    if count == 1 { kind.as_str().to_owned() } else { format!("{}#{count}", kind.as_str()) }
}

#[expect(clippy::cast_possible_truncation, reason = "the schema keeps seconds within 0..=86400")]
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}
