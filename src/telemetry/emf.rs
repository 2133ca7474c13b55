//! Metrics for CloudWatch: lines of the log in its embedded metric format, few, since each metric of each camera costs.
//!
//! A line for the service and a line a camera, once a minute and when the service is told to stop. Nothing is said of what nobody
//! knows: the lag of a camera that is down, GPUs where there are none.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::gpu::{Facts, Gpus};
use crate::status::StatusBoard;
use crate::status::{CameraRow, ModelRow, RELOAD_SHOWN_AFTER, SinkRow, whole_ms};

const NAMESPACE: &str = "KVS/Inference";
/// CloudWatch's finest grain of metrics that cost no more.
const EVERY: Duration = Duration::from_secs(60);

/// What the lines are made of.
pub(crate) struct Emf {
    /// The value of the dimension `Service`.
    pub(crate) service: String,
    /// What is told.
    pub(crate) board: StatusBoard,
    /// Whose GPUs.
    pub(crate) gpus: Gpus,
}

/// What was told of what only rises.
#[derive(Default)]
struct Told {
    /// By camera.
    events: HashMap<String, u64>,
    /// By sink.
    failures: HashMap<String, u64>,
}

/// The state that the lines describe.
struct ServiceState<'a> {
    cameras: &'a [CameraRow],
    sinks: &'a [SinkRow],
    models: &'a [ModelRow],
    gpus: &'a [&'a Facts],
    /// The longest time for which a model is being fetched or loaded.
    loading: Duration,
}

/// A metric's name, unit and value.
type Metric = (&'static str, &'static str, f64);

impl Emf {
    /// Writes the lines to standard output until `stop`, and then once more.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut told = Told::default();
        let mut minutes = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
        minutes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_last = tokio::select! {
                () = stop.cancelled() => true,
                _ = minutes.tick() => false,
            };
            self.write(&mut told).await;
            if is_last {
                return;
            }
        }
    }

    async fn write(&self, told: &mut Told) {
        let facts = self.gpus.read().await;
        let gpus: Vec<&Facts> = facts.iter().filter_map(|(_, facts)| facts.as_ref()).collect();
        let state = ServiceState {
            cameras: &self.board.snapshot(),
            sinks: &self.board.sinks(),
            models: &self.board.models(),
            gpus: &gpus,
            loading: self.board.loading_for(),
        };
        let lines = lines(&self.service, told, &state);
        if let Err(error) = std::io::stdout().lock().write_all(lines.as_bytes()) {
            tracing::warn!(stage = "telemetry", %error, "the metrics for CloudWatch could not be written");
        }
    }
}

/// The lines as they stand now, each ended.
fn lines(service: &str, told: &mut Told, state: &ServiceState<'_>) -> String {
    let ServiceState { cameras, sinks, models, gpus, loading } = *state;
    let mut events = 0;
    let mut lines = String::new();
    for camera in cameras {
        let new = told.events.rise(&camera.id, camera.events);
        events += new;
        lines += &line(&[("Service", service), ("Camera", &camera.id)], &about_camera(camera, new));
    }
    let failures = sinks.iter().map(|sink| told.failures.rise(&sink.name, sink.refused + sink.failed)).sum();
    let mut metrics = about_cameras(cameras, events);
    metrics.extend(about_sinks(sinks, failures));
    metrics.extend(about_models(models));
    metrics.extend(about_loading(loading));
    metrics.extend(about_gpus(gpus));
    line(&[("Service", service)], &metrics) + &lines
}

trait Rise {
    /// By how much it rose since this was last asked; a count that began anew is all new.
    fn rise(&mut self, name: &str, now: u64) -> u64;
}

impl Rise for HashMap<String, u64> {
    fn rise(&mut self, name: &str, now: u64) -> u64 {
        let before = self.insert(name.to_owned(), now).unwrap_or(0);
        if now < before { now } else { now - before }
    }
}

fn about_camera(camera: &CameraRow, events: u64) -> Vec<Metric> {
    let up = if camera.is_well() { 1.0 } else { 0.0 };
    let lag = camera.behind_ms.map(|ms| ("LagSeconds", "Seconds", seconds(ms)));
    [("CameraUp", "None", up), ("Events", "Count", number(events))].into_iter().chain(lag).collect()
}

fn about_cameras(cameras: &[CameraRow], events: u64) -> Vec<Metric> {
    let down = cameras.iter().filter(|camera| !camera.is_well()).count();
    let lag = cameras.iter().filter_map(|camera| camera.behind_ms).max();
    let lag = lag.map(|ms| ("MaxLagSeconds", "Seconds", seconds(ms)));
    let counts = [("CamerasDown", "Count", number(down as u64)), ("Events", "Count", number(events))];
    counts.into_iter().chain(lag).collect()
}

fn about_sinks(sinks: &[SinkRow], failures: u64) -> [Metric; 3] {
    let bytes = sinks.iter().map(|sink| sink.queued_bytes).sum();
    let required = sinks.iter().filter(|sink| sink.required);
    let oldest_ms = required.filter_map(|sink| sink.oldest_ms).max().unwrap_or(0);
    [
        ("OutboxBytes", "Bytes", number(bytes)),
        ("OutboxOldestSeconds", "Seconds", seconds(oldest_ms)),
        ("DeliveryFailures", "Count", number(failures)),
    ]
}

/// Only while loading takes long: a metric that is not written costs nothing.
fn about_loading(loading: Duration) -> Option<Metric> {
    (loading > RELOAD_SHOWN_AFTER).then(|| ("ModelLoadSeconds", "Seconds", seconds(whole_ms(loading))))
}

