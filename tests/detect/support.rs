//! Shared by the tests of detect: models from the cache, and painted frames.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use kvs_infer::detect::{ModelSpec, Thresholds};
use kvs_infer::media::{BBox, CameraId, Color, Fragment, Frame, HostPicture, Matrix, MediaMs, Surface};
use test_support::setup::cached;

/// Confidence and NMS as a configuration would say.
pub(super) const USUAL: Thresholds = Thresholds { conf: 0.4, nms_iou: 0.45 };

/// The frame of a clip of the cache at `second`, decoded by the ffmpeg command.
pub(super) fn frame_of(clip: &str, second: &str, size: (u32, u32), matrix: Matrix) -> HostPicture {
    decoded(&cached(clip), second, size, matrix)
}

/// The frame of a file at `second`, decoded by the ffmpeg command.
pub(super) fn decoded(file: &Path, second: &str, size: (u32, u32), matrix: Matrix) -> HostPicture {
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-ss", second, "-i"])
        .arg(file)
        .args(["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"])
        .output()
        .expect("the ffmpeg command: run `scripts/setup test`");
    let (w, h) = (size.0 as usize, size.1 as usize);
    assert_eq!(made.stdout.len(), w * h * 3 / 2, "{}", String::from_utf8_lossy(&made.stderr));
    let (luma, chroma) = made.stdout.split_at(w * h);
    let (u, v) = chroma.split_at(w * h / 4);
    let color = Color { matrix, full_range: false };
    HostPicture::from_planes(size, [luma.to_vec(), u.to_vec(), v.to_vec()], [w, w / 2, w / 2], color).unwrap()
}

/// A tiny model of the cache by its file name without extension.
pub(super) fn tiny(name: &str) -> ModelSpec {
    spec(cached(&format!("models/tiny/{name}.onnx")))
}

/// A tiny recognition model of the cache by its file name without extension.
pub(super) fn tiny_text(name: &str) -> ModelSpec {
    spec(cached(&format!("models/tiny-text/{name}.onnx")))
}

/// A model as a configuration without further keys names it.
pub(super) fn spec(path: PathBuf) -> ModelSpec {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    ModelSpec { name, path, ..ModelSpec::default() }
}

/// Full-range BT.601 of pure colours.
#[derive(Clone, Copy)]
pub(super) enum Paint {
    Red,
    Green,
    Blue,
    Yellow,
    Magenta,
    Cyan,
    White,
    Black,
}

impl Paint {
    fn yuv(self) -> [u8; 3] {
        match self {
            Self::Red => [76, 85, 255],
            Self::Green => [150, 44, 21],
            Self::Blue => [29, 255, 107],
            Self::Yellow => [226, 1, 149],
            Self::Magenta => [105, 212, 235],
            Self::Cyan => [179, 171, 1],
            Self::White => [255, 128, 128],
            Self::Black => [0, 128, 128],
        }
    }
}

/// A black frame of camera `camera` with filled rectangles `(colour, [x1, y1, x2, y2])`; even corners are exact.
pub(super) fn frame(camera: &str, (width, height): (u32, u32), painted: &[(Paint, [u32; 4])]) -> Arc<Frame> {
    let (w, h) = (width as usize, height as usize);
    let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
    let mut planes = [vec![0; w * h], vec![128; cw * ch], vec![128; cw * ch]];
    for (paint, [x1, y1, x2, y2]) in painted {
        for (i, plane) in planes.iter_mut().enumerate() {
            let (stride, by) = if i == 0 { (w, 1) } else { (cw, 2) };
            for y in y1 / by..y2 / by {
                let row = &mut plane[y as usize * stride..][..stride];
                row[(x1 / by) as usize..(x2 / by) as usize].fill(paint.yuv()[i]);
            }
        }
    }
    let color = Color { matrix: Matrix::Bt601, full_range: true };
    picture(camera, HostPicture::from_planes((width, height), planes, [w, cw, cw], color).unwrap())
}

/// A frame with this picture.
pub(super) fn picture(camera: &str, picture: HostPicture) -> Arc<Frame> {
    Arc::new(Frame {
        camera: CameraId::new(camera),
        fragment: Arc::new(Fragment { number: Arc::from("1"), producer_ms: Some(1), server_ms: None }),
        index: 7,
        media: MediaMs(1),
        arrived: Instant::now(),
        surface: Surface::Host(picture),
    })
}

/// Returns whether each edge is within `px` of `want`.
pub(super) fn near(have: &BBox, want: [f32; 4], px: f32) -> bool {
    [have.x1, have.y1, have.x2, have.y2].iter().zip(want).all(|(have, want)| (have - want).abs() <= px)
}
