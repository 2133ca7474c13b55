//! `replay`: runs cameras on stored footage, and compares the incidents with those of an earlier run.

mod progress_display;
mod summary;

use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::aws::sdk_config;
use super::config_args::ConfigArgs;
use super::{StopSignal, UsageError, exit, run_on_runtime};
use crate::base::epoch_ms;
use crate::config::Settings;
use crate::media::CameraId;
use crate::replay::{
    EarlierError, EarlierSource, OutputError, OutputFolder, ReplayError, ReplayOutcome, ReplayProgress,
    ReplaySpan, ReplaySpec, replay,
};
use crate::telemetry;
use crate::telemetry::log::LogOutput;
use kvs_config::closest;
use progress_display::ProgressLine;
use summary::ReplaySummary;

/// Interval of the display of progress.
const DISPLAY_INTERVAL: Duration = Duration::from_millis(500);

/// Runs a configuration on stored footage, faster than real time, and reports which incidents are new, gone or changed.
///
/// Reads the archived fragments of the cameras (ListFragments, GetMediaForFragmentList) and writes events.jsonl, snapshots/ and
/// report.html to --out. Ids and times are those that `run` gives the same footage in catch-up. Live positions, tables, streams and
/// buckets are not touched: the sinks of the configuration are ignored.
///
/// Ctrl-C ends reading after the current fragments; the report is then that of the footage so far, and names its span. A second
/// Ctrl-C ends the process at once. Times are RFC 3339 with a zone (2026-11-30T14:00:00Z), ms since 1970, or before now (2h ago,
/// -2h, -1d12h). docs/replay.md describes the report and how incidents are matched.
/// Exit codes: 0 done, gaps of the cameras included; 1 footage of a camera was not replayed: it was stopped, has none in the span, or
/// could not be read; 64 a wrong time, camera or folder; 69 nothing was replayed, or --compare cannot be read; 78 the configuration.
#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Start of the span
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: String,
    /// End of the span; +10m is ten minutes after --from
    #[arg(long, value_name = "TIME", default_value = "now", allow_hyphen_values = true)]
    to: String,
    /// Camera to replay; may be given several times [default: all enabled cameras]
    #[arg(long = "camera", value_name = "ID")]
    cameras: Vec<String>,
    /// Earlier run to compare with: events.jsonl or its folder; `local`, `table` or `stream` of the configuration; ddb:TABLE; kds:STREAM
    #[arg(long, value_name = "SOURCE")]
    compare: Option<String>,
    /// New folder for the result
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Log level or directives; the log goes to standard error
    #[arg(long, env = "LOG_LEVEL", default_value = "warn")]
    log_level: String,
}

impl ReplayArgs {
    /// Replays the cameras and prints a summary.
    ///
    /// # Errors
    /// Nothing was replayed.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let span = ReplaySpan::parse(&self.from, &self.to, epoch_ms());
        let span = span.map_err(|error| UsageError(error.to_string()))?;
        let settings = self.config.load()?;
        telemetry::log::init(&self.log_level, settings.log_format, LogOutput::Stderr)?;
        run_on_runtime(self.replay(settings, span))
    }

    async fn replay(self, mut settings: Settings, span: ReplaySpan) -> anyhow::Result<ExitCode> {
        let stop_signal = StopSignal::new()?;
        let earlier = self.compare.as_ref().map(|source| EarlierSource::parse(source, &settings)).transpose();
        let earlier = earlier.map_err(ReplayError::from).map_err(cli_error)?;
        select_cameras(&mut settings, &self.cameras)?;
        let aws = sdk_config(settings.region.as_deref()).await?;
        let models = self.config.models(Some(&aws))?;
        let folder = OutputFolder::create(&self.out).map_err(ReplayError::from).map_err(cli_error)?;
        let cameras: Vec<CameraId> = settings.cameras.iter().map(|camera| camera.id.clone()).collect();
        let line = ProgressLine::new();
        let progress = ReplayProgress::new(&cameras, span, &line.on_note());
        let stop = CancellationToken::new();
        let spec = ReplaySpec { settings, aws, models, span, folder, earlier, progress, stop };
        let begun = Instant::now();
        let Some(outcome) = replay_until_done(spec, stop_signal, &line).await else {
            return Ok(ExitCode::from(exit::UNAVAILABLE));
        };
        line.finish();
        let outcome = outcome.map_err(cli_error)?;
        let summary =
            ReplaySummary { outcome: &outcome, span, took: begun.elapsed(), compared_with: self.compare };
        summary.print()?;
        Ok(summary.exit_code())
    }
}

/// Replays with its progress on standard error; `None`: a second signal ended it at once.
async fn replay_until_done(
    spec: ReplaySpec,
    mut stop_signal: StopSignal,
    line: &ProgressLine,
) -> Option<Result<ReplayOutcome, ReplayError>> {
    let (stop, progress) = (spec.stop.clone(), spec.progress.clone());
    let mut replaying = pin!(replay(spec));
    let mut display = interval(DISPLAY_INTERVAL);
    display.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            outcome = &mut replaying => return Some(outcome),
            () = stop_signal.wait() => {
                if stop.is_cancelled() {
                    return None;
                }
                stop.cancel();
                line.note("stopping: the report will be that of the footage so far; Ctrl-C again ends at once");
            }
            _ = display.tick() => line.show(progress.figures()),
        }
    }
}

/// Keeps the cameras of these ids, or all if there are none.
///
/// Errors: no enabled camera has such an id.
fn select_cameras(settings: &mut Settings, wanted: &[String]) -> Result<(), UsageError> {
    let known: Vec<String> = settings.cameras.iter().map(|camera| camera.id.to_string()).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    for id in wanted {
        if !known.contains(&id.as_str()) {
            let hint = match closest(id, &known) {
                Some(close) => format!("did you mean {close:?}?"),
                None => format!("its enabled cameras are {}", known.join(", ")),
            };
            return Err(UsageError(format!("--camera {id:?} is not in the configuration: {hint}")));
        }
    }
    settings.cameras.retain(|camera| wanted.is_empty() || wanted.iter().any(|id| id == camera.id.as_str()));
    Ok(())
}

/// Returns the error in the form of which the exit code follows.
fn cli_error(error: ReplayError) -> anyhow::Error {
    match error {
        ReplayError::Models(error) => error.into(),
        ReplayError::Output(OutputError::Taken { .. })
        | ReplayError::Earlier(EarlierError::NotConfigured { .. }) => UsageError(error.to_string()).into(),
        other => other.into(),
    }
}
