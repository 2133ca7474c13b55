//! `run`: the service.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;

use super::aws::sdk_config;
use super::config_args::ConfigArgs;
use super::config_watch::{ConfigChange, ConfigWatch};
use super::{StopSignal, exit, new_runtime, run_on};
use crate::base::causes;
use crate::config::Settings;
use crate::http::AccessToken;
use crate::service::{Service, ServiceSpec};
use crate::status::RELOAD_SHOWN_AFTER;
use crate::telemetry;
use crate::telemetry::log::LogOutput;
use crate::telemetry::service::{ReloadReplaced, ReloadWaits};

/// Reads the cameras, looks, decides and delivers, until SIGTERM or Ctrl-C.
///
/// AWS credentials come from where every AWS tool finds them (environment, profile, task role). `AWS_ENDPOINT_URL` and
/// its per-service forms (`AWS_ENDPOINT_URL_KINESIS_VIDEO`, `_KINESIS`, `_S3`) point it at other servers. `AWS_CA_BUNDLE` names
/// certificates to trust beside the system's; `HTTPS_PROXY` and `NO_PROXY` hold, but not for this machine.
///
/// The configuration is read again when its file changes (in S3 or on the web: within a minute) and at SIGHUP. It is checked as
/// a whole first: one with a mistake changes nothing, is told of in the log and shown on /healthz until it is mended. Of a
/// good one only the cameras that differ are touched; `cameras` and `models` can change, all else asks for a restart.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The address that HTTP listens on
    #[arg(long, env = "HTTP_HOST", default_value = "0.0.0.0")]
    http_host: IpAddr,
    /// The port that HTTP listens on; 0 takes a free one
    #[arg(long, env = "HTTP_PORT", default_value_t = 8080)]
    http_port: u16,
    /// Who knows it may see the page; without it only a listener on loopback shows the page
    #[arg(long, env = "HTTP_TOKEN", hide_env_values = true)]
    http_token: Option<String>,
    /// trace, debug, info, warn or error, or directives such as kvs_infer::detect=debug,info
    #[arg(long, env = "LOG_LEVEL")]
    log_level: Option<String>,
    /// Where records go that no sink can ever take [default: dead-letter.jsonl in state.dir]
    #[arg(long, env = "DEAD_LETTER_FILE")]
    dead_letter: Option<PathBuf>,
}

impl RunArgs {
    /// Runs the service to its end.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = new_runtime()?;
        // Before anything that takes time: without a handler SIGHUP ends the process.
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
        let watch = ConfigWatch::new(self.config.clone(), settings.text(), hangup).await?;
        let aws = sdk_config(settings.region.as_deref()).await?;
        let spec = ServiceSpec {
            models: self.config.models(Some(&aws))?,
            aws,
            settings,
            http: SocketAddr::new(self.http_host, self.http_port),
            token,
            prometheus: telemetry::metrics::install()?,
            state_dir: self.config.state_dir()?,
            dead_letter: self.dead_letter,
        };
        let mut service = tokio::select! {
            service = Service::start(spec) => service?,
            () = stop.wait() => return Ok(ExitCode::SUCCESS),
        };
        let (changes, watching) = watch.spawn();
        tokio::select! {
            () = follow(&mut service, changes) => {}
            () = stop.wait() => {}
        }
        // A panic in it was reported by the panic hook.
        let _ended = watching.await;
        tokio::select! {
            // What remains is in the outbox, told of in the log, and delivered after the next start.
            _remains = service.stop() => Ok(ExitCode::SUCCESS),
            () = stop.wait() => {
                telemetry::StopForced.emit();
                Ok(ExitCode::from(exit::UNAVAILABLE))
            }
        }
    }
}

/// Has the service take over what the configuration becomes, until there are no more changes.
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

/// Has the service take the settings over, and returns the next change. One that comes while their models are fetched or loaded takes
/// their place, since a load may never end.
async fn reload(
    service: &mut Service,
    settings: Settings,
    changes: &mut Receiver<ConfigChange>,
) -> Option<ConfigChange> {
    let (begun, text) = (Instant::now(), settings.text().to_owned());
    let mut newest = None;
    let prepared = {
        let mut preparing = pin!(service.prepare(settings));
        loop {
            let newer = tokio::select! {
                prepared = &mut preparing => break prepared,
                newer = changes.recv() => newer?,
            };
            let (after, loading) = (begun.elapsed(), service.board().loadings().join(", "));
            let is_same = newer.as_ref().is_ok_and(|newer| newer.text() == text);
            match service.stuck_loads() {
                stuck if is_same && (stuck.is_some() || after < RELOAD_SHOWN_AFTER) => {
                    ReloadWaits { after, loading }.emit();
                }
                None => {
                    ReloadReplaced { after, loading }.emit();
                    return Some(newer);
                }
                Some(models) => {
                    service.refuse(&format!("loading models {models} does not end: restart kvs-infer"));
                    newest = Some(newer);
                }
            }
        }
    };
    if newest.is_some() {
        return newest;
    }
    match prepared {
        Ok(prepared) => drop(service.take_over(prepared).await),
        Err(error) => service.refuse(&causes(&error)),
    }
    changes.recv().await
}
