//! A rate limit of wrong tokens per network, with warnings.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Instant;

use super::endpoints::network_of;
use super::warning_limit::WarningLimit;
use crate::base::lock;
use crate::telemetry::{SignInRefused, SignInsRefused};

/// Wrong tokens that a network may send at once; further ones are limited to one per second.
const BURST: f64 = 10.0;

/// Maximum number of networks that are tracked; of more, the most recent ones.
const MAX_NETWORKS: usize = 1024;

/// The wrong tokens of each network.
#[derive(Default)]
pub(super) struct WrongTokens {
    inner: Mutex<WrongTokenState>,
}

#[derive(Default)]
struct WrongTokenState {
    buckets: HashMap<IpAddr, Bucket>,
    limit: WarningLimit,
    last: Option<IpAddr>,
}

/// A token bucket that refills by one per second.
struct Bucket {
    left: f64,
    at: Instant,
}

impl WrongTokens {
    /// Counts a wrong token; returns `true` if the network has sent too many.
    pub(super) fn count(&self, peer: IpAddr, now: Instant) -> bool {
        let mut inner = lock(&self.inner);
        SignInRefused.emit();
        inner.last = Some(peer);
        if let Some(count) = inner.limit.count(now) {
            SignInsRefused { count, peer }.emit();
        }
        !inner.take(network_of(peer), now)
    }

    /// Logs the wrong tokens since the last warning, if the interval is over.
    pub(super) fn report(&self, now: Instant) {
        let mut inner = lock(&self.inner);
        let Some(peer) = inner.last else { return };
        if let Some(count) = inner.limit.due(now) {
            SignInsRefused { count, peer }.emit();
        }
    }
}

impl WrongTokenState {
    /// Takes one from the bucket of the network; returns whether there was one.
    fn take(&mut self, network: IpAddr, now: Instant) -> bool {
        // Only a new network can exceed the limit.
        if !self.buckets.contains_key(&network) {
            self.make_room(now);
        }
        let bucket = self.buckets.entry(network).or_insert(Bucket { left: BURST, at: now });
        bucket.left = bucket.refilled(now);
        bucket.at = now;
        let has_one = bucket.left >= 1.0;
        if has_one {
            bucket.left -= 1.0;
        }
        has_one
    }

    fn make_room(&mut self, now: Instant) {
        if self.buckets.len() < MAX_NETWORKS {
            return;
        }
        // A full bucket is the same as none.
        self.buckets.retain(|_, bucket| bucket.refilled(now) < BURST);
        while self.buckets.len() >= MAX_NETWORKS {
            // An attacker with many networks evicts others at most, and never the check itself.
            let oldest = self.buckets.iter().min_by_key(|(_, bucket)| bucket.at).map(|(peer, _)| *peer);
            let Some(oldest) = oldest else { return };
            self.buckets.remove(&oldest);
        }
    }
}

impl Bucket {
    fn refilled(&self, now: Instant) -> f64 {
        (self.left + now.saturating_duration_since(self.at).as_secs_f64()).min(BURST)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_address_has_a_limit_of_its_own() {
        let (tokens, start) = (WrongTokens::default(), Instant::now());
        let [one, two]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        let too_many: Vec<bool> = (0..12).map(|_| tokens.count(one, start)).collect();
        assert_eq!(too_many.iter().filter(|many| **many).count(), 2, "{too_many:?}");
        assert!(!tokens.count(two, start));
        let later = start + Duration::from_secs(2);
        assert_eq!([(); 3].map(|()| tokens.count(one, later)), [false, false, true]);
    }

    #[test]
    fn a_network_of_addresses_counts_as_one() {
        let (tokens, start) = (WrongTokens::default(), Instant::now());
        let too_many = (0..20).map(|n| tokens.count(format!("2001:db8::{n}").parse().unwrap(), start));
        assert_eq!(too_many.filter(|many| *many).count(), 10);
        assert!(!tokens.count("2001:db8:0:1::1".parse().unwrap(), start));
    }

    #[test]
    fn the_number_of_tracked_networks_is_bounded() {
        let (tokens, start) = (WrongTokens::default(), Instant::now());
        for n in 0..5_000_u32 {
            tokens.count(IpAddr::from(n.to_be_bytes()), start);
        }
        assert_eq!(lock(&tokens.inner).buckets.len(), MAX_NETWORKS);
    }
}
