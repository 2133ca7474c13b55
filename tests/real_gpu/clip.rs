//! The packets of the clips of the cache, and the frames that FFmpeg decodes of them on the CPU.
//!
//! All by FFmpeg's libraries: the machine with the GPU may have neither `ffmpeg` nor `ffprobe`.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ffmpeg_next::{codec, format, frame, media};
use kvs_infer::media::{
    ArrivalLag, CameraId, Codec, Color, Fragment, Frame, HostPicture, Matrix, MediaMs, Packet, Surface,
};
use test_support::setup::cached;

use crate::decode::clip::{START_MS, track};

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

/// Returns the access units of a clip by fragment, in decoding order; a fragment begins at each keyframe.
pub(super) fn fragments(clip: &str) -> Vec<Vec<Packet>> {
    let path = cached(&format!("clips/{clip}.mp4"));
    let mut fragments: Vec<Vec<Packet>> = Vec::new();
    for packet in packets(&path) {
        if packet.key {
            fragments.push(Vec::new());
        }
        fragments.last_mut().unwrap().push(packet);
    }
    fragments
}

fn packets(path: &Path) -> Vec<Packet> {
    let mut input = format::input(path).unwrap();
    let stream = input.streams().best(media::Type::Video).unwrap();
    let (video, codec) = (stream.index(), codec_of(stream.parameters().id()));
    let seconds = f64::from(stream.time_base());
    let track = Arc::new(track(&Bytes::from(std::fs::read(path).unwrap()), codec));
    let (mut fragment, mut index) = (fragment_at(START_MS), 0);
    let mut packets = Vec::new();
    for (_, unit) in input.packets().filter(|(stream, _)| stream.index() == video) {
        let media = START_MS + (unit.pts().unwrap() as f64 * seconds * 1e3).round() as i64;
        if unit.is_key() {
            (fragment, index) = (fragment_at(media), 0);
        }
        packets.push(Packet {
            fragment: Arc::clone(&fragment),
            track: Arc::clone(&track),
            index,
            media: MediaMs(media),
            key: unit.is_key(),
            unit: Bytes::copy_from_slice(unit.data().unwrap()),
            arrived: Instant::now(),
            lag: ArrivalLag::default(),
        });
        index += 1;
    }
    packets
}

fn codec_of(id: codec::Id) -> Codec {
    match id {
        codec::Id::H264 => Codec::H264,
        codec::Id::HEVC => Codec::H265,
        other => panic!("a clip of {other:?}"),
    }
}

fn fragment_at(media: i64) -> Arc<Fragment> {
    Arc::new(Fragment { number: media.to_string().into(), producer_ms: Some(media), server_ms: None })
}
