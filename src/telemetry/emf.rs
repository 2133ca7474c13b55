//! Metrics for CloudWatch, as log lines in its embedded metric format (EMF).
//!
//! One line for the service and one per camera, every minute and once more at the stop. There are few metrics, since CloudWatch
//! charges for each combination of metric and camera. A metric without a value is left out: the lag of a camera that is down, the
//! GPU figures of a host without one.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::sharing::PoolFigures;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::gpu::{GpuFigures, Gpus};
use crate::status::{CameraRow, ModelRow, RELOAD_SHOWN_AFTER, SinkStatus, StatusBoard, whole_ms};

const NAMESPACE: &str = "KVS/Inference";
/// The interval of the lines: CloudWatch's finest resolution of standard metrics.
const PERIOD: Duration = Duration::from_secs(60);

/// The writer of the lines.
pub(crate) struct Emf {
    /// The value of the dimension `Service`.
    pub(crate) service: String,
    /// The source of the figures.
    pub(crate) board: StatusBoard,
    /// The GPUs of this host.
    pub(crate) gpus: Gpus,
}

/// The totals as of the last line, since EMF counts are the increments between lines.
#[derive(Default)]
struct ReportedTotals {
    /// By camera.
    events: HashMap<String, u64>,
    /// By sink.
    failures: HashMap<String, u64>,
}

/// The state of the service that the lines report.
#[derive(Clone, Copy, Default)]
struct ServiceState<'a> {
    cameras: &'a [CameraRow],
    sinks: &'a [SinkStatus],
    models: &'a [ModelRow],
    gpus: &'a [&'a GpuFigures],
    /// The time that the slowest fetch or load of a model has taken so far.
    loading: Duration,
    /// The figures of the pool of workers if this one leads it.
    pool: Option<PoolFigures>,
}

/// A metric's name, unit and value.
type EmfMetric = (&'static str, &'static str, f64);

impl Emf {
    /// Writes the lines to standard output until `stop`, and then once more.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut reported = ReportedTotals::default();
        // The first line after a whole period: its increments cover one minute, as all others.
        let mut minutes = tokio::time::interval_at(tokio::time::Instant::now() + PERIOD, PERIOD);
        // A suspended host must not write one line per missed minute at once.
        minutes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_last = tokio::select! {
                () = stop.cancelled() => true,
                _ = minutes.tick() => false,
            };
            self.write(&mut reported).await;
            if is_last {
                return;
            }
        }
    }

    async fn write(&self, reported: &mut ReportedTotals) {
        let figures = self.gpus.read().await;
        let gpus: Vec<&GpuFigures> = figures.iter().filter_map(|(_, gpu)| gpu.as_ref()).collect();
        let state = ServiceState {
            cameras: &self.board.snapshot(),
            sinks: &self.board.sinks(),
            models: &self.board.models(),
            gpus: &gpus,
            loading: self.board.loading_for(),
            pool: self.board.pool_figures(),
        };
        // The lines bypass the log: EMF has to be the whole line, and must not depend on `log_level`.
        let lines = lines(&self.service, reported, &state);
        if let Err(error) = std::io::stdout().lock().write_all(lines.as_bytes()) {
            tracing::warn!(stage = "telemetry", %error, "CloudWatch metrics not written");
        }
    }
}

/// Returns the lines of the current state, each with its line feed.
fn lines(service: &str, reported: &mut ReportedTotals, state: &ServiceState<'_>) -> String {
    let ServiceState { cameras, sinks, models, gpus, loading, pool } = *state;
    let mut events = 0;
    let mut lines = String::new();
    for camera in cameras {
        let new = increment(&mut reported.events, &camera.id, camera.events);
        events += new;
        lines += &line(&[("Service", service), ("Camera", &camera.id)], &camera_metrics(camera, new));
    }
    // Refused attempts and lost events alike: the alarm is about delivery that does not work.
    let failures = sinks
        .iter()
        .map(|sink| increment(&mut reported.failures, &sink.name, sink.refused + sink.failed))
        .sum();
    let mut metrics = metrics_of_cameras(cameras, events);
    metrics.extend(sink_metrics(sinks, failures));
    metrics.extend(model_metrics(models));
    metrics.extend(loading_metric(loading));
    metrics.extend(gpu_metrics(gpus));
    metrics.extend(pool.into_iter().flat_map(pool_metrics));
    line(&[("Service", service)], &metrics) + &lines
}

