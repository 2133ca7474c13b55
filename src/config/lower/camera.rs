//! `cameras`.

use std::collections::BTreeMap;

use kvs_config::KeyPath;
use kvs_config::written::{Camera, Motion};

use crate::config::meant::{CameraSpec, PipelineEntry};
use crate::detect::MotionRules;
use crate::media::CameraId;

use super::roi::narrow;
use super::{Lowering, root_key};

impl Lowering<'_> {
    /// The enabled cameras; those that are not are checked too.
    pub(super) fn cameras(&mut self) -> Vec<CameraSpec> {
        let at = root_key("cameras");
        let cameras = &self.written.cameras;
        self.ids_are_unique(cameras, &at);
        if cameras.is_empty() {
            self.problem(
                &KeyPath::default(),
                "there are no `cameras`",
                "name at least one camera under `cameras`",
            );
        } else if !cameras.iter().any(|camera| camera.enabled) {
            let remedy = "write `enabled: true` for at least one";
            self.problem(&at, "no camera is enabled: there would be nothing to do", remedy);
        }
        let lowered: Vec<_> =
            cameras.iter().enumerate().map(|(i, camera)| self.camera(camera, &at.index(i))).collect();
        lowered.into_iter().flatten().collect()
    }

    fn ids_are_unique(&mut self, cameras: &[Camera], at: &KeyPath) {
        let mut first: BTreeMap<&str, usize> = BTreeMap::new();
        for (i, camera) in cameras.iter().enumerate() {
            if let Some(before) = first.get(camera.id.as_str()) {
                let message = format!("{:?} is the id of cameras[{before}] already", camera.id);
                self.problem(&at.index(i).key("id"), message, "give each camera an id of its own");
            }
            first.entry(&camera.id).or_insert(i);
        }
    }

    fn camera(&mut self, camera: &Camera, at: &KeyPath) -> Option<CameraSpec> {
        let pipeline = self.pipeline(camera, at);
        let route = self.route(camera, at);
        let masks = self.masks(camera, &at.key("masks"));
        let motion = camera.motion.as_ref().filter(|motion| motion.enabled);
        let motion = motion.map(|motion| motion_rules(motion, camera.fps_target, &pipeline));
        camera.enabled.then(|| CameraSpec {
            id: CameraId::new(&camera.id),
            stream: camera.kvs_stream_name.clone(),
            mode: camera.playback.mode,
            start: camera.playback.start,
            fps_target: camera.fps_target,
            max_pixels: camera.max_pixels,
            masks,
            motion,
            pipeline,
            route,
        })
    }
}

/// At least this long every frame is looked at after a change.
const LEAST_CALM_MS: f64 = 1_000.0;

/// After a change come as many looks as the longest window of confirmation counts.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the schema keeps windows within 64 looks and idleness within 9 seconds"
)]
fn motion_rules(motion: &Motion, fps_target: Option<f64>, pipeline: &[PipelineEntry]) -> MotionRules {
    let window = pipeline.iter().map(|entry| entry.rules.confirm.window).max().unwrap_or(0);
    let window_ms = fps_target.map_or(0.0, |fps| 1000.0 * f64::from(window) / fps);
    MotionRules {
        sensitivity: narrow(motion.sensitivity),
        max_idle_ms: (motion.max_idle_seconds * 1000.0) as i64,
        calm_ms: window_ms.max(LEAST_CALM_MS) as i64,
    }
}
