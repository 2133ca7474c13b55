//! A worker of the pool: its folder, its way to AWS, and its process.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tempfile::TempDir;
use test_support::fault_proxy::{AwsService, FaultProxy, Mishap};
use test_support::http;
use test_support::program::configure_run;

use super::disturbance::Outage;
use super::timeline::{Happening, Life, Moment};
use crate::killing::storm;

/// SIGKILL. Source: signal(7).
const KILLED: i32 = 9;

/// A version of the configuration: the text, and the time of the file by which workers order versions.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) text: String,
    pub(crate) modified: SystemTime,
}

/// The moments of all workers, in order.
pub(crate) type Moments = Arc<Mutex<Vec<Moment>>>;

/// The servers of a worker, and the places for what it does.
pub(crate) struct WorkerSpec {
    pub(crate) number: usize,
    pub(crate) kvs: String,
    pub(crate) aws: String,
    /// The seed of the weather.
    pub(crate) weather: u64,
    pub(crate) logs: PathBuf,
    pub(crate) moments: Moments,
    /// Variables of the environment.
    pub(crate) variables: Vec<(String, String)>,
}

/// A worker, which may run or not.
pub(crate) struct PoolWorker {
    spec: WorkerSpec,
    dir: TempDir,
    /// In front of DynamoDB.
    table: FaultProxy,
    /// In front of Kinesis.
    stream: FaultProxy,
    pub(crate) version: Version,
    starts: usize,
    process: Option<WorkerProcess>,
}

/// A running process; killed when dropped.
struct WorkerProcess {
    life: Life,
    child: Child,
    log: Option<JoinHandle<()>>,
    seen: Arc<Mutex<SeenInLog>>,
}

/// The parts of the log that are needed while the process runs.
#[derive(Debug, Default)]
struct SeenInLog {
    id: Option<String>,
    http: Option<SocketAddr>,
}

impl PoolWorker {
    /// Creates a worker that does not run yet.
    pub(crate) async fn new(spec: WorkerSpec, version: Version) -> Self {
        let (table, stream) = (FaultProxy::start(&spec.aws).await, FaultProxy::start(&spec.aws).await);
        let worker =
            Self { dir: TempDir::new().unwrap(), table, stream, version, starts: 0, process: None, spec };
        worker.restore_weather();
        worker
    }

    /// Starts its process.
    pub(crate) fn start(&mut self, mut command: Command) {
        assert!(self.process.is_none());
        let (kvs, aws) = (&self.spec.kvs, Some(self.stream.url.as_str()));
        configure_run(&mut command, self.dir.path(), &self.version.text, kvs, aws);
        set_modified(&self.dir.path().join("cameras.yaml"), self.version.modified);
        command.env("AWS_ENDPOINT_URL_DYNAMODB", &self.table.url).envs(self.spec.variables.clone());
        let life = Life { worker: self.spec.number, number: self.starts };
        self.starts += 1;
        self.process = Some(WorkerProcess::start(command, life, &self.spec));
    }

    /// Returns its id in the pool, once it has joined.
    pub(crate) fn id(&self) -> Option<String> {
        self.process.as_ref()?.seen().id.clone()
    }

    /// Returns its process, if it runs.
    pub(crate) fn life(&self) -> Option<Life> {
        self.process.as_ref().map(|process| process.life)
    }

    /// Returns the overview of its page, once it is ready.
    pub(crate) fn overview(&self) -> Option<Value> {
        let http = self.process.as_ref()?.seen().http?;
        let request = format!("GET /api/cameras HTTP/1.0\r\nHost: {http}\r\n\r\n");
        let (status, _, body) = http::answer(http::send(http, &request));
        (status == 200).then(|| serde_json::from_slice(&body).unwrap())
    }

