//! The history of a local folder with 100,000 incidents: `make bench-history`.
//!
//! It writes 300,000 records as the local sink does, and asks for the first page and for the first page of each filter.

#![expect(clippy::unwrap_used, reason = "what the benchmark cannot set up, it fails on")]
#![expect(clippy::print_stdout, reason = "the table is its output")]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, SdkConfig};
use kvs_infer::delivery::Clients;
use kvs_infer::history::{HistoryError, HistorySpec, IncidentFilter, IncidentHistory, IncidentQuery};
use kvs_infer::media::{Event, Phase};
use kvs_infer::sinks::PublishSpec;
use rustix::time::{ClockId, clock_gettime};
use test_support::sample_event;
use tokio::runtime::Handle;

const INCIDENTS: u64 = 100_000;
const CAMERAS: u64 = 20;
const RECORDS_PER_INCIDENT: u64 = 3;
const FILE_BYTES: u64 = 64 << 20;
const ROUNDS: usize = 21;
const BEGIN_MS: i64 = 1_790_000_000_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = write_events(folder.path());
    let history = history(folder.path());
    let (before, begun) = (memory_mb(), Instant::now());
    while let Err(error) = history.page(query(IncidentFilter::default(), 1)).await {
        assert!(matches!(error, HistoryError::Indexing { .. }), "{error}");
    }
    let built = begun.elapsed();
    let index = fs::metadata(folder.path().join("events.index")).unwrap().len();
    println!(
        "{INCIDENTS} incidents, {} records in {} MB of events",
        INCIDENTS * RECORDS_PER_INCIDENT,
        bytes >> 20
    );
    println!("index: built in {:.1} s, {} MB\n", built.as_secs_f64(), index >> 20);
    println!("| first page of 50 | median ms | slowest ms | CPU ms |\n| --- | ---: | ---: | ---: |");
    for (name, filter) in filters() {
        let (mut times, cpu) = (Vec::new(), cpu_ms());
        for _ in 0..ROUNDS {
            let asked = Instant::now();
            history.page(query(filter.clone(), 50)).await.unwrap();
            times.push(asked.elapsed());
        }
        times.sort();
        let cpu_each = (cpu_ms() - cpu) / ROUNDS as f64;
        println!("| {name} | {:.2} | {:.2} | {cpu_each:.2} |", ms(times[ROUNDS / 2]), ms(times[ROUNDS - 1]));
    }
    println!("\nmemory of the process: {before} MB before the first question, {} MB after all", memory_mb());
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn query(filter: IncidentFilter, limit: usize) -> IncidentQuery {
    IncidentQuery { filter, limit, cursor: None }
}

fn history(folder: &Path) -> IncidentHistory {
    IncidentHistory::new(HistorySpec {
        publish: &PublishSpec { local_dir: Some(folder.to_owned()), ..PublishSpec::default() },
        is_shared: false,
        cameras: Vec::new(),
        clients: &Clients::new(
            &SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build(),
            false,
        ),
        runtime: Handle::current(),
    })
    .unwrap()
}

/// Returns the filters: common and rare ones, and one that no incident has.
fn filters() -> Vec<(&'static str, IncidentFilter)> {
    let (none, own) = (IncidentFilter::default, |text: &str| Some(text.to_owned()));
    let middle_ms = BEGIN_MS + i64::try_from(INCIDENTS / 2).unwrap() * 1_000;
    vec![
        ("no filter", none()),
        ("camera, one of 20", IncidentFilter { cameras: vec!["camera-7".into()], ..none() }),
        ("label, one of 5", IncidentFilter { label: own("label-3"), ..none() }),
        ("type", IncidentFilter { kind: own("alpr"), ..none() }),
        ("zone, one of 4", IncidentFilter { zone: own("zone-2"), ..none() }),
        ("text, one incident", IncidentFilter { text: own("ab000017"), ..none() }),
        ("text, no incident", IncidentFilter { text: own("zz"), ..none() }),
        ("label, no incident", IncidentFilter { label: own("boat"), ..none() }),
        ("zone, no incident", IncidentFilter { zone: own("nowhere"), ..none() }),
        ("to, the middle", IncidentFilter { to_ms: Some(middle_ms), ..none() }),
        (
            "span of a minute in the middle",
            IncidentFilter { from_ms: Some(middle_ms - 60_000), to_ms: Some(middle_ms), ..none() },
        ),
        ("from, after all", IncidentFilter { from_ms: Some(i64::MAX), ..none() }),
    ]
}

/// Writes the records as the local sink does, oldest file first; returns their bytes.
fn write_events(folder: &Path) -> u64 {
    let mut lines: Vec<String> = Vec::new();
    for number in 0..INCIDENTS * RECORDS_PER_INCIDENT {
        lines.push(serde_json::to_string(&record(number)).unwrap());
    }
    let total: u64 = lines.iter().map(|line| line.len() as u64 + 1).sum();
    let mut age = total / FILE_BYTES;
    let mut file = BufWriter::new(File::create(path(folder, age)).unwrap());
    let mut len = 0;
    for line in lines {
        if len + line.len() as u64 >= FILE_BYTES && age > 0 {
            age -= 1;
            file = BufWriter::new(File::create(path(folder, age)).unwrap());
            len = 0;
        }
        writeln!(file, "{line}").unwrap();
        len += line.len() as u64 + 1;
    }
    file.flush().unwrap();
    total
}

fn path(folder: &Path, age: u64) -> std::path::PathBuf {
    folder.join(if age == 0 { "events.jsonl".to_owned() } else { format!("events.jsonl.{age}") })
}

/// Returns record `number`: incidents begin every second, and their records are two seconds apart.
fn record(number: u64) -> Event {
    let (incident, step) = (number / RECORDS_PER_INCIDENT, number % RECORDS_PER_INCIDENT);
    let id = format!("{:032x}", incident.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut event: Event = sample_event(&format!("camera-{}", incident % CAMERAS), &id);
    event.seq = number + 1;
    let payload = &mut event.payload;
    payload.ts_ms = BEGIN_MS + i64::try_from(incident * 1_000 + step * 2_000).unwrap();
    payload.label = format!("label-{}", incident % 5);
    payload.kind = if incident % 3 == 0 { "alpr" } else { "objects" }.to_owned();
    payload.extras.incident_id.clone_from(&id);
    payload.extras.zones = vec![format!("zone-{}", incident % 4)];
    payload.extras.snapshot =
        Some(format!("snapshots/camera-{}/{}-{}.jpg", incident % CAMERAS, payload.ts_ms, &id[..12]));
    payload.extras.text = (incident % 3 == 0).then(|| format!("AB-{incident:06}"));
    payload.extras.phase = [Phase::Start, Phase::Update, Phase::End][usize::try_from(step).unwrap()];
    if step > 0 {
        event.event_id = format!("{step}{}", &id[1..]);
    }
    event
}

/// Returns the CPU time of the process, ms.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// Returns the resident memory that is not of files, MB.
fn memory_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}
