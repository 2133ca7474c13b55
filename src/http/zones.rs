//! `/api/cameras/{id}/zones` and `/api/cameras/{id}/boxes`: the zone editor.
//!
//! Nothing here writes: a drawing that is posted is answered with its YAML, its mistakes and its difference from the running
//! configuration.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kvs_config::raw::{FilterName, MinBox, RoiSection, RoiUnits};
use serde::Serialize;

use super::reply::error_body;
use super::site::Site;
use crate::config::{CameraShapes, EntryFilters, ShapeDrawing};
use crate::status::{FrameBoxes, RecentBox};

/// A corner, in the units of the configuration.
type PointPair = [f64; 2];

/// The answer of `/api/cameras/{id}/zones`.
#[derive(Serialize)]
struct ZonesAnswer {
    camera: String,
    frame: Option<FrameSize>,
    /// `false`: the zones are in the file without being applied, or there are none.
    enabled: bool,
    /// The units of all points and, while the zones are enabled, of `min_box`.
    units: RoiUnits,
    filter: FilterName,
    min_overlap: Option<f64>,
    zones: Vec<ZoneRow>,
    masks: Vec<MaskRow>,
    entries: Vec<EntryRow>,
    place: PlaceRow,
    /// The keys `roi` and `masks` in canonical form, as they stand under the camera.
    yaml: String,
}

/// The size of the camera's frames, px.
#[derive(Clone, Copy, Serialize)]
struct FrameSize {
    width_px: u32,
    height_px: u32,
}

#[derive(Serialize)]
struct ZoneRow {
    /// The name in the file; `None`: events have the name of its place in the list.
    name: Option<String>,
    event_name: String,
    points: Vec<PointPair>,
    /// The same as fractions of the frame; `None` if the size of the frame is unknown.
    normalized: Option<Vec<PointPair>>,
}

#[derive(Serialize)]
struct MaskRow {
    points: Vec<PointPair>,
    normalized: Option<Vec<PointPair>>,
}

#[derive(Serialize)]
struct EntryRow {
    entry: String,
    #[serde(rename = "type")]
    kind: &'static str,
    enabled: bool,
    conf_threshold: f64,
    classes: Option<Vec<String>>,
    agnostic_nms: bool,
    min_box: Option<MinBox>,
}

#[derive(Serialize)]
struct PlaceRow {
    file: String,
    line: usize,
    indent: Option<usize>,
}

