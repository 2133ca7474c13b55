//! `sim`: runs a local Kinesis Video Streams for development and tests.

use std::collections::HashSet;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use kvs_sim::{FaultPlan, LiveDelivery, Play, Region, Sim, SimConfig, SimError};

use super::sim_images::SimImages;

/// Runs a local Kinesis Video Streams until Ctrl-C or SIGTERM.
///
/// Set the printed address as the endpoint of any AWS client, such as
///
///   aws --endpoint-url http://127.0.0.1:4567 --region us-east-1 \
///     --no-sign-request kinesisvideo list-streams
///
/// or as AWS_ENDPOINT_URL of the SDKs and of `kvs-infer run`. Requests need no
/// signature; a signed one sees the streams of the region in its signature.
///
/// A stream keeps its newest 512 MiB in memory, for at most the hours of its
/// retention (24 for a stream into which a clip is played).
///
/// Exit codes: 0 stopped by Ctrl-C or SIGTERM; 64 the command line is invalid;
/// 69 the address or a folder cannot be used, or a clip cannot be played.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct SimArgs {
    /// Address and port to listen on; port 0 selects a free port.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:4567")]
    pub(super) listen: SocketAddr,

    /// Serve https with a self-signed certificate, which AWS's producer SDK in C requires.
    #[arg(long)]
    pub(super) tls: bool,

    /// With --tls: file to which the certificate is written, for AWS_CA_BUNDLE.
    #[arg(long, value_name = "FILE", default_value = "kvs-sim.pem", requires = "tls")]
    pub(super) tls_certificate: PathBuf,

    /// Region of the streams into which clips are played, and of requests without a signature.
    #[arg(long, value_name = "REGION", default_value_t)]
    pub(super) region: Region,

    #[command(flatten)]
    plays: Plays,

    /// Delivery of blocks to a reader at the live edge: as they arrive, or with the whole fragment.
    #[arg(long, value_enum, default_value_t = DeliveryArg::Block)]
    pub(super) delivery: DeliveryArg,

    /// Keep streams and fragments in this folder across restarts.
    #[arg(long, value_name = "FOLDER")]
    pub(super) data_dir: Option<PathBuf>,

    /// Inject a fault, such as gate:end=30s or throttle,every=3. Repeatable.
    ///
    /// Without a stream, the fault applies to all streams. Connections of GetMedia: end=AT, break=AT, stall=AT (AT is 5s, 1000b or 3f:
    /// time, bytes or whole fragments), cut=BYTE (inside a block), flip=SHARE (of the bytes), error=ID (an error record in the
    /// response), repeat=FRAGMENTS, drip=BYTES_PER_S. Calls: throttle, connection-limit, moved, unauthorized, expired-token,
    /// wrong-clock, expire=FRAGMENTS (the oldest; alone all but the newest). New fragments: time-back=10s.
    ///
    /// Options follow their fault: count=N (ends after N connections, calls or fragments), after=N (whole fragments of a
    /// connection), every=N and on=OPERATION (calls), seed=N (flip).
    ///
    /// At run time: GET, PUT or DELETE /sim/faults or /sim/faults/STREAM, with
    /// {"faults":[{"kind":"end","value":"30s","count":2}]}.
    #[arg(long, value_name = "[STREAM:]KIND[=VALUE][,...]")]
    pub(super) fault: Vec<FaultPlan>,
}

/// The values of `--play`, at most one per stream.
#[derive(Debug)]
struct Plays(Vec<Play>);

/// The argument `--play` as clap parses it.
#[derive(Debug, Args)]
struct PlayArgs {
    /// Play a clip into a stream at real-time pace, such as gate=clips/gate.mp4,loop. Repeatable, once per stream.
    ///
    /// H.264 or H.265 in mp4 or Matroska, or a dump of GetMedia. `,loop` restarts it at the end, with increasing times.
    #[arg(long, value_name = "NAME=CLIP[,loop]")]
    play: Vec<Play>,
}

impl Args for Plays {
    fn augment_args(command: Command) -> Command {
        PlayArgs::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        PlayArgs::augment_args_for_update(command)
    }
}

