//! Moving boxes of a colour on black, painted pixel by pixel.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Width and height of the picture, px.
pub(crate) const SIDE: usize = 128;
/// Frames per second.
pub(crate) const RATE: usize = 10;

/// A box of one colour: the frames in which it is there, and its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PaintedBox {
    /// Red, green, blue, 0..=255.
    pub(crate) colour: [u8; 3],
    /// Returns whether it is in a frame.
    pub(crate) is_there: fn(usize) -> bool,
    /// Its left and top edge in a frame, px.
    pub(crate) place: fn(usize) -> (usize, usize),
    /// Width and height, px.
    pub(crate) size: (usize, usize),
}

pub(crate) const RED: [u8; 3] = [255, 0, 0];
pub(crate) const GREEN: [u8; 3] = [0, 255, 0];
pub(crate) const BLUE: [u8; 3] = [0, 0, 255];

impl PaintedBox {
    fn paint(&self, frame: usize, picture: &mut [u8]) {
        let ((left, top), (width, height)) = ((self.place)(frame), self.size);
        for y in top..(top + height).min(SIDE) {
            for x in left..(left + width).min(SIDE) {
                picture[(y * SIDE + x) * 3..][..3].copy_from_slice(&self.colour);
            }
        }
    }
}

/// Writes a clip of so many frames, with a key frame each second.
pub(crate) fn paint(clip: &Path, frames: usize, boxes: &[PaintedBox]) {
    let input = format!("-v error -y -f rawvideo -pix_fmt rgb24 -s {SIDE}x{SIDE} -r {RATE} -i -");
    let coded = "-pix_fmt yuv420p -c:v libx264 -crf 8 -g 10 -keyint_min 10 -sc_threshold 0 -bf 0";
    let mut ffmpeg = Command::new("ffmpeg")
        .args(input.split(' '))
        .args(coded.split(' '))
        .arg(clip)
        .stdin(Stdio::piped())
        .spawn()
        .expect("ffmpeg is needed: run scripts/setup test");
    let mut pipe = ffmpeg.stdin.take().unwrap();
    for frame in 0..frames {
        let mut picture = vec![0; SIDE * SIDE * 3];
        boxes
            .iter()
            .filter(|painted| (painted.is_there)(frame))
            .for_each(|painted| painted.paint(frame, &mut picture));
        pipe.write_all(&picture).unwrap();
    }
    drop(pipe);
    assert!(ffmpeg.wait().unwrap().success());
}
