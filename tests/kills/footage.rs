//! Footage in which objects come and go all the time, each long enough to be confirmed, at any place of a fragment.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kvs_sim::{ClipPace, Clock, Sim, append_clip, epoch_ms};
use test_support::colours::{model, paint_by};

/// The cameras, and by how much their objects come earlier than those of the first, s.
pub(crate) const CAMERAS: [Camera; 3] = [("front", 0.0), ("back", 0.4), ("side", 0.9)];
/// Of each camera, in fragments of a second with ten frames.
pub(crate) const FRAGMENTS: u32 = 96;
/// The delay of the last, empty second: all before it is far behind the live edge, however slow a
/// reader is. One at the edge that waits for its bytes would count as live, and may drop frames.
const LATER: Duration = Duration::from_secs(60);
/// Box, colour, every so many seconds, for so many seconds.
type Objects = [(&'static str, &'static str, f64, f64); 3];

/// The periods are no multiples of a fragment, so that confirmation begins at each tenth of one.
const BUSY: Objects = [
    ("x=16:y=16:w=32:h=32", "0xFF0000", 1.3, 0.7),
    ("x=64:y=16:w=48:h=32", "0x00FF00", 1.7, 0.8),
    ("x=32:y=64:w=32:h=48", "0x0000FF", 2.3, 1.1),
];
/// Nothing moves for most of the time, and an object stays for as long as a GOP at least.
const SELDOM: Objects = [
    ("x=16:y=16:w=32:h=32", "0xFF0000", 8.3, 1.1),
    ("x=64:y=16:w=48:h=32", "0x00FF00", 7.1, 1.4),
    ("x=32:y=64:w=32:h=48", "0x0000FF", 10.9, 3.7),
];

/// The coding of the footage and the way to read it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Arguments of ffmpeg, for a key frame each second.
    encoder: &'static str,
    /// `playback.mode`
    mode: &'static str,
    objects: Objects,
    /// A further key of each camera.
    motion: &'static str,
    /// A run without kills has more events than this.
    pub(crate) min_events: usize,
}

pub(crate) const CLOSED_GOPS: Kind = Kind {
    encoder: "-c:v libx264 -crf 12 -g 10 -keyint_min 10 -sc_threshold 0 -bf 2",
    mode: "GETMEDIA",
    objects: BUSY,
    motion: "",
    min_events: 400,
};
/// Each fragment refers to the one before.
pub(crate) const OPEN_GOPS: Kind = Kind {
    encoder: "-c:v libx265 -preset veryfast -crf 12 -tag:v hvc1 -x265-params \
              log-level=none:open-gop=1:keyint=10:min-keyint=10:scenecut=0:bframes=3",
    ..CLOSED_GOPS
};
pub(crate) const HLS: Kind = Kind { mode: "HLS", ..CLOSED_GOPS };
pub(crate) const OPEN_GOPS_BY_HLS: Kind = Kind { mode: "HLS", ..OPEN_GOPS };
/// Cameras that decode keyframes alone for most of the time, and go back to the frames between them.
pub(crate) const IDLE: Kind = Kind {
    objects: SELDOM,
    motion: "    motion: { enabled: true, max_idle_seconds: 1 }\n",
    min_events: 100,
    ..CLOSED_GOPS
};
pub(crate) const IDLE_WITH_OPEN_GOPS: Kind = Kind { encoder: OPEN_GOPS.encoder, ..IDLE };

/// A camera, and by how much its objects come earlier than those of the first, s.
pub(crate) type Camera = (&'static str, f64);

/// The clips of all cameras, and an empty one of a second.
pub(crate) struct Footage {
    busy: Vec<(&'static str, PathBuf)>,
    empty: PathBuf,
    fragments: u32,
    begins: SystemTime,
}

impl Footage {
    /// Paints the clips of these cameras in `dir`, each of so many fragments; they were made an hour ago.
    pub(crate) fn paint(dir: &Path, kind: Kind, cameras: &[Camera], fragments: u32) -> Self {
        let busy = cameras.iter().map(|&(camera, early_s)| {
            let clip = dir.join(format!("{camera}.mp4"));
            paint_by(&clip, fragments, &boxes(kind.objects, early_s), kind.encoder);
            (camera, clip)
        });
        let (busy, empty) = (busy.collect(), dir.join("empty.mp4"));
        paint_by(&empty, 1, "null", kind.encoder);
        let begins = SystemTime::now() - Duration::from_secs(3600);
        Self { busy, empty, fragments, begins }
    }

    /// Returns the clip of each camera.
    pub(crate) fn clips(&self) -> &[(&'static str, PathBuf)] {
        &self.busy
    }

    /// Returns the size of the largest clip, bytes.
    pub(crate) fn largest_clip(&self) -> u64 {
        self.busy.iter().map(|(_, clip)| std::fs::metadata(clip).unwrap().len()).max().unwrap_or(0)
    }

    /// Stores what is to be read in `round`, by the clock of `sim`.
    pub(crate) async fn store(&self, sim: &Sim, clock: &Clock, round: usize) {
        for (camera, clip) in &self.busy {
            let stream = sim.store().stream_or_create(&stream(camera, round)).unwrap();
            append_clip(&stream, clip, ClipPace::Asap, self.begins).await.unwrap();
        }
        clock.advance(LATER);
        self.append_empty(sim, round, self.fragments).await;
    }

    /// Adds a second in which nothing is seen, which shows that a reader has read all before it; returns its media time, ms.
    pub(crate) async fn end(&self, sim: &Sim, round: usize) -> i64 {
        epoch_ms(self.append_empty(sim, round, self.fragments + 1).await)
    }

    /// Returns the time at which it begins.
    async fn append_empty(&self, sim: &Sim, round: usize, after_s: u32) -> SystemTime {
        let begins = self.begins + Duration::from_secs(u64::from(after_s));
        for (camera, _) in &self.busy {
            let stream = sim.store().stream(&stream(camera, round)).unwrap();
            append_clip(&stream, &self.empty, ClipPace::Asap, begins).await.unwrap();
        }
        begins
    }
}

/// The cameras of a configuration, each of which confirms over three frames and reads all that is stored.
pub(crate) fn cameras(cameras: &[Camera], round: usize, kind: Kind) -> String {
    let camera = |(camera, _): &Camera| {
        format!(
            "  - id: {camera}\n    kvs_stream_name: {stream}\n    playback: {{ mode: {mode}, start: EARLIEST }}\n{motion}    pipeline:\n      \
             - type: objects\n        objects:\n          yolo_weights: {model}\n          max_disappeared_seconds: 0.3\n          \
             temporal_confirm: {{ frames: 3, window: 4 }}\n",
            mode = kind.mode,
            motion = kind.motion,
            stream = stream(camera, round),
            model = model().display(),
        )
    };
    cameras.iter().map(camera).collect()
}

/// The name of a camera's stream in a round.
pub(crate) fn stream(camera: &str, round: usize) -> String {
    format!("{camera}-{round}")
}

fn boxes(objects: Objects, early_s: f64) -> String {
    let object = |(place, colour, every_s, for_s): (&str, &str, f64, f64)| {
        format!("drawbox={place}:c={colour}:t=fill:enable='lt(mod(t+{early_s},{every_s}),{for_s})',")
    };
    objects.map(object).concat() + "format=yuv420p"
}
