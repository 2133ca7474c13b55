//! The section `cameras`.

use std::collections::BTreeMap;

use kvs_config::KeyPath;
use kvs_config::raw::{CameraSection, IdleDecodeMode, MotionSection};

use crate::config::settings::{CameraSpec, PipelineEntry};
use crate::detect::MotionRules;
use crate::media::CameraId;

use super::roi::narrow;
use super::{SettingsBuilder, root_key};

impl SettingsBuilder<'_> {
    /// Returns the enabled cameras. The others are checked too.
    pub(super) fn cameras(&mut self) -> Vec<CameraSpec> {
        let at = root_key("cameras");
        let cameras = &self.raw.cameras;
        self.check_unique_ids(cameras, &at);
        self.check_any_enabled(cameras, &at);
        let mut specs = Vec::new();
        for (i, camera) in cameras.iter().enumerate() {
            specs.extend(self.camera(camera, &at.index(i)));
        }
        specs
    }

    fn check_unique_ids(&mut self, cameras: &[CameraSection], at: &KeyPath) {
        let mut first: BTreeMap<&str, usize> = BTreeMap::new();
        for (i, camera) in cameras.iter().enumerate() {
            if let Some(before) = first.get(camera.id.as_str()) {
                let message = format!("the id {:?} is used by cameras[{before}] already", camera.id);
                self.problem(&at.index(i).key("id"), message, "give each camera a unique id");
            }
            first.entry(&camera.id).or_insert(i);
        }
    }

    fn check_any_enabled(&mut self, cameras: &[CameraSection], at: &KeyPath) {
        if cameras.is_empty() {
            self.problem(
                &KeyPath::default(),
                "`cameras` is missing",
                "name at least one camera under `cameras`",
            );
        } else if !cameras.iter().any(|camera| camera.enabled) {
            let remedy = "write `enabled: true` for at least one";
            self.problem(at, "no camera is enabled", remedy);
        }
    }

    fn camera(&mut self, camera: &CameraSection, at: &KeyPath) -> Option<CameraSpec> {
        let pipeline = self.pipeline(camera, at);
        let route = self.route(camera, at);
        let masks = self.masks(camera, &at.key("masks"));
        let motion = camera.motion.as_ref().filter(|motion| motion.enabled);
        let decodes_idly = motion.is_some_and(|motion| motion.idle_decode == IdleDecodeMode::KeyFrames);
        let motion = motion.map(|motion| motion_rules(motion, camera.fps_target, &pipeline));
        camera.enabled.then(|| CameraSpec {
            id: CameraId::new(&camera.id),
            stream: camera.kvs_stream_name.clone(),
            priority: camera.priority,
            mode: camera.playback.mode,
            start: camera.playback.start,
            fps_target: camera.fps_target,
            max_pixels: camera.max_pixels,
            masks,
            motion,
            decodes_idly,
            pipeline,
            route,
        })
    }
}

/// Minimum time for which every frame is analyzed after a change, ms.
const MIN_CALM_MS: f64 = 1_000.0;

/// Returns the rules of the motion gate. After a change it passes as many frames as the longest window of confirmation counts.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the schema keeps windows within 64 inferences and idleness within 9 seconds"
)]
fn motion_rules(motion: &MotionSection, fps_target: Option<f64>, pipeline: &[PipelineEntry]) -> MotionRules {
    // Without `fps_target` the frame rate is unknown here, and the minimum applies.
    let window = pipeline.iter().map(|entry| entry.rules.confirm.window).max().unwrap_or(0);
    let window_ms = fps_target.map_or(0.0, |fps| 1000.0 * f64::from(window) / fps);
    MotionRules {
        sensitivity: narrow(motion.sensitivity),
        max_idle_ms: (motion.max_idle_seconds * 1000.0) as i64,
        calm_ms: window_ms.max(MIN_CALM_MS) as i64,
    }
}
