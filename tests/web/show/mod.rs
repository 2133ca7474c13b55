//! A board that shows synthetic cameras, and a server that shows the board.
//! Each test binary uses its part of it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kvs_infer::config::RunningShapes;
use kvs_infer::history::IncidentHistory;
use kvs_infer::http::{AccessToken, Encode, HttpServer, HttpSpec, ReadPool};
use kvs_infer::media::{
    BBox, CameraId, Color, Event, Fragment, Frame, HostPicture, Matrix, MediaMs, Surface,
};
use kvs_infer::render::Label;
use kvs_infer::status::StatusBoard;
use metrics_exporter_prometheus::PrometheusBuilder;
use test_support::sample_event;

/// Width and height of the synthetic frames, px.
pub(crate) const SIZE_PX: (u32, u32) = (640, 360);

/// A server on a free port of `host`.
pub(crate) fn serve(host: &str, token: Option<&str>, board: &StatusBoard, encode: Encode) -> HttpServer {
    serve_pool(host, token, board, encode, None)
}

/// A server of a worker that reads its pool by `pool`.
pub(crate) fn serve_pool(
    host: &str,
    token: Option<&str>,
    board: &StatusBoard,
    encode: Encode,
    pool: Option<ReadPool>,
) -> HttpServer {
    HttpServer::start(HttpSpec { encode, pool, ..spec(host, token, board) }).unwrap()
}

/// A server of a process with this history, on loopback.
pub(crate) fn serve_history(token: Option<&str>, history: Option<IncidentHistory>) -> HttpServer {
    HttpServer::start(HttpSpec { history, ..spec("127.0.0.1", token, &StatusBoard::new()) }).unwrap()
}

/// The inputs of a server on a free port of `host`, of a service without a pool, a history and cameras in its configuration.
pub(crate) fn spec(host: &str, token: Option<&str>, board: &StatusBoard) -> HttpSpec {
    HttpSpec {
        addr: format!("{host}:0").parse().unwrap(),
        token: AccessToken::from_variable(token).unwrap(),
        board: board.clone(),
        prometheus: PrometheusBuilder::new().build_recorder().handle(),
        encode: encode(),
        pool: None,
        history: None,
        shapes: RunningShapes::default(),
        clips: None,
        probes: None,
    }
}

/// The `n`th frame of a camera: shades that wander, and a bright box.
pub(crate) fn frame(camera: &CameraId, n: u32) -> Arc<Frame> {
    let (width, height) = (SIZE_PX.0 as usize, SIZE_PX.1 as usize);
    let bbox = bbox(n);
    let mut luma = vec![0; width * height];
    for (i, value) in luma.iter_mut().enumerate() {
        let (x, y) = (i % width, i / width);
        let inside = (bbox.x1..bbox.x2).contains(&(x as f32)) && (bbox.y1..bbox.y2).contains(&(y as f32));
        *value = if inside { 215 } else { (60 + (x + n as usize) % width / 8 + y / 6) as u8 };
    }
    let chroma = vec![128; width.div_ceil(2) * height.div_ceil(2)];
    let color = Color { matrix: Matrix::Bt601, full_range: true };
    let strides = [width, width.div_ceil(2), width.div_ceil(2)];
    let picture = HostPicture::from_planes(SIZE_PX, [luma, chroma.clone(), chroma], strides, color).unwrap();
    let fragment = Fragment { number: "9134".into(), producer_ms: Some(now_ms()), server_ms: None };
    Arc::new(Frame {
        camera: camera.clone(),
        fragment: Arc::new(fragment),
        index: n,
        media: MediaMs(now_ms()),
        arrived: Instant::now(),
        surface: Surface::Host(picture),
    })
}

/// Returns the box in the `n`th frame, px.
pub(crate) fn bbox(n: u32) -> BBox {
    let x1 = (n * 6 % (SIZE_PX.0 - 120)) as f32;
    BBox { x1, y1: 150.0, x2: x1 + 90.0, y2: 320.0 }
}

/// An event of `camera` with this id, of now.
pub(crate) fn event(camera: &CameraId, id: &str, label: &str) -> Event {
    let mut event: Event = sample_event(&camera.to_string(), id);
    event.payload.label = label.into();
    event.payload.ts_ms = now_ms();
    event
}

/// A JPEG of the luma; the labels' boxes are drawn as dark frames.
pub(crate) fn encode() -> Encode {
    Arc::new(|frame, labels, _width_px| {
        let view = frame.surface.view()?;
        let (width, height) = (view.width_px as usize, view.height_px as usize);
        let mut pixels = view.planes[0].to_vec();
        labels.iter().for_each(|label| outline(&mut pixels, width, label));
        let image = turbojpeg::Image {
            pixels: &pixels[..],
            width,
            pitch: width,
            height,
            format: turbojpeg::PixelFormat::GRAY,
        };
        let jpeg = turbojpeg::compress(image, 80, turbojpeg::Subsamp::Gray)?;
        Ok(Bytes::copy_from_slice(&jpeg))
    })
}

fn outline(pixels: &mut [u8], width: usize, label: &Label) {
    let (x1, x2) = (label.bbox.x1 as usize, label.bbox.x2 as usize);
    for x in x1..x2 {
        pixels[label.bbox.y1 as usize * width + x] = 0;
        pixels[label.bbox.y2 as usize * width + x] = 0;
    }
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap()
}
