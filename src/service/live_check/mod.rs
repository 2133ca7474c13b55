//! The probes of everything that a service uses, and their run: for `check --live`, and for the running service itself.
//!
//! Models are not among them: `check --live` loads them, and the running service has loaded its own.

mod clock;
mod credentials;
mod host;
mod self_check;

pub(super) use self_check::SelfCheck;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ::sharing::CameraKey;
use aws_config::SdkConfig;
use futures_util::{Stream, StreamExt, stream};
use kvs_config::without_address_secrets;
use tokio::time::timeout;

use super::outbox_spec;
use crate::base::{Asks, Finding, Probe, ProbeOccasion, ProbeResult, Verdict};
use crate::config::{CameraSpec, Settings, StreamProtocol};
use crate::delivery::{Clients, StateSpec, probes};
use crate::sharing::{self, ProbedPool};
use crate::sinks::history_probe;
use crate::source::Kvs;

/// Maximum number of concurrent probes, so that no service sees more than a few calls.
const MAX_CONCURRENT: usize = 8;
/// Timeout of a probe.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the probes of everything but the models.
pub(crate) fn service_probes(
    settings: &Settings,
    aws: &SdkConfig,
    state: StateSpec,
    occasion: ProbeOccasion,
) -> Vec<Probe> {
    let mut found = vec![credentials::probe(aws)];
    found.extend(stream_probes(settings, aws, occasion));
    // The same spec that `run` starts, so that exactly its sinks are probed.
    let outbox = outbox_spec(settings, aws, state, None);
    found.extend(probes(&outbox, occasion));
    if let Some(clients) = &outbox.clients {
        found.extend(
            settings
                .publish
                .history_table(settings.sharing.is_some())
                .map(|table| history_probe(clients, table)),
        );
        found.extend(pool_probes(settings, clients));
    }
    found.push(clock::probe(aws));
    found.extend(host::probes(settings));
    found
}

/// Runs the probes, several at once, and yields the place of each in `probes` with its result, as it arrives.
pub(crate) fn probe_results(
    probes: Vec<Probe>,
    aws: SdkConfig,
) -> impl Stream<Item = (usize, ProbeResult)> + Send {
    let checked = async move {
        let has_credentials = timeout(PROBE_TIMEOUT, credentials::exist(&aws)).await.unwrap_or(false);
        stream::iter(probes.into_iter().enumerate()).map(move |(place, probe)| async move {
            let probe = if has_credentials { probe } else { without_credentials(probe) };
            (place, run_probe(probe, PROBE_TIMEOUT).await)
        })
    };
    stream::once(checked).flat_map(|running| running.buffer_unordered(MAX_CONCURRENT))
}

/// Runs a probe for at most `limit`.
pub(crate) async fn run_probe(probe: Probe, limit: Duration) -> ProbeResult {
    let begun = Instant::now();
    let finding = timeout(limit, probe.finding).await.unwrap_or_else(|_| no_answer(limit));
    let finding = cleaned(lowered(finding, probe.only_for));
    ProbeResult { name: probe.name, asks: probe.asks, took: begun.elapsed(), finding }
}

fn no_answer(limit: Duration) -> Finding {
    Finding::fail(format!("no answer within {} s", limit.as_secs()))
        .with_remedy("check the network and the load of this host")
}

/// Lowers the failure of a dependency that only some features need to a warning that names them.
fn lowered(finding: Finding, only_for: Option<&'static str>) -> Finding {
    match only_for.filter(|_| finding.verdict == Verdict::Fail) {
        Some(features) => Finding {
            verdict: Verdict::Warn,
            text: format!("{} (needed only for {features})", finding.text),
            ..finding
        },
        None => finding,
    }
}

/// Returns the finding on one line and without secrets: services and libraries send line breaks, and quote addresses.
fn cleaned(finding: Finding) -> Finding {
    let clean = |text: String| {
        without_address_secrets(&text.split_whitespace().collect::<Vec<_>>().join(" ")).into_owned()
    };
    Finding { verdict: finding.verdict, text: clean(finding.text), remedy: finding.remedy.map(clean) }
}