/// Returns the number of models that run on the CPU because CUDA does not work; one with `device: cpu` does not count.
fn about_models(models: &[ModelRow]) -> [Metric; 1] {
    let fallen = models.iter().filter(|model| model.fell_back).count();
    [("ModelsOnCpu", "Count", number(fallen as u64))]
}

/// The mean utilisation and all memory in use.
fn about_gpus(gpus: &[&Facts]) -> Vec<Metric> {
    if gpus.is_empty() {
        return Vec::new();
    }
    let busy: f64 = gpus.iter().map(|gpu| gpu.utilization).sum();
    let used = gpus.iter().map(|gpu| gpu.memory_used_bytes).sum();
    let mean = 100.0 * busy / number(gpus.len() as u64);
    vec![("GpuUtilization", "Percent", mean), ("GpuMemoryUsed", "Bytes", number(used))]
}

/// Format: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
fn line(dimensions: &[(&str, &str)], metrics: &[Metric]) -> String {
    let named: Vec<Value> =
        metrics.iter().map(|(name, unit, _)| json!({ "Name": name, "Unit": unit })).collect();
    let keys: Vec<&str> = dimensions.iter().map(|(key, _)| *key).collect();
    let about = json!({ "Namespace": NAMESPACE, "Dimensions": [keys], "Metrics": named });
    let now_ms = whole_ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let mut all = Map::new();
    all.insert("_aws".to_owned(), json!({ "Timestamp": now_ms, "CloudWatchMetrics": [about] }));
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

    /// Dimensions and metrics of a line, each as it stands there; panics where the line is not as the format wants it.
    fn told(line: &Value) -> (Vec<String>, Vec<(String, String, f64)>) {
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

    fn sink(name: &str, required: bool, queued_bytes: u64, oldest_ms: Option<u64>, failed: u64) -> SinkRow {
        SinkRow {
            name: name.into(),
            required,
            ok: true,
            queued_bytes,
            oldest_ms,
            refused: failed,
            failed: 1,
            ..SinkRow::default()
        }
    }

    fn metric(name: &str, unit: &str, value: f64) -> (String, String, f64) {
        (name.to_owned(), unit.to_owned(), value)
    }

    #[test]
    fn a_line_for_the_service_and_one_a_camera_and_counts_by_what_is_new() {
        let board = StatusBoard::new();
        let [gate, alley] = ["gate", "alley"].map(|id| board.add_camera(&CameraId::new(id), id));
        gate.streaming();
        gate.fragment(Some(1_500));
        alley.down("no such stream", None);
        let sinks = |refused| {
            [sink("kds/events", true, 1_000, Some(61_500), refused), sink("s3", false, 500, Some(90_000), 0)]
        };
        let gpu = |utilization, memory_used_bytes| Facts {
            utilization,
            memory_used_bytes,
            memory_bytes: 9,
            temperature_celsius: 50,
        };
        let (first, second) = (gpu(0.5, 100), gpu(0.25, 11));
        let mut before = Told::default();
        let cameras = board.snapshot();
        let (sinks_now, gpus) = (sinks(3), [&first, &second]);
        let loading = Duration::from_secs(61);
        let model =
            |device: &str, fell_back| ModelRow { device: device.into(), fell_back, ..ModelRow::default() };
        let models = [model("cuda:0", false), model("cpu", true), model("cpu", false)];
        let state =
            ServiceState { cameras: &cameras, sinks: &sinks_now, models: &models, gpus: &gpus, loading };
        let now = parsed(&lines("yard", &mut before, &state));
        let of_service = [
            metric("CamerasDown", "Count", 1.0),
            metric("Events", "Count", 0.0),
            metric("MaxLagSeconds", "Seconds", 1.5),
            metric("OutboxBytes", "Bytes", 1_500.0),
            metric("OutboxOldestSeconds", "Seconds", 61.5),
            metric("DeliveryFailures", "Count", 5.0),
            metric("ModelsOnCpu", "Count", 1.0),
            metric("ModelLoadSeconds", "Seconds", 61.0),
            metric("GpuUtilization", "Percent", 37.5),
            metric("GpuMemoryUsed", "Bytes", 111.0),
        ];
        assert_eq!(told(&now[0]), (vec!["yard".to_owned()], of_service.to_vec()));
        let of_gate = [
            metric("CameraUp", "None", 1.0),
            metric("Events", "Count", 0.0),
            metric("LagSeconds", "Seconds", 1.5),
        ];
        assert_eq!(told(&now[1]), (vec!["yard".to_owned(), "gate".to_owned()], of_gate.to_vec()));
        let of_alley = [metric("CameraUp", "None", 0.0), metric("Events", "Count", 0.0)];
        assert_eq!(told(&now[2]), (vec!["yard".to_owned(), "alley".to_owned()], of_alley.to_vec()));
        assert_eq!(now.len(), 3);
        let sinks_then = sinks(4);
        let loading = Duration::from_secs(60);
        let state = ServiceState { cameras: &cameras, sinks: &sinks_then, models: &[], gpus: &[], loading };
        let then = parsed(&lines("yard", &mut before, &state));
        let (_, of_service) = told(&then[0]);
        let last = [metric("DeliveryFailures", "Count", 1.0), metric("ModelsOnCpu", "Count", 0.0)];
        assert!(of_service.ends_with(&last), "no GPU, and no model that takes long: {of_service:?}");
    }

    #[test]
    fn what_rises_is_told_once_also_when_it_begins_anew() {
        let mut told = HashMap::new();
        let rises: Vec<u64> = [5, 5, 9, 2, 2].map(|now| told.rise("gate", now)).to_vec();
        assert_eq!(rises, [5, 0, 4, 2, 0]);
        assert_eq!(told.rise("alley", 7), 7);
    }
}
