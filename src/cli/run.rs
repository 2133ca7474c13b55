//! `run`: runs the service.

use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;

use super::aws::sdk_config;
use super::config_args::ConfigArgs;
use super::config_watch::{ConfigChange, ConfigWatch};
use super::{StopSignal, exit, new_runtime, run_on};
use crate::base::causes;
use crate::config::Settings;
use crate::http::AccessToken;
use crate::service::{PreparedReload, ReloadError, Service, ServiceSpec};
use crate::status::RELOAD_SHOWN_AFTER;
use crate::telemetry;
use crate::telemetry::log::LogOutput;
use crate::telemetry::service::{ReloadReplaced, ReloadWaits};

/// Runs the service until SIGTERM or Ctrl-C: reads the cameras, runs the detectors and delivers the events.
///
/// AWS credentials come from the usual sources (environment, profile, task role). `AWS_ENDPOINT_URL` and its per-service
/// forms (`AWS_ENDPOINT_URL_KINESIS_VIDEO`, `_KINESIS`, `_S3`) select other servers. `AWS_CA_BUNDLE` names additional
/// trusted certificates. `HTTPS_PROXY` and `NO_PROXY` apply, except to requests to this machine.
///
/// The configuration is read again when its file changes (in S3 or on the web: within a minute) and on SIGHUP, and is
/// checked as a whole. An invalid file is rejected, logged, and reported on /healthz until it is fixed. A valid one
/// restarts only the cameras that changed. `cameras` and `models` can change; all other keys require a restart.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Address on which HTTP listens
    #[arg(long, env = "HTTP_HOST", default_value = "0.0.0.0")]
    http_host: IpAddr,
    /// Port on which HTTP listens; 0 selects a free port
    #[arg(long, env = "HTTP_PORT", default_value_t = 8080)]
    http_port: u16,
    /// Bearer token required to view the page; without one, the page is served only on loopback
    #[arg(long, env = "HTTP_TOKEN", hide_env_values = true)]
    http_token: Option<String>,
    /// Log level (trace, debug, info, warn, error) or directives such as kvs_infer::detect=debug,info
    #[arg(long, env = "LOG_LEVEL")]
    log_level: Option<String>,
    /// File for records that a sink can never accept [default: dead-letter.jsonl in state.dir]
    #[arg(long, env = "DEAD_LETTER_FILE")]
    dead_letter: Option<PathBuf>,
}

impl RunArgs {
    /// Runs the service until it is stopped.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = new_runtime()?;
        // Before anything that takes time, because SIGHUP ends a process without a handler.
        let hangup = {
            let _entered = runtime.enter();
            signal(SignalKind::hangup())?
        };
        let settings = self.config.load()?;
        let level = self.log_level.as_deref().unwrap_or(settings.log_level.as_str());
        telemetry::log::init(level, settings.log_format, LogOutput::Stdout)?;
        run_on(runtime, self.serve(settings, hangup))
    }

    async fn serve(self, settings: Settings, hangup: Signal) -> anyhow::Result<ExitCode> {
        let token = AccessToken::from_variable(self.http_token.as_deref())?;
        let mut stop = StopSignal::new()?;
        let watch = ConfigWatch::new(self.config.clone(), &settings, hangup).await?;
        let aws = sdk_config(settings.region.as_deref()).await?;
        let spec = self.spec(settings, aws, token)?;
        let mut service = tokio::select! {
            service = Service::start(spec) => service?,
            () = stop.wait() => return Ok(ExitCode::SUCCESS),
        };
        let (changes, watching) = watch.spawn();
        let board = service.board().clone();
        let code = tokio::select! {
            () = follow(&mut service, changes) => ExitCode::SUCCESS,
            () = stop.wait() => ExitCode::SUCCESS,
            () = board.failed() => ExitCode::from(exit::SOFTWARE),
        };
        // The panic hook has already reported a panic of this task.
        let _ended = watching.await;
        Ok(stop_service(service, stop, code).await)
    }

    fn spec(
        self,
        settings: Settings,
        aws: SdkConfig,
        token: Option<AccessToken>,
    ) -> anyhow::Result<ServiceSpec> {
        Ok(ServiceSpec {
            models: self.config.models(Some(&aws))?,
            aws,
            settings,
            http: SocketAddr::new(self.http_host, self.http_port),
            token,
            prometheus: telemetry::metrics::install()?,
            state_dir: self.config.state_dir()?,
            dead_letter: self.dead_letter,
        })
    }
}

