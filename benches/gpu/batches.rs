//! A detector by the size of its batches.
//!
//! Frames of 1080p noise are asked for together, so that each batch has its size. The last columns are the parts of an inference: painting,
//! the model, and its boxes. The last line is the line through the times, for the simulation in src/detect/batch_sizes.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use kvs_infer::detect::{Detector, DeviceChoice, ModelSpec, Thresholds};
use kvs_infer::media::{CameraId, Color, Fragment, Frame, HostPicture, Matrix, MediaMs, Surface};

const SIZES: [usize; 5] = [1, 2, 4, 8, 16];
const ROUNDS: usize = 200;
const WARM_UP: usize = 20;
const FRAME_PX: (u32, u32) = (1920, 1080);
const THRESHOLDS: Thresholds = Thresholds { conf: 0.4, nms_iou: 0.45 };

/// Prints the times of a model on a device.
///
/// # Errors
/// The model cannot be loaded there.
pub(crate) fn measure(path: PathBuf, device: &str) -> Result<(), String> {
    let device = device.parse::<DeviceChoice>().map_err(|error| format!("{device}: {error}"))?.first();
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let spec = ModelSpec { name, path, ..ModelSpec::default() };
    // As many frames as a batch of a GPU has, also on the CPU, where the benchmark is tried.
    let detector = Detector::start_batched(&spec, device, 1, |_, _| 16).map_err(|error| causes(&error))?;
    let info = detector.info();
    println!("{}: {}, {}, {}", info.id.name, info.input, info.device, info.engine);
    println!("batch   p50 ms   p95 ms   frames/s   paint ms   model ms   boxes ms");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let points: Vec<(f64, f64)> =
        SIZES.map(|size| (size as f64, runtime.block_on(row(&detector, size)))).into();
    let (batch_ms, frame_ms) = line(&points);
    println!("curve: {batch_ms:.3} ms + {frame_ms:.3} ms per frame");
    Ok(())
}

/// Prints the row of a size, and returns the median time of a batch, ms.
async fn row(detector: &Detector, size: usize) -> f64 {
    let frames: Vec<_> = (0..size).map(frame).collect();
    let mut times_ms = Vec::new();
    let mut before = detector.steps();
    for round in 0..WARM_UP + ROUNDS {
        if round == WARM_UP {
            (times_ms, before) = (Vec::new(), detector.steps());
        }
        let began = Instant::now();
        let asked = frames.iter().map(|frame| detector.detect(Arc::clone(frame), THRESHOLDS));
        join_all(asked).await.into_iter().for_each(|found| drop(found.unwrap()));
        times_ms.push(ms(began.elapsed()));
    }
    let after = detector.steps();
    let part = |after: Duration, before: Duration| ms(after - before) / ROUNDS as f64;
    times_ms.sort_by(f64::total_cmp);
    let (p50, p95) = (times_ms[ROUNDS / 2], times_ms[ROUNDS * 95 / 100]);
    println!(
        "{size:5} {p50:8.2} {p95:8.2} {:10.0} {:10.2} {:10.2} {:10.2}",
        size as f64 * 1e3 / p50,
        part(after.preprocess.wall, before.preprocess.wall),
        part(after.inference.wall, before.inference.wall),
        part(after.postprocess.wall, before.postprocess.wall),
    );
    p50
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Returns the line through the points by least squares: its value at 0, and its slope.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>()
        / points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>();
    (y - slope * x, slope)
}

/// Returns a picture of noise, of a camera of its own.
fn frame(index: usize) -> Arc<Frame> {
    let (width, height) = (FRAME_PX.0 as usize, FRAME_PX.1 as usize);
    let plane =
        |bytes: usize| (0..bytes).map(|i| ((i * 7919 + index * 104_729) >> 3) as u8).collect::<Vec<u8>>();
    let planes = [plane(width * height), plane(width * height / 4), plane(width * height / 4)];
    let color = Color { matrix: Matrix::Bt709, full_range: false };
    let picture = HostPicture::from_planes(FRAME_PX, planes, [width, width / 2, width / 2], color).unwrap();
    Arc::new(Frame {
        camera: CameraId::new(&format!("camera-{index}")),
        fragment: Arc::new(Fragment { number: Arc::from("1"), producer_ms: None, server_ms: None }),
        index: 0,
        media: MediaMs(0),
        arrived: Instant::now(),
        surface: Surface::Host(picture),
    })
}

/// Returns the text of an error and of its causes.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