/// Returns the increment of a total since the last line, and stores the total.
fn increment(totals: &mut HashMap<String, u64>, name: &str, now: u64) -> u64 {
    let before = totals.insert(name.to_owned(), now).unwrap_or(0);
    // A total that fell was reset, since its camera was removed and added again: all of it is new.
    if now < before { now } else { now - before }
}

fn camera_metrics(camera: &CameraRow, events: u64) -> Vec<EmfMetric> {
    let up = if camera.is_well() { 1.0 } else { 0.0 };
    let lag = camera.behind_ms.map(|ms| ("LagSeconds", "Seconds", seconds(ms)));
    [("CameraUp", "None", up), ("Events", "Count", number(events))].into_iter().chain(lag).collect()
}

fn metrics_of_cameras(cameras: &[CameraRow], events: u64) -> Vec<EmfMetric> {
    let down = cameras.iter().filter(|camera| !camera.is_well()).count();
    // The maximum: a mean would hide one camera that is far behind.
    let lag = cameras.iter().filter_map(|camera| camera.behind_ms).max();
    let lag = lag.map(|ms| ("MaxLagSeconds", "Seconds", seconds(ms)));
    let counts = [("CamerasDown", "Count", number(down as u64)), ("Events", "Count", number(events))];
    counts.into_iter().chain(lag).collect()
}

fn sink_metrics(sinks: &[SinkStatus], failures: u64) -> [EmfMetric; 3] {
    let bytes = sinks.iter().map(|sink| sink.queued_bytes).sum();
    let required = sinks.iter().filter(|sink| sink.required);
    // Best-effort sinks drop their oldest events instead of delaying them.
    let oldest = required.filter_map(SinkStatus::oldest_age).max().unwrap_or_default();
    [
        ("OutboxBytes", "Bytes", number(bytes)),
        ("OutboxOldestSeconds", "Seconds", seconds(whole_ms(oldest))),
        ("DeliveryFailures", "Count", number(failures)),
    ]
}

/// Returns the metrics of the pool, which its leader alone writes: the service scales by them.
fn pool_metrics(figures: PoolFigures) -> [EmfMetric; 3] {
    [
        ("LoadPercent", "Percent", f64::from(figures.load_percent)),
        ("Workers", "Count", number(figures.workers as u64)),
        ("CamerasUnassigned", "Count", number(figures.unassigned as u64)),
    ]
}

/// Returns the longest load, only while it is long: a metric that is not written costs nothing.
fn loading_metric(loading: Duration) -> Option<EmfMetric> {
    (loading > RELOAD_SHOWN_AFTER).then(|| ("ModelLoadSeconds", "Seconds", seconds(whole_ms(loading))))
}

/// Returns the number of models that run on the CPU because CUDA does not work; one with `device: cpu` does not count.
fn model_metrics(models: &[ModelRow]) -> [EmfMetric; 1] {
    let on_cpu = models.iter().filter(|model| model.fell_back).count();
    [("ModelsOnCpu", "Count", number(on_cpu as u64))]
}

/// Returns the mean utilization and the sum of the memory in use.
fn gpu_metrics(gpus: &[&GpuFigures]) -> Vec<EmfMetric> {
    if gpus.is_empty() {
        return Vec::new();
    }
    let busy: f64 = gpus.iter().map(|gpu| gpu.utilization).sum();
    let used = gpus.iter().map(|gpu| gpu.memory_used_bytes).sum();
    let mean = 100.0 * busy / number(gpus.len() as u64);
    vec![("GpuUtilization", "Percent", mean), ("GpuMemoryUsed", "Bytes", number(used))]
}

