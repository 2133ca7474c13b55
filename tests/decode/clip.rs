//! Clips made by the `ffmpeg` command, cut into packets as KVS would send them.
//!
//! Beside them are the frames that the same command decodes: the slow, obvious twin.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kvs_infer::media::{ArrivalLag, Codec, Fragment, MediaMs, Packet, Surface, VideoTrack};

/// The media time at which all clips start, ms since the epoch.
pub(crate) const START_MS: i64 = 1_700_000_000_000;

/// A clip as packets in decode order and as frames in presentation order.
pub(crate) struct Clip {
    pub(crate) packets: Vec<Packet>,
    /// Y, U and V of each frame, without padding.
    pub(crate) twin: Vec<Vec<u8>>,
}

impl Clip {
    /// `arguments` go between `ffmpeg -f lavfi -i testsrc2=SOURCE` and the file; the twin is of `twin_format`, 4:2:0.
    pub(crate) fn make(source: &str, codec: Codec, arguments: &str, twin_format: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("clip.mp4");
        let input = format!("-y -v error -f lavfi -i testsrc2={source} {arguments} -an");
        run(Command::new("ffmpeg").args(input.split_whitespace()).arg(&file));
        let twin = twin(&file, twin_format);
        Self { packets: packets(&file, codec), twin }
    }

    /// Makes H.264 with closed GOPs of 10 pictures; `extra` is for libx264.
    pub(crate) fn h264(source: &str, extra: &str) -> Self {
        Self::make(
            source,
            Codec::H264,
            &format!("-c:v libx264 -preset veryfast -pix_fmt yuv420p -g 10 {extra}"),
            "yuv420p",
        )
    }

    /// Makes H.265 with closed GOPs of 10 pictures and `bframes` B-frames.
    pub(crate) fn h265(source: &str, bframes: u32) -> Self {
        let x265 =
            format!("-x265-params keyint=10:min-keyint=10:open-gop=0:log-level=none:bframes={bframes}");
        Self::make(
            source,
            Codec::H265,
            &format!("-c:v libx265 -preset ultrafast -pix_fmt yuv420p -tag:v hvc1 {x265}"),
            "yuv420p",
        )
    }

    /// Returns the packets by fragment; a fragment begins at each keyframe.
    pub(crate) fn fragments(&self) -> Vec<Vec<Packet>> {
        self.packets.chunk_by(|_, packet| !packet.key).map(<[Packet]>::to_vec).collect()
    }
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("the ffmpeg command is installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Returns the frames of `file` in 4:2:0 `format`, as the `ffmpeg` command decodes them.
pub(crate) fn twin(file: &Path, format: &str) -> Vec<Vec<u8>> {
    let to_raw = format!("-vsync passthrough -sws_flags bilinear -pix_fmt {format} -f rawvideo -");
    let raw = run(Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(file).args(to_raw.split(' ')));
    let size = run(Command::new("ffprobe")
        .args("-v error -select_streams v -show_entries stream=width,height -of csv=p=0".split(' '))
        .arg(file));
    let size = String::from_utf8(size).expect("text");
    let (width, height) = size.trim().split_once(',').expect("two numbers");
    let (width, height): (usize, usize) = (width.parse().expect("width"), height.parse().expect("height"));
    let frame_bytes = width * height + 2 * width.div_ceil(2) * height.div_ceil(2);
    raw.chunks(frame_bytes).map(<[u8]>::to_vec).collect()
}

/// Returns the access units of a file, in decoding order.
pub(crate) fn packets(file: &Path, codec: Codec) -> Vec<Packet> {
    let bytes = Bytes::from(std::fs::read(file).expect("the clip"));
    let track = Arc::new(track(&bytes, codec));
    let listing = run(Command::new("ffprobe")
        .args(
            "-v error -select_streams v -show_entries packet=pts_time,size,pos,flags -of json=c=1".split(' '),
        )
        .arg(file));
    let listing: serde_json::Value = serde_json::from_slice(&listing).expect("JSON");
    let mut packets = Vec::new();
    let mut fragment = fragment_at(START_MS);
    let mut index = 0;
    for entry in listing["packets"].as_array().expect("packets") {
        let text = |key: &str| entry[key].as_str().expect("a text");
        let media = START_MS + (text("pts_time").parse::<f64>().expect("seconds") * 1000.0).round() as i64;
        let key = text("flags").starts_with('K');
        if key {
            (fragment, index) = (fragment_at(media), 0);
        }
        let at: usize = text("pos").parse().expect("a position");
        let unit = bytes.slice(at..at + text("size").parse::<usize>().expect("a size"));
        let (fragment, track) = (Arc::clone(&fragment), Arc::clone(&track));
        packets.push(Packet {
            fragment,
            track,
            index,
            media: MediaMs(media),
            key,
            unit,
            arrived: Instant::now(),
            lag: ArrivalLag::default(),
        });
        index += 1;
    }
    packets
}

fn fragment_at(media: i64) -> Arc<Fragment> {
    Arc::new(Fragment { number: media.to_string().into(), producer_ms: Some(media), server_ms: None })
}

/// Returns the track of a file, by the parameter sets in it.
pub(crate) fn track(file: &Bytes, codec: Codec) -> VideoTrack {
    let name: &[u8; 4] = match codec {
        Codec::H264 => b"avcC",
        Codec::H265 => b"hvcC",
    };
    let at = file.windows(4).position(|window| window == name).expect("the box");
    let size = u32::from_be_bytes(file[at - 4..at].try_into().expect("4 bytes")) as usize;
    VideoTrack { codec, codec_private: file.slice(at + 4..at - 4 + size), width_px: 0, height_px: 0 }
}

/// Returns Y, U and V without padding.
pub(crate) fn planes(surface: &Surface) -> Vec<u8> {
    let view = surface.view().expect("a picture that can be read");
    let (width, height) = (view.width_px as usize, view.height_px as usize);
    let sizes =
        [(width, height), (width.div_ceil(2), height.div_ceil(2)), (width.div_ceil(2), height.div_ceil(2))];
    let mut bytes = Vec::new();
    for ((plane, stride), (columns, rows)) in view.planes.iter().zip(view.strides).zip(sizes) {
        (0..rows).for_each(|row| bytes.extend_from_slice(&plane[row * stride..][..columns]));
    }
    bytes
}
