//! The zones and masks of the cameras as the file has them, for the zone editor.

use std::collections::BTreeMap;
use std::sync::Arc;

use kvs_config::KeyPath;
use kvs_config::raw::{CameraSection, DetectorBlock, PipelineSection};

use crate::config::shapes::{CameraPlace, CameraShapes, EntryFilters};
use crate::media::CameraId;

use super::pipeline::detector_name;
use super::{SettingsBuilder, root_key};

impl SettingsBuilder<'_> {
    /// Returns the zones and masks of the enabled cameras of the file, in its order.
    pub(super) fn shapes(&self, file: &str, text: &str) -> Vec<CameraShapes> {
        let (file, lines): (Arc<str>, Vec<&str>) = (file.into(), text.lines().collect());
        let cameras = self.raw.cameras.iter().enumerate().filter(|(_, camera)| camera.enabled);
        let shapes = cameras.map(|(i, camera)| {
            let at = root_key("cameras").index(i);
            let place = self.camera_place(&file, &lines, &at);
            camera_shapes(camera, place)
        });
        shapes.collect()
    }

    fn camera_place(&self, file: &Arc<str>, lines: &[&str], camera: &KeyPath) -> CameraPlace {
        // A list that begins on a line below its key has the position of the key, which shows the indentation.
        let pipeline = self.document.span_of(&camera.key("pipeline"));
        let column = pipeline.column.saturating_sub(1);
        let line = pipeline.line.checked_sub(1).and_then(|line| lines.get(line)).copied().unwrap_or_default();
        let before = line.get(..column);
        let is_key = line.get(column..).is_some_and(|rest| rest.starts_with("pipeline:"));
        let is_block = before.is_some_and(|before| before.chars().all(|c| c == ' ' || c == '-'));
        CameraPlace {
            file: Arc::clone(file),
            line: self.document.span_of(camera).line,
            indent: (is_key && is_block).then_some(column),
        }
    }
}

fn camera_shapes(camera: &CameraSection, place: CameraPlace) -> CameraShapes {
    let mut counts = BTreeMap::new();
    let named = |entry: &PipelineSection| {
        let count = counts.entry(entry.kind.as_str()).or_insert(0_usize);
        *count += 1;
        entry_filters(entry, detector_name(entry.kind, *count))
    };
    CameraShapes {
        id: CameraId::new(&camera.id),
        roi: camera.roi.clone(),
        masks: camera.masks.clone().unwrap_or_default(),
        entries: camera.pipeline.iter().filter_map(named).collect(),
        place,
    }
}

/// Returns the filters of an entry; `None`: its block is missing, which is a mistake.
fn entry_filters(entry: &PipelineSection, name: String) -> Option<EntryFilters> {
    let block = entry.block(entry.kind)?;
    let options = block.options();
    let objects = match block {
        DetectorBlock::Objects(section) => Some(section),
        DetectorBlock::Alpr(_) => None,
    };
    Some(EntryFilters {
        name,
        kind: entry.kind,
        enabled: entry.enabled,
        conf_threshold: options.conf_threshold,
        classes: objects.and_then(|section| section.classes.clone()),
        agnostic_nms: objects.is_some_and(|section| section.agnostic_nms),
        min_box: options.min_box,
    })
}