/// Replaces a probe of AWS, other than that of the credentials, by a failure: without a signature AWS refuses each request.
fn without_credentials(probe: Probe) -> Probe {
    if probe.asks != Asks::Aws || probe.name == credentials::NAME {
        return probe;
    }
    let finding = Finding::fail("not probed: there are no credentials; see the line `credentials`");
    Probe { finding: Box::pin(std::future::ready(finding)), ..probe }
}

/// Returns the probes of the cameras' streams. The running service opens no connection besides those of its cameras, of which a
/// stream allows few.
fn stream_probes(settings: &Settings, aws: &SdkConfig, occasion: ProbeOccasion) -> Vec<Probe> {
    let kvs = Kvs::new(aws);
    // Several cameras may read one stream: it is probed once per playback mode.
    let read_by = |camera: &CameraSpec| (camera.stream.clone(), camera.mode == StreamProtocol::Hls);
    let streams: BTreeSet<(String, bool)> = settings.cameras.iter().map(read_by).collect();
    let of_stream = |(stream, by_hls): &(String, bool)| {
        let opened = match (occasion, by_hls) {
            (ProbeOccasion::Service, _) => None,
            (ProbeOccasion::Command, true) => Some(kvs.session_probe(stream)),
            (ProbeOccasion::Command, false) => Some(kvs.footage_probe(stream)),
        };
        opened.into_iter().chain(kvs.stored_probes(stream, *by_hls))
    };
    let (mut found, mut names) = (Vec::new(), BTreeSet::new());
    // Both playback modes read the same archive.
    found.extend(streams.iter().flat_map(of_stream).filter(|probe| names.insert(probe.name.clone())));
    found
}

fn pool_probes(settings: &Settings, clients: &Clients) -> Vec<Probe> {
    let Settings { sharing, state, cameras, .. } = settings;
    let Some((sharing, items_table)) = sharing.as_ref().zip(state.ddb_table.as_deref()) else {
        return Vec::new();
    };
    let cameras = cameras.iter().map(|camera| CameraKey::new(camera.id.as_str())).collect();
    let (members_table, pool) = (&*sharing.table, &*sharing.pool);
    sharing::probes(clients, ProbedPool { items_table, members_table, pool, cameras })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(finding: Finding) -> Probe {
        Probe::new("s3 read", Asks::Aws, std::future::ready(finding))
    }

    #[tokio::test]
    async fn a_failure_of_what_only_a_feature_needs_is_a_warning_that_names_it() {
        let refused = || Finding::fail("refused").with_remedy("allow it");
        for (name, probe, verdict, sentence) in [
            ("needed", probe(refused()), Verdict::Fail, "refused; allow it"),
            (
                "for a feature",
                probe(refused()).only_for("pictures"),
                Verdict::Warn,
                "refused (needed only for pictures); allow it",
            ),
            ("fine", probe(Finding::ok("read")).only_for("pictures"), Verdict::Ok, "read"),
            (
                "without credentials",
                without_credentials(probe(Finding::ok("read")).only_for("pictures")),
                Verdict::Warn,
                "not probed: there are no credentials; see the line `credentials` (needed only for pictures)",
            ),
            (
                "no answer",
                Probe::new("s3 read", Asks::Aws, std::future::pending()).only_for("pictures"),
                Verdict::Warn,
                "no answer within 0 s (needed only for pictures); check the network and the load of this host",
            ),
        ] {
            let ProbeResult { finding, .. } = run_probe(probe, Duration::from_millis(10)).await;
            assert_eq!((finding.verdict, finding.sentence().as_str()), (verdict, sentence), "{name}");
        }
    }

    #[tokio::test]
    async fn texts_of_services_are_one_line_without_secrets() {
        let text = "two\nlines from  https://user:secret@proxy.test/";
        let result = run_probe(probe(Finding::warn(text).with_remedy("fix\nit")), PROBE_TIMEOUT).await;
        assert_eq!(result.finding.remedy.as_deref(), Some("fix it"));
        let text = result.finding.text;
        assert!(text.starts_with("two lines from https://") && !text.contains("secret"), "{text}");
    }
}
