//! Wrong tokens: how many an address may try, and the warning of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::ends::network_of;
use super::ration::Ration;
use crate::telemetry::{SignInRefused, SignInsRefused};

/// Wrong tokens of an address in a row before its tries are slowed down to one a second.
const BURST: f64 = 10.0;

/// Addresses that are kept apart; of more, those that were heard last.
const ADDRESSES: usize = 1024;

/// The wrong tokens of each address.
#[derive(Default)]
pub(super) struct WrongTokens {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    buckets: HashMap<IpAddr, Bucket>,
    ration: Ration,
    last: Option<IpAddr>,
}

/// Tries that refill by one a second.
struct Bucket {
    left: f64,
    at: Instant,
}

impl WrongTokens {
    /// Counts a wrong token; returns `true` where the address has tried too many.
    pub(super) fn count(&self, peer: IpAddr, now: Instant) -> bool {
        let mut inner = self.lock();
        SignInRefused.emit();
        inner.last = Some(peer);
        if let Some(count) = inner.ration.count(now) {
            SignInsRefused { count, peer }.emit();
        }
        !inner.take(network_of(peer), now)
    }

    /// Logs what was not logged yet, once a minute is over.
    pub(super) fn report(&self, now: Instant) {
        let mut inner = self.lock();
        let Some(peer) = inner.last else { return };
        if let Some(count) = inner.ration.due(now) {
            SignInsRefused { count, peer }.emit();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes a try of the network; returns whether there was one.
    fn take(&mut self, network: IpAddr, now: Instant) -> bool {
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
        if self.buckets.len() < ADDRESSES {
            return;
        }
        self.buckets.retain(|_, bucket| bucket.refilled(now) < BURST);
        while self.buckets.len() >= ADDRESSES {
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
    fn each_address_has_tries_of_its_own() {
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
    fn what_is_kept_of_strangers_is_bounded() {
        let (tokens, start) = (WrongTokens::default(), Instant::now());
        for n in 0..5_000_u32 {
            tokens.count(IpAddr::from(n.to_be_bytes()), start);
        }
        assert_eq!(tokens.lock().buckets.len(), ADDRESSES);
    }
}
