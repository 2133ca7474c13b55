//! The `ffmpeg` and `ffprobe` commands, which scripts/setup installs.

use std::path::Path;
use std::process::Command;

/// A clip for FFmpeg to encode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clip {
    pub(crate) encoder: &'static str,
    pub(crate) b_frames: u32,
    /// Frames from one keyframe to the next; the clip has 50 frames of 40 ms.
    pub(crate) gop: u32,
    /// True if an AAC track comes before the video track.
    pub(crate) audio: bool,
}

impl Clip {
    /// Encodes 2 s of a test picture of 320x178, muxes it with the options `output`, and returns the file
    /// `name`.
    pub(crate) fn write(self, folder: &Path, output: &[&str], name: &str) -> Vec<u8> {
        let gop = self.gop.to_string();
        let b_frames = self.b_frames.to_string();
        let x265 =
            format!("log-level=error:keyint={gop}:min-keyint={gop}:scenecut=0:bframes={b_frames}:open-gop=0");
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc=size=320x178:rate=25:duration=2"]);
        if self.audio {
            command.args([
                "-f",
                "lavfi",
                "-i",
                "sine=duration=2",
                "-map",
                "1:a",
                "-map",
                "0:v",
                "-c:a",
                "aac",
            ]);
        }
        command.args(["-pix_fmt", "yuv420p", "-c:v", self.encoder, "-preset", "veryfast", "-threads", "1"]);
        match self.encoder {
            "libx265" => command.args(["-x265-params", &x265]),
            _ => command.args(["-g", &gop, "-keyint_min", &gop, "-sc_threshold", "0", "-bf", &b_frames]),
        };
        let output =
            command.args(output).arg(name).current_dir(folder).output().expect("ffmpeg is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(folder.join(name)).expect("ffmpeg wrote it")
    }
}

/// A packet as ffprobe prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProbedPacket {
    pub(crate) pts_ms: i64,
    pub(crate) key: bool,
    pub(crate) bytes: usize,
}

/// Returns the video packets of a file in decoding order.
pub(crate) fn probe_packets(file: &Path) -> Vec<ProbedPacket> {
    let text = probe(file, &["-show_packets", "-show_entries", "packet=pts_time,flags,size"]);
    text.lines().filter(|line| !line.trim().is_empty()).map(read_packet).collect()
}

fn read_packet(line: &str) -> ProbedPacket {
    let mut values = line.split(',');
    let mut next = || values.next().unwrap_or_else(|| panic!("three values: {line}"));
    let seconds: f64 = next().parse().unwrap_or_else(|error| panic!("{error}: {line}"));
    let bytes = next().parse().unwrap_or_else(|error| panic!("{error}: {line}"));
    ProbedPacket { pts_ms: (seconds * 1000.0).round() as i64, bytes, key: next().starts_with('K') }
}

/// Returns the duration in the metadata of a file.
pub(crate) fn probe_duration_ms(file: &Path) -> i64 {
    let text = probe(file, &["-show_entries", "stream=duration"]);
    let seconds: f64 = text.trim().parse().unwrap_or_else(|error| panic!("{error}: {text}"));
    (seconds * 1000.0).round() as i64
}

/// Returns the number of frames that FFmpeg decodes, and their size; a decoding error fails the test.
pub(crate) fn probe_frames(file: &Path) -> (usize, String) {
    let text = probe(file, &["-count_frames", "-show_entries", "stream=width,height,nb_read_frames"]);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let values: Vec<&str> = line.split(',').collect();
    let [width, height, frames] = values[..] else { panic!("three values: {text}") };
    (frames.parse().expect("a number"), format!("{width}x{height}"))
}

fn probe(file: &Path, what: &[&str]) -> String {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", "v:0"]).args(what).args(["-of", "csv=p=0"]).arg(file);
    let output = command.output().expect("ffprobe is installed");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}
