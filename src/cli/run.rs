//! `run`: the service.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use super::aws::sdk_config;
use super::config_args::ConfigArgs;
use super::config_watch::ConfigWatch;
use super::{StopSignal, exit, run_on_runtime};
use crate::base::causes;
use crate::config::Settings;
use crate::http::AccessToken;
use crate::service::{Service, ServiceSpec};
use crate::telemetry;
use crate::telemetry::log::LogOutput;

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
        let settings = self.config.load()?;
        let level = self.log_level.as_deref().unwrap_or(settings.log_level.as_str());
        telemetry::log::init(level, settings.log_format, LogOutput::Stdout)?;
        run_on_runtime(self.serve(settings))
    }

    async fn serve(self, settings: Settings) -> anyhow::Result<ExitCode> {
        let token = AccessToken::from_variable(self.http_token.as_deref())?;
        let mut stop = StopSignal::new()?;
        let mut watch = ConfigWatch::new(self.config.clone(), settings.text()).await?;
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
        tokio::select! {
            () = follow(&mut service, &mut watch) => {}
            () = stop.wait() => {}
        }
        tokio::select! {
            // What remains is in the outbox, told of in the log, and delivered after the next start.
            _remains = service.stop() => Ok(ExitCode::SUCCESS),
            () = stop.wait() => {
                telemetry::StoppedAtOnce.emit();
                Ok(ExitCode::from(exit::UNAVAILABLE))
            }
        }
    }
}

/// Has the service take over what the configuration becomes. Does not end.
async fn follow(service: &mut Service, watch: &mut ConfigWatch) {
    loop {
        let taken = match watch.changed().await {
            Ok(settings) => service.reload(settings).await.map_err(|error| causes(&error)),
            Err(report) => Err(report),
        };
        if let Err(why) = taken {
            service.refuse(&why);
        }
    }
}