/// Stops the service in order, until a further signal ends the process at once. Returns the exit code: `code` unless that happens.
async fn stop_service(service: Service, mut stop: StopSignal, code: ExitCode) -> ExitCode {
    tokio::select! {
        // Undelivered events are logged, stay in the outbox, and are delivered after the next start.
        _remains = service.stop() => code,
        () = stop.wait() => {
            telemetry::StopForced.emit();
            ExitCode::from(exit::UNAVAILABLE)
        }
    }
}

/// Applies each change of the configuration to the service until the watch ends.
async fn follow(service: &mut Service, mut changes: Receiver<ConfigChange>) {
    let mut next = changes.recv().await;
    while let Some(change) = next {
        next = match change {
            Ok(settings) => reload(service, settings, &mut changes).await,
            Err(why) => {
                service.refuse(&why);
                changes.recv().await
            }
        };
    }
}

/// Applies the settings to the service and returns the next change.
///
/// A change that arrives while models are fetched or loaded replaces the current one, because a load may never end.
async fn reload(
    service: &mut Service,
    settings: Settings,
    changes: &mut Receiver<ConfigChange>,
) -> Option<ConfigChange> {
    match prepare(service, settings, changes).await {
        // The replaced settings must not be applied.
        ControlFlow::Break(next) => return next,
        ControlFlow::Continue(Ok(prepared)) => drop(service.take_over(prepared).await),
        ControlFlow::Continue(Err(error)) => service.refuse(&causes(&error)),
    }
    changes.recv().await
}

/// Fetches and loads the models of the settings; breaks with the next change if one replaces the settings.
async fn prepare(
    service: &Service,
    settings: Settings,
    changes: &mut Receiver<ConfigChange>,
) -> ControlFlow<Option<ConfigChange>, Result<PreparedReload, ReloadError>> {
    let (begun, text, version) = (Instant::now(), settings.text().to_owned(), settings.version.clone());
    let mut newest = None;
    // The service continues with the old settings until the new ones are prepared.
    let mut preparing = pin!(service.prepare(settings));
    let prepared = loop {
        let newer = tokio::select! {
            prepared = &mut preparing => break prepared,
            newer = changes.recv() => newer,
        };
        let Some(newer) = newer else { return ControlFlow::Break(None) };
        // A SIGHUP repeats the same text. It must not restart a load that is on its way.
        let is_same = newer.as_ref().is_ok_and(|newer| newer.text() == text && newer.version == version);
        match judge_newer(service, begun.elapsed(), is_same) {
            NewerChange::Repeated => {}
            NewerChange::Replacing => return ControlFlow::Break(Some(newer)),
            NewerChange::Blocked => newest = Some(newer),
        }
    };
    if newest.is_some() { ControlFlow::Break(newest) } else { ControlFlow::Continue(prepared) }
}

/// The effect of a change on the change whose models are fetched or loaded.
enum NewerChange {
    /// None: it repeats the same settings.
    Repeated,
    /// It replaces the other at once.
    Replacing,
    /// It replaces the other as soon as the loads end.
    Blocked,
}

/// Reports a change that arrives `after` the current one, and returns its effect.
fn judge_newer(service: &Service, after: Duration, is_same: bool) -> NewerChange {
    let loading = service.board().loadings().join(", ");
    match service.stuck_loads() {
        stuck if is_same && (stuck.is_some() || after < RELOAD_SHOWN_AFTER) => {
            ReloadWaits { after, loading }.emit();
            NewerChange::Repeated
        }
        None => {
            ReloadReplaced { after, loading }.emit();
            NewerChange::Replacing
        }
        Some(models) => {
            service.refuse(&format!("loading of models {models} does not end: restart kvs-infer"));
            NewerChange::Blocked
        }
    }
}
