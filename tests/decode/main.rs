//! decode against the `ffmpeg` command's own frames of the same clips.

mod captures;
mod clip;
mod damage;
mod frames;
mod worker;

use std::sync::Arc;

use kvs_infer::decode::{DecodeError, Decoder, Sampler, SamplerState};
use kvs_infer::frame::{CameraId, Frame, Packet};
use kvs_infer::telemetry::CameraBoard;

fn decoder() -> Decoder {
    sampling(None)
}

fn sampling(fps: Option<f64>) -> Decoder {
    Decoder::new(CameraBoard::alone(&CameraId::new("gate")), Sampler::new(fps, SamplerState::default()))
}

/// What `fragment` gives, with its end.
fn decode(decoder: &mut Decoder, fragment: Vec<Packet>) -> (Vec<Arc<Frame>>, Vec<DecodeError>) {
    let (mut frames, mut errors) = (Vec::new(), Vec::new());
    for packet in fragment {
        errors.extend(decoder.push(packet, &mut frames).err());
    }
    errors.extend(decoder.end_fragment(&mut frames).err());
    (frames, errors)
}
