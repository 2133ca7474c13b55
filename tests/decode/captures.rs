//! decode on real GetMedia output, whose avcC has its reserved bits cleared.
//!
//! The captures are no part of the project: where they are absent the test says so and passes.

use std::path::{Path, PathBuf};
use std::time::Instant;

use kvs_infer::decode::{Decoder, Sampler};
use kvs_infer::demux::{DemuxEvent, Demuxer};
use kvs_infer::media::{CameraId, FragmentEnd, Position, SamplerState};
use kvs_infer::status::CameraStatus;

use super::clip::{planes, twin};
use super::frames_of;

fn capture(name: &str) -> Option<PathBuf> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let found = above.map(|folder| folder.join("shared/captures").join(name)).find(|file| file.is_file());
    if found.is_none() {
        println!("skipped: no shared/captures/{name} above the project");
    }
    found
}

/// Returns the frames by fragment.
fn decode(file: &Path) -> Vec<Vec<Vec<u8>>> {
    let mut demuxer = Demuxer::default();
    demuxer.push(&std::fs::read(file).expect("the capture"));
    let mut decoder = Decoder::new(
        CameraStatus::alone(&CameraId::new("capture")),
        Sampler::new(None, SamplerState::default()),
    );
    let (mut fragments, mut decoded) = (Vec::new(), Vec::new());
    while let Some(event) = demuxer.next(Instant::now()).expect("GetMedia output") {
        match event {
            DemuxEvent::Packet(packet) => decoder.push(packet, &mut decoded).expect("a sound packet"),
            DemuxEvent::End { fragment, behind_ms } => {
                let position = Position::after(&fragment);
                let end = FragmentEnd { fragment, position, behind_ms, caught_up: false };
                decoder.end_fragment(end, &mut decoded).expect("a sound fragment");
                let frames = frames_of(std::mem::take(&mut decoded));
                fragments.push(frames.iter().map(|frame| planes(&frame.surface)).collect());
            }
            _ => {}
        }
    }
    fragments
}

#[test]
fn an_avcc_with_cleared_reserved_bits_decodes_as_the_twin_does() {
    let Some(file) = capture("output_get_media.mkv") else { return };
    let fragments = decode(&file);
    assert_eq!(fragments.iter().map(Vec::len).collect::<Vec<_>>(), [60; 5]);
    let twin = twin(&file, "yuv420p");
    assert!(twin.len() >= 60, "{} frames by the ffmpeg command", twin.len());
    assert!(fragments.iter().flatten().zip(&twin).all(|(ours, twin)| ours == twin));
}

#[test]
fn timecodes_that_go_back_do_no_harm() {
    let Some(file) = capture("output-get-media-non-increasing-timecode.mkv") else { return };
    assert_eq!(decode(&file).iter().map(Vec::len).collect::<Vec<_>>(), [30; 11]);
}