/// Returns one EMF object as a line. Format: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
fn line(dimensions: &[(&str, &str)], metrics: &[EmfMetric]) -> String {
    let named: Vec<Value> =
        metrics.iter().map(|(name, unit, _)| json!({ "Name": name, "Unit": unit })).collect();
    let keys: Vec<&str> = dimensions.iter().map(|(key, _)| *key).collect();
    // `Dimensions` is a list of dimension sets, each a list of keys; their values, and those of the metrics, are members of the root.
    let directive = json!({ "Namespace": NAMESPACE, "Dimensions": [keys], "Metrics": named });
    let now_ms = whole_ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let mut all = Map::new();
    all.insert("_aws".to_owned(), json!({ "Timestamp": now_ms, "CloudWatchMetrics": [directive] }));
    all.extend(dimensions.iter().map(|(key, value)| ((*key).to_owned(), json!(value))));
    all.extend(metrics.iter().map(|(name, _, value)| ((*name).to_owned(), json!(value))));
    Value::Object(all).to_string() + "\n"
}

fn seconds(ms: u64) -> f64 {
    number(ms) / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53: 8 PiB, 285 thousand years of ms")]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::CameraId;

    fn parsed(lines: &str) -> Vec<Value> {
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns the dimension values and the metrics of a line; panics where the line does not follow the format.
    fn parts_of(line: &Value) -> (Vec<String>, Vec<(String, String, f64)>) {
        let about = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(about["Namespace"], "KVS/Inference");
        assert!(line["_aws"]["Timestamp"].as_u64().unwrap() > 1_600_000_000_000, "ms since the epoch");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let keys = about["Dimensions"][0].as_array().unwrap();
        let dimensions = keys.iter().map(|key| text(&line[text(key)])).collect();
        let metric = |metric: &Value| {
            let name = text(&metric["Name"]);
            let value = line[&name].as_f64().unwrap();
            (name, text(&metric["Unit"]), value)
        };
        (dimensions, about["Metrics"].as_array().unwrap().iter().map(metric).collect())
    }

    fn sink(
        name: &str,
        required: bool,
        queued_bytes: u64,
        oldest_ms: Option<u64>,
        failed: u64,
    ) -> SinkStatus {
        SinkStatus {
            name: name.into(),
            required,
            queued_bytes,
            oldest: oldest_ms.map(|ms| SystemTime::now() - Duration::from_millis(ms)),
            refused: failed,
            failed: 1,
            ..SinkStatus::default()
        }
    }

    fn metric(name: &str, unit: &str, value: f64) -> (String, String, f64) {
        (name.to_owned(), unit.to_owned(), value)
    }

    #[test]
    fn the_leader_writes_the_figures_of_its_pool() {
        let figures = PoolFigures { load_percent: 73, workers: 3, unassigned: 1, ..PoolFigures::default() };
        let expected = [
            ("LoadPercent", "Percent", 73.0),
            ("Workers", "Count", 3.0),
            ("CamerasUnassigned", "Count", 1.0),
        ];
        for (pool, expected) in [(Some(figures), &expected[..]), (None, &[])] {
            let state = ServiceState { pool, ..ServiceState::default() };
            let (_, metrics) = parts_of(&parsed(&lines("yard", &mut ReportedTotals::default(), &state))[0]);
            let expected: Vec<_> =
                expected.iter().map(|(name, unit, value)| metric(name, unit, *value)).collect();
            assert!(metrics.ends_with(&expected), "{metrics:?}");
            assert_eq!(metrics.iter().any(|(name, ..)| name == "Workers"), pool.is_some());
        }
    }

    #[test]
    fn there_is_a_line_for_the_service_and_one_per_camera_with_increments_of_counts() {
        let board = StatusBoard::new();
        let [gate, alley] = ["gate", "alley"].map(|id| board.add_camera(&CameraId::new(id), id));
        gate.streaming();
        gate.fragment(Some(1_500));
        alley.down("no such stream", None);
        let sinks = |refused| {
            [sink("kds/events", true, 1_000, Some(61_500), refused), sink("s3", false, 500, Some(90_000), 0)]
        };
        let gpu = |utilization, memory_used_bytes| GpuFigures {
            utilization,
            decoder_utilization: None,
            memory_used_bytes,
            memory_bytes: 9,
            temperature_celsius: 50,
        };
        let (first, second) = (gpu(0.5, 100), gpu(0.25, 11));
        let mut before = ReportedTotals::default();
        let cameras = board.snapshot();
        let (sinks_now, gpus) = (sinks(3), [&first, &second]);
        let loading = Duration::from_secs(61);
        let model =
            |device: &str, fell_back| ModelRow { device: device.into(), fell_back, ..ModelRow::default() };
        let models = [model("cuda:0", false), model("cpu", true), model("cpu", false)];
        let state = ServiceState { cameras: &cameras, sinks: &sinks_now, ..ServiceState::default() };
        let state = ServiceState { models: &models, gpus: &gpus, loading, ..state };
        let now = parsed(&lines("yard", &mut before, &state));
        let of_service = [
            metric("CamerasDown", "Count", 1.0),
            metric("Events", "Count", 0.0),
            metric("MaxLagSeconds", "Seconds", 1.5),
            metric("OutboxBytes", "Bytes", 1_500.0),
            metric("DeliveryFailures", "Count", 5.0),
            metric("ModelsOnCpu", "Count", 1.0),
            metric("ModelLoadSeconds", "Seconds", 61.0),
            metric("GpuUtilization", "Percent", 37.5),
            metric("GpuMemoryUsed", "Bytes", 111.0),
        ];
        let (dimensions, mut metrics) = parts_of(&now[0]);
        // An age grows while the test runs.
        let oldest = metrics.remove(4);
        assert!(oldest.0 == "OutboxOldestSeconds" && oldest.2 >= 61.5 && oldest.2 < 90.0, "{oldest:?}");
        assert_eq!((dimensions, metrics), (vec!["yard".to_owned()], of_service.to_vec()));
        let of_gate = [
            metric("CameraUp", "None", 1.0),
            metric("Events", "Count", 0.0),
            metric("LagSeconds", "Seconds", 1.5),
        ];
        assert_eq!(parts_of(&now[1]), (vec!["yard".to_owned(), "gate".to_owned()], of_gate.to_vec()));
        let of_alley = [metric("CameraUp", "None", 0.0), metric("Events", "Count", 0.0)];
        assert_eq!(parts_of(&now[2]), (vec!["yard".to_owned(), "alley".to_owned()], of_alley.to_vec()));
        assert_eq!(now.len(), 3);
        let sinks_then = sinks(4);
        let loading = Duration::from_secs(60);
        let state = ServiceState { sinks: &sinks_then, models: &[], gpus: &[], loading, ..state };
        let then = parsed(&lines("yard", &mut before, &state));
        let (_, of_service) = parts_of(&then[0]);
        let last = [metric("DeliveryFailures", "Count", 1.0), metric("ModelsOnCpu", "Count", 0.0)];
        assert!(of_service.ends_with(&last), "no GPU, and no model that takes long: {of_service:?}");
    }

    #[test]
    fn an_increment_is_reported_once_also_after_a_reset() {
        let mut totals = HashMap::new();
        let increments = [5, 5, 9, 2, 2].map(|now| increment(&mut totals, "gate", now));
        assert_eq!(increments, [5, 0, 4, 2, 0]);
        assert_eq!(increment(&mut totals, "alley", 7), 7);
    }
}