    /// Returns whether it has logged that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.seen().http.is_some())
    }

    /// Kills it; it must have lived until then.
    pub(crate) fn kill(&mut self) {
        let process = self.process.take().unwrap();
        self.note(process.life, Happening::Killed);
        signal(&process.child, "KILL");
        let status = process.ended();
        assert_eq!(status.signal(), Some(KILLED), "worker {} ended by itself: {status}", self.spec.number);
    }

    /// Stops it from running for this long, after which [`Self::resume`] is due.
    pub(crate) fn pause(&self, time: Duration) {
        let process = self.process.as_ref().unwrap();
        self.note(process.life, Happening::Paused(time));
        signal(&process.child, "STOP");
    }

    /// Lets it run again.
    pub(crate) fn resume(&self) {
        signal(&self.process.as_ref().unwrap().child, "CONT");
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let process = self.process.as_ref().unwrap();
        self.note(process.life, Happening::Terminated);
        signal(&process.child, "TERM");
    }

    /// Returns whether its process has ended, which then had to be in order; one that was not asked to end fails the test.
    pub(crate) fn has_ended(&mut self, was_asked: bool) -> bool {
        let Some(status) = self.process.as_mut().and_then(|process| process.child.try_wait().unwrap()) else {
            return false;
        };
        assert!(was_asked && status.success(), "worker {} ended: {status}", self.spec.number);
        self.process.take().unwrap().ended();
        true
    }

    /// Makes DynamoDB unreachable.
    pub(crate) async fn lose_table(&mut self, outage: Outage) {
        lose(&mut self.table, AwsService::DynamoDb, outage).await;
    }

    /// Makes Kinesis unreachable.
    pub(crate) async fn lose_stream(&mut self, outage: Outage) {
        lose(&mut self.stream, AwsService::Kinesis, outage).await;
    }

    /// Makes both reachable again, in the usual weather.
    pub(crate) async fn find_services(&mut self) {
        self.clear_weather().await;
        self.restore_weather();
    }

    /// Makes both reachable, without mishaps from now on.
    pub(crate) async fn clear_weather(&mut self) {
        for proxy in [&mut self.table, &mut self.stream] {
            proxy.clear();
            proxy.come_back().await;
        }
    }

    fn restore_weather(&self) {
        for proxy in [&self.table, &self.stream] {
            let mut weather = storm(self.spec.weather);
            weather.share = WEATHER_SHARE;
            // A copy of an older write that comes late must change nothing.
            weather.mishaps.push(Mishap::Repeated(LATE));
            proxy.set_weather(weather);
        }
    }

    /// Replaces its configuration file at once, as an editor does.
    pub(crate) fn rewrite(&mut self, version: Version) {
        let (file, next) = (self.dir.path().join("cameras.yaml"), self.dir.path().join("next.yaml"));
        std::fs::write(&next, &version.text).unwrap();
        set_modified(&next, version.modified);
        std::fs::rename(next, file).unwrap();
        self.version = version;
    }

    fn note(&self, life: Life, what: Happening) {
        let mut moments = self.spec.moments.lock().unwrap();
        moments.push(Moment { at: Instant::now(), life, what });
    }
}

/// Share of the requests that meet a mishap.
const WEATHER_SHARE: f64 = 0.1;
/// The delay of a second copy of a request.
const LATE: Duration = Duration::from_millis(700);

impl WorkerProcess {
    fn start(mut command: Command, life: Life, spec: &WorkerSpec) -> Self {
        let file = spec.logs.join(format!("worker-{}.{}.log", life.worker, life.number));
        let mut file = File::create(file).unwrap();
        command.stderr(file.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (seen, moments) = (Arc::<Mutex<SeenInLog>>::default(), Arc::clone(&spec.moments));
        let shown = Arc::clone(&seen);
        let log = std::thread::spawn(move || {
            for line in lines.map(Result::unwrap) {
                follow(&line, life, &shown, &moments);
                writeln!(file, "{line}").unwrap();
            }
        });
        Self { life, child, log: Some(log), seen }
    }

    fn seen(&self) -> MutexGuard<'_, SeenInLog> {
        self.seen.lock().unwrap()
    }

    /// Waits for its end, and for that of its log.
    fn ended(mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        self.log.take().unwrap().join().unwrap();
        status
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if self.log.is_some() {
            // It may have ended.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn follow(line: &str, life: Life, seen: &Mutex<SeenInLog>, moments: &Mutex<Vec<Moment>>) {
    let Ok(entry) = serde_json::from_str::<Value>(line) else { return };
    let text = |field: &str| entry[field].as_str().unwrap_or_default();
    match text("message") {
        "joins the pool" => seen.lock().unwrap().id = Some(text("worker").to_owned()),
        "ready" => seen.lock().unwrap().http = Some(text("http").parse().unwrap()),
        message => {
            if let Some(what) = Happening::of_line(message, text("camera")) {
                let mut moments = moments.lock().unwrap();
                moments.push(Moment { at: Instant::now(), life, what });
            }
        }
    }
}

async fn lose(proxy: &mut FaultProxy, service: AwsService, outage: Outage) {
    match outage {
        Outage::Refused => proxy.go_away().await,
        Outage::Errors => proxy.rule(service, Mishap::Unavailable, None),
    }
}

fn set_modified(file: &Path, time: SystemTime) {
    File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
}

fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}
