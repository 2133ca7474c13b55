//! The report of a replay: one HTML file with its pictures, which opens without a network.
//!
//! It has no time of day of the run and no path of this machine but the name of the source that it is compared with, so the same footage
//! and configuration give the same bytes.

mod base64;
mod pictures;
mod totals;

use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use super::comparison::{ComparedIncident, Comparison, IncidentChange};
use super::coverage::FootageCoverage;
use super::earlier::SnapshotStore;
use super::span::ReplaySpan;
use crate::base::private_file;
use crate::media::ModelId;
use pictures::{IncidentPictures, PictureAlbum};
use totals::{TotalsRow, totals_of};

/// The page, with marks in place of style, script and data.
const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Maximum number of incidents in the report; those that are the same are left out first.
const MAX_LISTED: usize = 20_000;

/// The content of a report.
pub(super) struct ReportInput {
    pub(super) span: ReplaySpan,
    /// The cameras in the order of the configuration.
    pub(super) cameras: Vec<ReportCamera>,
    pub(super) models: Vec<ModelId>,
    /// SHA-256 of the configuration file, hex.
    pub(super) config_sha256: String,
    /// The name of the earlier run; `None`: there is none.
    pub(super) compared_with: Option<String>,
    pub(super) comparison: Comparison,
    /// `false` where the configuration switches snapshots off.
    pub(super) has_snapshots: bool,
    /// The pictures of the replay.
    pub(super) snapshots: SnapshotStore,
    /// The pictures of the earlier run.
    pub(super) before_snapshots: SnapshotStore,
}

/// A camera in the report.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ReportCamera {
    pub(super) id: String,
    pub(super) stream: String,
    pub(super) coverage: FootageCoverage,
}

/// The figures of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReportFigures {
    /// `true` where there is an earlier run.
    pub is_compared: bool,
    /// Number of incidents with differences.
    pub changed: u64,
    /// Number of incidents that only the replay has; without an earlier run, all.
    pub new: u64,
    /// Number of incidents that only the earlier run has.
    pub gone: u64,
    /// Number of incidents without a difference.
    pub same: u64,
    /// Number of earlier incidents of the span whose footage was not replayed.
    pub not_replayed: u64,
    /// Number of incidents that are counted and not listed.
    pub unlisted: u64,
    /// Number of pictures that are left out, so that the report does not become too large.
    pub pictures_left_out: u64,
}

/// The data of the page.
#[derive(Serialize)]
struct ReportData<'a> {
    program: &'static str,
    from_ms: i64,
    to_ms: i64,
    config_sha256: &'a str,
    models: &'a [ModelId],
    compared_with: Option<&'a str>,
    has_snapshots: bool,
    cameras: Vec<CameraData<'a>>,
    figures: &'a ReportFigures,
    totals: Vec<TotalsRow>,
    incidents: Vec<IncidentData<'a>>,
    /// JPEG files as Base64.
    pictures: &'a [String],
}

#[derive(Serialize)]
struct CameraData<'a> {
    #[serde(flatten)]
    camera: &'a ReportCamera,
    done_ms: i64,
    is_complete: bool,
}

#[derive(Serialize)]
struct IncidentData<'a> {
    #[serde(flatten)]
    compared: &'a ComparedIncident,
    #[serde(flatten)]
    pictures: IncidentPictures,
}

/// Writes the report and returns its figures.
///
/// # Errors
/// The file cannot be written.
pub(super) async fn write_report(mut input: ReportInput, path: &Path) -> io::Result<ReportFigures> {
    let figures = figures_of(&input);
    let shown = listed(&input.comparison.incidents);
    let mut album = PictureAlbum::default();
    let pictures = album.of_incidents(&shown, &mut input.snapshots, &mut input.before_snapshots).await;
    let unlisted = (input.comparison.incidents.len() - shown.len()) as u64;
    let figures = ReportFigures { unlisted, pictures_left_out: album.left_out(), ..figures };
    let cameras = input.cameras.iter().map(|camera| CameraData {
        camera,
        done_ms: camera.coverage.done_ms(input.span),
        is_complete: camera.coverage.is_complete(),
    });
    let incidents =
        shown.iter().zip(pictures).map(|(compared, pictures)| IncidentData { compared, pictures });
    let data = ReportData {
        program: concat!("kvs-infer ", env!("CARGO_PKG_VERSION")),
        from_ms: input.span.from_ms,
        to_ms: input.span.to_ms,
        config_sha256: &input.config_sha256,
        models: &input.models,
        compared_with: input.compared_with.as_deref(),
        has_snapshots: input.has_snapshots,
        cameras: cameras.collect(),
        figures: &figures,
        totals: totals_of(&input.comparison.incidents),
        incidents: incidents.collect(),
        pictures: album.pictures(),
    };
    write_page(&data, path)?;
    Ok(figures)
}

fn figures_of(input: &ReportInput) -> ReportFigures {
    let count = |change: IncidentChange| {
        input.comparison.incidents.iter().filter(|incident| incident.change == change).count() as u64
    };
    ReportFigures {
        is_compared: input.compared_with.is_some(),
        changed: count(IncidentChange::Changed),
        new: count(IncidentChange::New),
        gone: count(IncidentChange::Gone),
        same: count(IncidentChange::Same),
        not_replayed: input.comparison.not_replayed,
        unlisted: 0,
        pictures_left_out: 0,
    }
}

/// Returns the incidents of the list, by time: all differences before what is the same, if there are too many.
fn listed(incidents: &[ComparedIncident]) -> Vec<&ComparedIncident> {
    let mut order: Vec<usize> = (0..incidents.len()).collect();
    order.sort_by_key(|index| (incidents[*index].change, *index));
    order.truncate(MAX_LISTED);
    order.sort_unstable();
    order.into_iter().map(|index| &incidents[index]).collect()
}

fn write_page(data: &ReportData<'_>, path: &Path) -> io::Result<()> {
    let mut out = BufWriter::new(private_file().create_new(true).write(true).open(path)?);
    let mut rest = PAGE;
    for (mark, content) in [
        ("/*STYLE*/", STYLE.to_owned()),
        ("/*DATA*/", embedded_json(data)?),
        ("/*SCRIPT*/", SCRIPT.to_owned()),
    ] {
        let (before, after) = rest.split_once(mark).unwrap_or((rest, ""));
        out.write_all(before.as_bytes())?;
        out.write_all(content.as_bytes())?;
        rest = after;
    }
    out.write_all(rest.as_bytes())?;
    out.flush()
}

/// Returns JSON that can stand in a `script` element: no text in it ends the element or begins a comment.
fn embedded_json(data: &ReportData<'_>) -> io::Result<String> {
    let json = serde_json::to_string(data)?;
    Ok(json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"))
}

#[cfg(test)]
mod tests;
