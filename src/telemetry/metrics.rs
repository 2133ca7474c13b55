//! The Prometheus recorder, and the table of all metrics.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::{
    Metric, MetricKind, camera, clips, decide, decode, detect, gpu, gpu_faults, http, publish, remote,
    service, sharing, source,
};

/// Upper bounds of the buckets of all durations, seconds: an inference takes milliseconds, a reconnect minutes.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Upper bounds of the buckets of all counts of frames: a batch has at most 32.
const FRAMES: [f64; 6] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];

/// The tables of all files of this folder, in the order of the pipeline.
const TABLES: &[&[Metric]] = &[
    source::METRICS,
    decode::METRICS,
    detect::METRICS,
    decide::METRICS,
    camera::METRICS,
    publish::METRICS,
    clips::METRICS,
    remote::METRICS,
    service::METRICS,
    sharing::METRICS,
    http::METRICS,
    gpu::METRICS,
    gpu_faults::METRICS,
];

/// Returns every metric of the program.
#[must_use]
pub fn all_metrics() -> Vec<Metric> {
    TABLES.concat()
}

/// Installs the process's metrics recorder and returns the handle that renders `/metrics`.
///
/// The HTTP server runs the recorder's upkeep. The buckets of a histogram follow from the end of its name: `_seconds`, `_frames`.
///
/// # Errors
/// A recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = builder()?.install_recorder()?;
    describe_all();
    Ok(handle)
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        // Without buckets the exporter renders summaries, which cannot be aggregated over instances.
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_frames".to_owned()), &FRAMES)
}

fn describe_all() {
    for metric in all_metrics() {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Helpers for the tests of events: the metrics as they are rendered.

    /// Runs `emit` and returns the text that `/metrics` would serve.
    pub(crate) fn rendered(emit: impl FnOnce()) -> String {
        let recorder = super::builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            super::describe_all();
            emit();
        });
        handle.render()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    /// A metric as the sources of this folder use it: kind, name, labels.
    type Use = (MetricKind, String, Vec<String>);

    fn uses_in(source: &str, shared: &str) -> Vec<Use> {
        let macros = [
            ("counter!(", MetricKind::Counter),
            ("gauge!(", MetricKind::Gauge),
            ("histogram!(", MetricKind::Histogram),
        ];
        let uses = macros.into_iter().flat_map(|(call, kind)| {
            let calls = source.split(call).skip(1).map(|rest| rest.split(';').next().unwrap());
            calls.map(move |call| (kind, name_in(call, source, shared).to_owned(), labels_in(call)))
        });
        uses.collect()
    }

    /// Returns the metric name that a call gives by a constant of its file, or one of `shared`.
    fn name_in<'a>(call: &str, source: &'a str, shared: &'a str) -> &'a str {
        let first = call.split([',', ')']).next().unwrap().trim();
        let constant = format!("const {first}: &str = \"");
        let written = [source, shared].into_iter().find_map(|source| source.split_once(&constant));
        let (_, after) = written.unwrap_or_else(|| panic!("{first} is not a constant: name the metric once"));
        after.split('"').next().unwrap()
    }

    fn labels_in(call: &str) -> Vec<String> {
        let mut before: Vec<_> = call.split("=>").collect();
        before.pop();
        before.iter().filter_map(|text| text.rsplit('"').nth(1)).map(str::to_owned).collect()
    }

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
            .filter(|path| path.extension().is_some_and(|e| e == "rs"))
            .collect()
    }

    #[test]
    fn the_metrics_that_are_emitted_are_those_of_the_tables_with_their_kinds_and_labels() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry");
        let labels = |metric: &Metric| metric.labels.iter().map(|label| (*label).to_owned()).collect();
        let table: Vec<Use> = all_metrics().iter().map(|m| (m.kind, m.name.to_owned(), labels(m))).collect();
        let mut seen = BTreeSet::new();
        let sources: Vec<_> =
            sources(&folder).into_iter().filter(|path| !path.ends_with("metrics.rs")).collect();
        let text = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
        let shared = sources.iter().map(text).collect::<String>();
        let shared = shared.lines().filter(|line| line.starts_with("pub(super) const ")).collect::<String>();
        for path in &sources {
            for used in uses_in(&text(path), &shared) {
                assert!(table.contains(&used), "{}: {used:?} is not in its METRICS table", path.display());
                seen.insert(used.1);
            }
        }
        let listed: BTreeSet<_> = table.into_iter().map(|(_, name, _)| name).collect();
        assert_eq!(seen, listed, "every metric of the tables is emitted");
    }

    /// Returns whether a log event may have this `stage`: the name of a folder of `src`, or `publish`, which is in two.
    fn is_stage(stage: &str) -> bool {
        let folder = if stage == "publish" { "delivery" } else { stage };
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder).is_dir() || stage == "service"
    }

    #[test]
    fn every_log_event_starts_with_its_stage() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry");
        let mut events = 0;
        for path in sources(&folder).iter().filter(|path| !path.ends_with("log.rs")) {
            let source = std::fs::read_to_string(path).unwrap();
            let stage_of_file = source.split_once("const STAGE: &str = \"").map(|(_, after)| after);
            let own = source.split("#[cfg(test)]").next().unwrap();
            for call in ["error!(", "warn!(", "info!(", "debug!(", "trace!("] {
                for fields in own.split(call).skip(1) {
                    let first = fields.trim_start().strip_prefix("stage = ");
                    let stage = first.and_then(|first| match first.strip_prefix("STAGE") {
                        Some(_) => stage_of_file?.split('"').next(),
                        None => first.strip_prefix('"')?.split('"').next(),
                    });
                    let line = fields.lines().next().unwrap_or_default();
                    assert!(
                        stage.is_some_and(is_stage),
                        "{}: {call}{line}: its first field is its stage",
                        path.display()
                    );
                    events += 1;
                }
            }
        }
        assert!(events > 40, "{events} log events");
    }

    #[test]
    fn names_follow_the_convention_and_are_unique() {
        let mut names = BTreeSet::new();
        for metric in all_metrics() {
            let name = metric.name;
            assert!(name.starts_with("kvs_infer_"), "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), metric.kind == MetricKind::Counter, "{name}");
            assert!(
                !name.ends_with("_ms") && !name.ends_with("_millis"),
                "{name}: seconds are the base unit"
            );
            assert!(metric.help.ends_with('.'), "{name}: its help is a sentence");
            assert!(names.insert(name), "{name} is in two tables");
        }
    }

    #[test]
    fn every_histogram_has_buckets() {
        for metric in all_metrics().iter().filter(|metric| metric.kind == MetricKind::Histogram) {
            let text = testing::rendered(|| metrics::histogram!(metric.name).record(3.0));
            assert!(text.contains("_bucket{le=") && !text.contains("quantile="), "{}:\n{text}", metric.name);
        }
    }

    #[test]
    fn durations_are_histograms_with_buckets() {
        let text = testing::rendered(|| metrics::histogram!("some_wait_seconds").record(0.07));
        assert!(text.contains(r#"some_wait_seconds_bucket{le="0.1"} 1"#), "{text}");
        assert!(text.contains(r#"some_wait_seconds_bucket{le="0.05"} 0"#), "{text}");
    }
}