impl FromArgMatches for Plays {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let plays = PlayArgs::from_arg_matches(matches)?.play;
        let mut names = HashSet::new();
        match plays.iter().find(|play| !names.insert(&play.stream)) {
            // clap has no rule for this, and a second clip in one stream would have overlapping times.
            None => Ok(Self(plays)),
            Some(Play { stream, .. }) => Err(clap::Error::raw(
                ErrorKind::ValueValidation,
                format!("two --play of stream {stream}: give each clip its own stream\n"),
            )),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The values of `--delivery`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DeliveryArg {
    /// Blocks as they arrive.
    Block,
    /// Whole fragments only.
    Fragment,
}

impl From<DeliveryArg> for LiveDelivery {
    fn from(delivery: DeliveryArg) -> Self {
        match delivery {
            DeliveryArg::Block => Self::Block,
            DeliveryArg::Fragment => Self::Fragment,
        }
    }
}

/// `sim` did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum SimCommandError {
    /// The local KVS did not start, or a clip cannot be played.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// The certificate cannot be written.
    #[error("cannot write the certificate to {}: {source}; choose another file with --tls-certificate", path.display())]
    Certificate {
        /// File of the certificate.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Standard output is closed.
    #[error("cannot print the address: {0}")]
    Print(#[from] io::Error),
}

/// Runs the local KVS until `stop` is ready, and prints its address and streams to standard output.
///
/// Errors: the address cannot be used, a clip cannot be played, or a file cannot be written.
pub(super) async fn run(args: SimArgs, stop: impl Future<Output = ()>) -> Result<(), SimCommandError> {
    let config = SimConfig {
        listen: args.listen,
        tls: args.tls,
        delivery: args.delivery.into(),
        data_dir: args.data_dir,
        faults: args.fault,
        region: args.region,
        images: Some(Arc::new(SimImages)),
        ..SimConfig::default()
    };
    let sim = Sim::start(config)?;
    let started = play_and_print(&sim, args.plays.0, args.tls_certificate).await;
    if started.is_ok() {
        stop.await;
    }
    sim.stop().await;
    started
}

async fn play_and_print(sim: &Sim, plays: Vec<Play>, certificate: PathBuf) -> Result<(), SimCommandError> {
    for play in plays {
        sim.play(play).await?;
    }
    let mut out = io::stdout().lock();
    // Written before the address is printed: a script may start its client as soon as it reads the line.
    if let Some(pem) = sim.certificate_pem() {
        std::fs::write(&certificate, pem)
            .map_err(|source| SimCommandError::Certificate { path: certificate.clone(), source })?;
        writeln!(out, "AWS_CA_BUNDLE={}", certificate.display())?;
    }
    writeln!(out, "AWS_ENDPOINT_URL={}", sim.endpoint())?;
    for stream in sim.store().streams() {
        writeln!(out, "stream {}", stream.identity().name)?;
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        sim: SimArgs,
    }

    #[test]
    fn faults_apply_to_one_stream_or_to_all() {
        let line = |fault: &str| Line::try_parse_from(["sim", "--fault", fault]);
        for (fault, stream, faults) in [
            ("gate:end=5s,count=2", Some("gate"), "end=5s,count=2"),
            ("throttle,every=3,flip=0.1,seed=7", None, "throttle,every=3,flip=0.1,seed=7"),
        ] {
            let plan = &line(fault).unwrap().sim.fault[0];
            assert_eq!((plan.stream.as_deref(), plan.faults.to_string().as_str()), (stream, faults));
        }
        for (fault, words) in
            [("explode", "is not a fault"), ("end=5", "such as 5s"), ("bad name:moved", "bad name")]
        {
            let error = line(fault).unwrap_err();
            assert!(error.use_stderr() && error.to_string().contains(words), "{fault}: {error}");
        }
    }

    #[test]
    fn an_invalid_play_is_a_usage_error() {
        let line = |plays: &[&str]| {
            let plays = plays.iter().flat_map(|play| ["--play", play]);
            Line::try_parse_from(["sim"].into_iter().chain(plays))
        };
        let sim = line(&["a=one.mp4,loop", "b=one.mp4"]).unwrap().sim;
        assert_eq!(sim.plays.0.iter().map(|play| play.looped).collect::<Vec<_>>(), [true, false]);
        for (plays, words) in [
            (&["a=one.mp4", "a=two.mp4"][..], "two --play of stream a"),
            (&["a=one.mp4,looop"], ",loop"),
            (&["bad name!=one.mp4"], "bad name!"),
        ] {
            let error = line(plays).unwrap_err();
            assert!(error.use_stderr() && error.to_string().contains(words), "{plays:?}: {error}");
        }
    }
}
