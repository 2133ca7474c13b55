//! The frames of a clip of the cache.

use std::sync::Arc;
use std::time::Instant;

use ffmpeg_next::{codec, format, frame, media};
use kvs_infer::media::{CameraId, Color, Fragment, Frame, HostPicture, Matrix, MediaMs, Surface};
use test_support::setup::cached;

/// Returns each `step`th frame of a clip, such as `street`.
pub(super) fn frames(clip: &str, step: usize) -> Vec<Arc<Frame>> {
    let mut input = format::input(&cached(&format!("clips/{clip}.mp4"))).unwrap();
    let stream = input.streams().best(media::Type::Video).unwrap();
    let (index, parameters) = (stream.index(), stream.parameters());
    let mut decoder =
        codec::context::Context::from_parameters(parameters).unwrap().decoder().video().unwrap();
    let mut pictures = Vec::new();
    let mut receive = |decoder: &mut ffmpeg_next::decoder::Video| {
        let mut picture = frame::Video::empty();
        while decoder.receive_frame(&mut picture).is_ok() {
            pictures.push(std::mem::replace(&mut picture, frame::Video::empty()));
        }
    };
    for (_, packet) in input.packets().filter(|(stream, _)| stream.index() == index) {
        decoder.send_packet(&packet).unwrap();
        receive(&mut decoder);
    }
    decoder.send_eof().unwrap();
    receive(&mut decoder);
    pictures
        .into_iter()
        .step_by(step)
        .enumerate()
        .map(|(index, picture)| frame_of(clip, index, picture))
        .collect()
}

fn frame_of(clip: &str, index: usize, picture: frame::Video) -> Arc<Frame> {
    let color = Color { matrix: Matrix::Bt601, full_range: false };
    Arc::new(Frame {
        camera: CameraId::new(clip),
        fragment: Arc::new(Fragment { number: Arc::from("1"), producer_ms: None, server_ms: None }),
        index: u32::try_from(index).unwrap(),
        media: MediaMs(0),
        arrived: Instant::now(),
        surface: Surface::Host(HostPicture::from_ffmpeg(picture, color).unwrap()),
    })
}
