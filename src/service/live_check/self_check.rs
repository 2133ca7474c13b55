//! The running service checks itself, for `/api/check`.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::SdkConfig;
use futures_util::{FutureExt, StreamExt};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{probe_results, service_probes};
use crate::base::{Finding, Probe, ProbeOccasion, ProbeResult, lock};
use crate::config::Settings;
use crate::delivery::StateSpec;
use crate::http::RunProbes;

/// Limit on all probes together, below that of an answer of HTTP. With eight at a time, several hundred streams take less.
const RUN_LIMIT: Duration = Duration::from_secs(15);

/// The probes of the current configuration.
pub(in crate::service) struct SelfCheck {
    settings: Arc<Mutex<Settings>>,
    aws: SdkConfig,
    state: StateSpec,
    stop: CancellationToken,
}

impl SelfCheck {
    /// Returns the probes of these settings, which end at `stop`. Nothing is called yet.
    pub(in crate::service) fn new(
        settings: &Settings,
        aws: &SdkConfig,
        state: StateSpec,
        stop: &CancellationToken,
    ) -> Self {
        let settings = Arc::new(Mutex::new(settings.clone()));
        Self { settings, aws: aws.clone(), state, stop: stop.clone() }
    }

    /// Sets the current configuration.
    pub(in crate::service) fn set_settings(&self, settings: &Settings) {
        *lock(&self.settings) = settings.clone();
    }

    /// Returns the function with which HTTP runs the probes, on the current runtime.
    pub(in crate::service) fn run(&self) -> RunProbes {
        let Self { settings, aws, state, stop } = self;
        let (runtime, settings) = (Handle::current(), Arc::clone(settings));
        let (aws, state, stop) = (aws.clone(), state.clone(), stop.clone());
        Arc::new(move || {
            let (settings, state) = (lock(&settings).clone(), state.clone());
            let (aws, stop) = (aws.clone(), stop.clone());
            // A run ends by its limit, also where no client waits for it any more. New clients read certificates, for which the thread of
            // HTTP has no time.
            let running = runtime.spawn(async move {
                let probes = service_probes(&settings, &aws, state, ProbeOccasion::Service);
                stop.run_until_cancelled(run_within(probes, aws, RUN_LIMIT)).await
            });
            let ended = async { running.await.ok().flatten().ok_or_else(|| "the service stops".to_owned()) };
            ended.boxed()
        })
    }
}

/// Runs the probes for at most `limit`, and returns their results in the order of the probes.
async fn run_within(probes: Vec<Probe>, aws: SdkConfig, limit: Duration) -> Vec<ProbeResult> {
    let mut results: Vec<ProbeResult> = probes.iter().map(|probe| not_run(probe, limit)).collect();
    let mut running = pin!(probe_results(probes, aws));
    let collecting = async {
        while let Some((place, result)) = running.next().await {
            results[place] = result;
        }
    };
    // The results of those that have not ended stay as they are.
    let _all_in_time = timeout(limit, collecting).await;
    results
}

/// Returns the result of a probe for which the time was too short.
fn not_run(probe: &Probe, limit: Duration) -> ProbeResult {
    let finding = Finding::warn(format!("no answer within the {} s of all probes", limit.as_secs()))
        .with_remedy("run kvs-infer check --live, which gives each probe its own time");
    ProbeResult { name: probe.name.clone(), asks: probe.asks, took: limit, finding }
}

#[cfg(test)]
mod tests {
    use aws_config::BehaviorVersion;

    use super::*;
    use crate::base::{Asks, Verdict};

    #[tokio::test]
    async fn probes_that_take_too_long_have_a_line_and_hold_up_no_other() {
        let aws = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
        let silent = || Probe::new("silent", Asks::Host, std::future::pending());
        let mut probes: Vec<Probe> = (0..3).map(|_| silent()).collect();
        probes.push(Probe::new("local", Asks::Host, std::future::ready(Finding::ok("fine"))));
        let results = run_within(probes, aws, Duration::from_millis(100)).await;
        let lines: Vec<(&str, Verdict)> =
            results.iter().map(|result| (result.name.as_str(), result.finding.verdict)).collect();
        let silent = ("silent", Verdict::Warn);
        assert_eq!(lines, [silent, silent, silent, ("local", Verdict::Ok)]);
        assert!(
            results[0].finding.sentence().contains("no answer within the 0 s of all probes; run kvs-infer")
        );
    }
}
