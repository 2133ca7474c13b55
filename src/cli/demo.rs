//! `demo`: runs the service against a local KVS, without an AWS account.

use std::fmt::Write as _;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, ensure};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kinesisvideo::config::{Credentials, SharedCredentialsProvider};
use kvs_sim::{ImageMaker, Play, Sim, SimConfig};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::config_args::model_fetcher;
use super::sim_images::SimImages;
use super::{StopSignal, elapsed, run_on_runtime};
use crate::base::{escaped, make_private_folder};
use crate::config::{self, LogFormat, Overrides, Settings};
use crate::delivery::UndeliveredRecords;
use crate::detect::cache_dir;
use crate::http::AccessToken;
use crate::media::Event;
use crate::service::{Service, ServiceSpec};
use crate::status::CameraRow;
use crate::telemetry;
use crate::telemetry::log::LogOutput;

/// The name of the configuration's copy in the folder of the events.
const CONFIG_FILE: &str = "cameras.yaml";
const CONFIG: &str = include_str!("../../config/demo.yaml");
const CAMERAS: [&str; 2] = ["street", "gate"];

/// Runs two cameras against a local KVS, with real models on real video, without an AWS account or a connection to others.
///
/// Prints the address of the page, and events as they happen. Ends on Ctrl-C or after --seconds, with a table and exit
/// code 0, or 1 if a camera had no event.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// End after this many seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// Address on which the page listens
    #[arg(long, env = "HTTP_HOST", default_value = "127.0.0.1")]
    http_host: IpAddr,
    /// Port on which the page listens; 0 selects a free port
    #[arg(long, env = "HTTP_PORT", default_value_t = 8080)]
    http_port: u16,
    /// Bearer token required to view the page; without one, the page is served only on loopback
    #[arg(long, env = "HTTP_TOKEN", hide_env_values = true)]
    http_token: Option<String>,
    /// Log level or directives; the log goes to standard error
    #[arg(long, env = "LOG_LEVEL", default_value = "warn")]
    log_level: String,
    /// Folder for events.jsonl and snapshots/ [default: demo/ in the cache folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl DemoArgs {
    /// Runs the demo until it is stopped.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        telemetry::log::init(&self.log_level, Some(LogFormat::Text), LogOutput::Stderr)?;
        run_on_runtime(self.serve())
    }

    async fn serve(self) -> anyhow::Result<ExitCode> {
        let mut stop = StopSignal::new()?;
        let cache =
            cache_dir().context("HOME is not set: set KVS_INFER_CACHE to a folder for models and clips")?;
        let dir = self.dir.clone().unwrap_or_else(|| cache.join("demo"));
        let settings = settings(&cache, &dir)?;
        write_config(&cache, &dir)?;
        let sim = start_sim(&cache).await?;
        let service = Service::start(self.spec(settings, &sim, &dir)?).await?;
        self.print_addresses(&service, &sim, &dir)?;
        let (_, events) = service.board().follow(None);
        let printed = tokio::select! {
            () = stop.wait() => Ok(()),
            () = elapsed(self.seconds) => Ok(()),
            printed = print_events(events) => printed,
        };
        // The board outlives the service and is read after it has stopped.
        let board = service.board().clone();
        let remains = service.stop().await;
        sim.stop().await;
        // A folder that cannot be removed stays in the system's temporary folder.
        let _ = std::fs::remove_dir_all(state_dir());
        // Reported only now, so that the service stops in order even if standard output is closed.
        printed?;
        ensure_delivered(&remains, &dir)?;
        finish(&board.snapshot())
    }

    fn print_addresses(&self, service: &Service, sim: &Sim, dir: &Path) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "kvs-infer demo: {} cameras, real models, no AWS. Ctrl-C ends it.", CAMERAS.len())?;
        writeln!(out, "  page    {}", self.page(service.http_addr()))?;
        writeln!(out, "  events  {} and snapshots/ beside it", dir.join("events.jsonl").display())?;
        let program = program_name();
        writeln!(out, "          {program} events --dir {}", dir.display())?;
        let aws = "--region us-east-1 --no-sign-request kinesisvideo list-streams";
        writeln!(out, "  KVS     aws --endpoint-url {} {aws}", sim.endpoint())?;
        let keys = "AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local";
        writeln!(out, "  replay  AWS_ENDPOINT_URL_KINESIS_VIDEO={} {keys} \\", sim.endpoint())?;
        let config = dir.join(CONFIG_FILE);
        let replay = format!("{program} replay --config {} --from '2m ago'", config.display());
        writeln!(out, "            {replay} --compare {} --out replay", dir.display())?;
        writeln!(out, "\nUTC       camera   label        conf  snapshot")?;
        out.flush()
    }

    fn page(&self, addr: SocketAddr) -> String {
        // A browser cannot open 0.0.0.0.
        let host = if addr.ip().is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { addr.ip() };
        let closed = !addr.ip().is_loopback() && self.http_token.as_deref().is_none_or(str::is_empty);
        let advice = if closed { " is closed: set HTTP_TOKEN, or listen on loopback" } else { "" };
        format!("http://{}/{advice}", SocketAddr::new(host, addr.port()))
    }

    fn spec(&self, settings: Settings, sim: &Sim, dir: &Path) -> anyhow::Result<ServiceSpec> {
        Ok(ServiceSpec {
            settings,
            aws: sim_config(sim.endpoint()),
            models: model_fetcher(&state_dir(), None)?,
            http: SocketAddr::new(self.http_host, self.http_port),
            token: AccessToken::from_variable(self.http_token.as_deref())?,
            prometheus: telemetry::metrics::install()?,
            state_dir: state_dir(),
            dead_letter: Some(dir.join("dead-letter.jsonl")),
        })
    }
}

