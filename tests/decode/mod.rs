//! decode against the `ffmpeg` command's own frames of the same clips.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by them, or says that it is skipped"
)]

mod captures;
pub(crate) mod clip;
mod damage;
mod frames;
pub(crate) mod idle;
mod open_gop;
mod skipped;
mod worker;

use std::sync::Arc;

use kvs_infer::decode::{DecodeError, Decoder, Sampler};
use kvs_infer::media::{CameraId, Decoded, FragmentEnd, Frame, Packet, Position, SamplerState};
use kvs_infer::status::CameraStatus;

pub(crate) fn decoder() -> Decoder {
    sampling(None)
}

fn watched(camera: CameraStatus) -> Decoder {
    Decoder::new(camera, Sampler::new(None, SamplerState::default()))
}

fn sampling(fps: Option<f64>) -> Decoder {
    Decoder::new(CameraStatus::alone(&CameraId::new("gate")), Sampler::new(fps, SamplerState::default()))
}

/// Returns the end of a fragment to which no later one refers.
pub(crate) fn end_of(fragment: &[Packet]) -> FragmentEnd {
    let fragment = Arc::clone(&fragment[0].fragment);
    let position = Position::after(&fragment);
    FragmentEnd { fragment, position, behind_ms: Some(0), caught_up: true }
}

pub(crate) fn frames_of(decoded: Vec<Decoded>) -> Vec<Arc<Frame>> {
    let frame = |item| match item {
        Decoded::Frame(frame) => Some(frame),
        Decoded::FragmentEnd { .. } | Decoded::IdleQuery(_) | Decoded::Discontinuity => None,
    };
    decoded.into_iter().filter_map(frame).collect()
}

/// Decodes `fragment` and its end; returns the frames and the errors.
pub(crate) fn decode(decoder: &mut Decoder, fragment: Vec<Packet>) -> (Vec<Arc<Frame>>, Vec<DecodeError>) {
    let (mut decoded, mut errors) = (Vec::new(), Vec::new());
    let end = end_of(&fragment);
    for packet in fragment {
        errors.extend(decoder.push(packet, &mut decoded).err());
    }
    errors.extend(decoder.end_fragment(end, &mut decoded).err());
    (frames_of(decoded), errors)
}