/// Answers with the zones, masks and filters of a camera in the running configuration.
pub(super) async fn zones(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Response {
    let Some(shapes) = site.shapes.of(&id) else { return not_configured(&id) };
    let frame = site.board.camera(&id).and_then(|camera| camera.picture()).map(|picture| {
        let (width_px, height_px) = picture.frame.surface.size_px();
        FrameSize { width_px, height_px }
    });
    Json(answer_of(shapes, frame)).into_response()
}

fn answer_of(shapes: CameraShapes, frame: Option<FrameSize>) -> ZonesAnswer {
    let yaml = shapes.yaml();
    let CameraShapes { id, roi, masks, entries, place } = shapes;
    let has_roi = roi.is_some();
    let RoiSection { enabled, units, polygons, filter, min_overlap } = roi.unwrap_or_default();
    let zones = polygons.into_iter().enumerate().map(|(i, polygon)| ZoneRow {
        event_name: polygon.name.clone().unwrap_or_else(|| format!("zone-{}", i + 1)),
        name: polygon.name,
        normalized: normalized(&polygon.points, units, frame),
        points: polygon.points,
    });
    let masks = masks
        .into_iter()
        .map(|mask| MaskRow { normalized: normalized(&mask.points, units, frame), points: mask.points });
    ZonesAnswer {
        camera: id.to_string(),
        frame,
        enabled: enabled && has_roi,
        units,
        filter,
        min_overlap,
        zones: zones.collect(),
        masks: masks.collect(),
        entries: entries.into_iter().map(entry_row).collect(),
        place: PlaceRow { file: place.file.to_string(), line: place.line, indent: place.indent },
        yaml,
    }
}

fn normalized(points: &[PointPair], units: RoiUnits, frame: Option<FrameSize>) -> Option<Vec<PointPair>> {
    let (width, height) = match (units, frame) {
        (RoiUnits::Normalized, _) => (1.0, 1.0),
        (RoiUnits::Pixels, Some(FrameSize { width_px, height_px })) => (width_px.into(), height_px.into()),
        (RoiUnits::Pixels, None) => return None,
    };
    let fraction =
        |&[x, y]: &PointPair| -> PointPair { [x / f64::max(width, 1.0), y / f64::max(height, 1.0)] };
    Some(points.iter().map(fraction).collect())
}

fn entry_row(filters: EntryFilters) -> EntryRow {
    let EntryFilters { name, kind, enabled, conf_threshold, classes, agnostic_nms, min_box } = filters;
    EntryRow { entry: name, kind: kind.as_str(), enabled, conf_threshold, classes, agnostic_nms, min_box }
}

/// Answers with the YAML of a drawing, its mistakes and warnings, and its difference from the running configuration.
pub(super) async fn check(State(site): State<Arc<Site>>, Path(id): Path<String>, body: Bytes) -> Response {
    let Some(shapes) = site.shapes.of(&id) else { return not_configured(&id) };
    match serde_json::from_slice::<ShapeDrawing>(&body) {
        Ok(drawing) => Json(shapes.report(&drawing)).into_response(),
        Err(why) => {
            let error = format!(
                "the body is no drawing: {why}; send {{\"roi\": ..., \"masks\": [...]}} with the keys of the configuration"
            );
            (StatusCode::BAD_REQUEST, error_body(error)).into_response()
        }
    }
}

/// The answer of `/api/cameras/{id}/boxes`.
#[derive(Serialize)]
struct BoxesAnswer {
    camera: String,
    /// The size of the frames that have the boxes; `None`: there is no box.
    frame: Option<FrameSize>,
    /// The boxes by time, oldest first.
    boxes: Vec<BoxRow>,
}

#[derive(Serialize)]
struct BoxRow {
    ts_ms: i64,
    #[serde(rename = "type")]
    kind: String,
    entry: Arc<str>,
    label: Arc<str>,
    conf: f32,
    /// Left, top, right and bottom edge, px of the frame.
    bbox: [f32; 4],
    /// `true` if the running rules let it through.
    kept: bool,
}

/// Answers with the boxes that the detectors found on a camera in the last minutes.
pub(super) async fn boxes(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Response {
    let Some(camera) = site.board.camera(&id) else {
        let error = format!("camera {id} does not run on this host; /api/cameras lists those that do");
        return (StatusCode::NOT_FOUND, error_body(error)).into_response();
    };
    let ((width_px, height_px), frames) = camera.recent_boxes();
    let frame = (!frames.is_empty()).then_some(FrameSize { width_px, height_px });
    let boxes = frames.iter().flat_map(box_rows).collect();
    Json(BoxesAnswer { camera: id, frame, boxes }).into_response()
}

fn box_rows(frame: &FrameBoxes) -> impl Iterator<Item = BoxRow> + '_ {
    let is_finite = |one: &&RecentBox| {
        let bbox = one.bbox;
        // JSON has no other numbers.
        [bbox.x1, bbox.y1, bbox.x2, bbox.y2, one.conf].iter().all(|number| number.is_finite())
    };
    frame.boxes.iter().filter(is_finite).map(|one| BoxRow {
        ts_ms: frame.media.0,
        kind: one.entry.split('#').next().unwrap_or_default().to_owned(),
        entry: Arc::clone(&one.entry),
        label: Arc::clone(&one.label),
        conf: one.conf,
        bbox: [one.bbox.x1, one.bbox.y1, one.bbox.x2, one.bbox.y2],
        kept: one.is_kept,
    })
}

fn not_configured(id: &str) -> Response {
    let error = format!("no camera {id} is enabled in the running configuration");
    (StatusCode::NOT_FOUND, error_body(error)).into_response()
}