/// Returns an error if required sinks have undelivered events.
fn ensure_delivered(remains: &[UndeliveredRecords], dir: &Path) -> anyhow::Result<()> {
    let undelivered: u64 = remains.iter().filter(|sink| sink.required).map(|sink| sink.count).sum();
    ensure!(
        undelivered == 0,
        "{undelivered} events were not written to {} before the demo ended",
        dir.display()
    );
    Ok(())
}

/// Returns the program as it was called, so that a printed command works where this one did.
fn program_name() -> String {
    let program = std::env::args_os().next();
    program.map_or_else(|| "kvs-infer".to_owned(), |program| program.to_string_lossy().into_owned())
}

/// Returns the folder of the outbox. It belongs to this run only, because each run starts an empty local KVS.
fn state_dir() -> PathBuf {
    std::env::temp_dir().join(format!("kvs-infer-demo-{}", std::process::id()))
}

/// Returns the settings of the demo.
///
/// Errors: a model or clip of the demo does not exist.
fn settings(cache: &Path, dir: &Path) -> anyhow::Result<Settings> {
    let environment = |name: &str| match name {
        "KVS_INFER_CACHE" => Some(cache.display().to_string()),
        "KVS_INFER_DEMO_DIR" => Some(dir.display().to_string()),
        _ => std::env::var(name).ok(),
    };
    // The page names this file beside what to change in it.
    let name = dir.join(CONFIG_FILE).display().to_string();
    let settings = config::parse(&name, CONFIG, &environment, &Overrides::default())?;
    let models =
        settings.cameras.iter().flat_map(|camera| &camera.pipeline).map(|entry| entry.model.path.clone());
    for file in models.chain(CAMERAS.map(|camera| clip(cache, camera))) {
        ensure!(file.is_file(), "{} does not exist: run scripts/setup demo", file.display());
    }
    Ok(settings)
}

/// Writes the configuration of the demo with its folders in place of the variables: to be copied, changed and replayed.
fn write_config(cache: &Path, dir: &Path) -> anyhow::Result<()> {
    let folders = [("${KVS_INFER_CACHE}", cache), ("${KVS_INFER_DEMO_DIR}", dir)];
    let text = folders.into_iter().fold(CONFIG.to_owned(), |text, (variable, folder)| {
        text.replace(variable, &folder.display().to_string())
    });
    let file = dir.join(CONFIG_FILE);
    make_private_folder(dir)
        .and_then(|()| std::fs::write(&file, text))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn clip(cache: &Path, camera: &str) -> PathBuf {
    cache.join("clips").join(format!("{camera}.mp4"))
}

/// Starts a local KVS that plays the clips in a loop.
async fn start_sim(cache: &Path) -> anyhow::Result<Sim> {
    // GetImages of the local KVS works in the demo too.
    let images: Option<Arc<dyn ImageMaker>> = Some(Arc::new(SimImages));
    let sim = Sim::start(SimConfig { images, ..SimConfig::default() })?;
    for camera in CAMERAS {
        sim.play(Play { stream: camera.to_owned(), path: clip(cache, camera), looped: true }).await?;
    }
    Ok(sim)
}

/// Returns the SDK configuration for the local KVS, which accepts any credentials.
fn sim_config(endpoint: String) -> SdkConfig {
    let credentials = Credentials::new("local", "local", None, None, "demo");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// Prints events as they arrive, for ever.
async fn print_events(mut events: Receiver<Arc<Event>>) -> anyhow::Result<()> {
    loop {
        match events.recv().await {
            Ok(event) => writeln!(std::io::stdout(), "{}", event_line(&event))?,
            Err(RecvError::Lagged(missed)) => writeln!(std::io::stdout(), "({missed} events not shown)")?,
            // The service keeps the sender until it stops, and the caller's `select` ends this function first.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn event_line(event: &Event) -> String {
    let payload = &event.payload;
    let snapshot = payload.extras.snapshot.as_deref().unwrap_or("");
    let (time, percent) = (time_of_day(payload.ts_ms), payload.conf * 100.0);
    let phase = payload.extras.phase.as_str();
    format!(
        "{time}  {:<8} {:<12} {phase:<6} {percent:>2.0} %  {snapshot}",
        event.camera_id,
        escaped(&payload.label)
    )
}

/// Returns the time of day in UTC, `HH:MM:SS`.
fn time_of_day(ts_ms: i64) -> String {
    let second = ts_ms.div_euclid(1000).rem_euclid(24 * 60 * 60);
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

fn finish(rows: &[CameraRow]) -> anyhow::Result<ExitCode> {
    write!(std::io::stdout(), "\n{}", table(rows)?)?;
    let silent: Vec<&str> = rows.iter().filter(|row| row.events == 0).map(|row| row.id.as_str()).collect();
    if silent.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(std::io::stderr(), "no event from: {}", silent.join(", "))?;
    Ok(ExitCode::FAILURE)
}

/// Returns a table with a row per camera.
fn table(rows: &[CameraRow]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(text, "                                                 arrival to event, ms")?;
    writeln!(text, "camera    read  decoded  inferred  dropped  events     p50     p99")?;
    for row in rows {
        write_camera(&mut text, row)?;
    }
    Ok(text)
}

fn write_camera(text: &mut String, row: &CameraRow) -> std::fmt::Result {
    let dropped: u64 = row.frames.dropped.values().sum();
    writeln!(
        text,
        "{:<8} {:>5} {:>8} {:>9} {:>8} {:>7} {:>7} {:>7}",
        row.id,
        row.frames.read,
        row.frames.decoded,
        row.frames.inferred,
        dropped,
        row.events,
        milliseconds(row.latency_p50_ms),
        milliseconds(row.latency_p99_ms)
    )
}

fn milliseconds(ms: Option<f64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"))
}
