//! Connection slots: how many connections each kind of client may have, and which one is closed when there is no free slot.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;

use super::endpoints::{Endpoints, network_of};
use crate::base::lock;

/// The maximum number of connections per kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionLimits {
    /// Clients of this host. They have slots of their own, so that the container's health check is answered while other hosts hold all
    /// of theirs.
    this_host: usize,
    /// All other hosts together.
    other_hosts: usize,
    /// One network of another host (an IPv4 address, an IPv6 /64), without the connections that have shown the token: those may be many
    /// users behind one load balancer.
    per_peer: usize,
}

impl ConnectionLimits {
    /// Returns the default limits, or lower ones where this process may open few files, which cameras and sinks need more.
    pub(super) fn of_this_process() -> Self {
        Self::within(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    fn within(open_files: u64) -> Self {
        let files = usize::try_from(open_files).unwrap_or(usize::MAX);
        // A quarter of the files for HTTP: cameras, sinks and models need the rest.
        let other_hosts = (files / 4).clamp(8, 256);
        Self { this_host: (files / 8).clamp(4, 64), other_hosts, per_peer: 16.min(other_hosts / 2) }
    }
}

/// The current activity of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionActivity {
    /// The server waits for the head or the body of a request.
    Waiting,
    /// The client waits for an answer, or receives it.
    Answering,
    /// The client follows the events.
    Following,
}

/// The time after which a connection that receives an answer or follows the events may be closed for another one. A follower
/// reconnects by itself.
const LONG_ANSWER: Duration = Duration::from_secs(10);

/// The connection slots of the server.
pub(super) struct ConnectionSlots {
    limits: ConnectionLimits,
    open: Mutex<OpenConnections>,
}

#[derive(Default)]
struct OpenConnections {
    last_number: u64,
    by_number: BTreeMap<u64, OpenConnection>,
}

struct OpenConnection {
    client: ClientNetwork,
    has_token: bool,
    activity: ConnectionActivity,
    since: Instant,
    close: Arc<Notify>,
}

impl OpenConnection {
    /// Returns the key of the order in which connections are closed; `None`: this one stays.
    fn rank(&self, now: Instant) -> Option<(bool, u8, Instant)> {
        let is_long = now.saturating_duration_since(self.since) >= LONG_ANSWER;
        let rank = match self.activity {
            ConnectionActivity::Waiting => 0,
            ConnectionActivity::Answering if is_long => 1,
            ConnectionActivity::Following if is_long => 2,
            ConnectionActivity::Answering | ConnectionActivity::Following => return None,
        };
        // Those without the token are closed first, then by activity, then the one that has been at it for the longest time.
        Some((self.has_token, rank, self.since))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientNetwork {
    ThisHost,
    Other(IpAddr),
}

impl ClientNetwork {
    fn of(endpoints: Endpoints) -> Self {
        match endpoints.are_of_this_host() {
            true => Self::ThisHost,
            false => Self::Other(network_of(endpoints.peer)),
        }
    }
}

/// The slot of a connection, which is free again when this is dropped.
pub(super) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    number: u64,
    close: Arc<Notify>,
}

impl ConnectionSlots {
    pub(super) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default() })
    }

    /// Returns a slot for a connection. Where none is free, the connection of the same kind that has kept the server waiting for the
    /// longest time is closed; `None`: all are being answered.
    pub(super) fn admit(self: &Arc<Self>, endpoints: Endpoints, now: Instant) -> Option<ConnectionSlot> {
        let mut open = lock(&self.open);
        let client = ClientNetwork::of(endpoints);
        if !open.make_room(client, self.limits, now) {
            return None;
        }
        let (number, close) = open.add(client, now);
        Some(ConnectionSlot { slots: Arc::clone(self), number, close })
    }

    /// Closes the connection that has kept the server waiting for the longest time, for want of file descriptors.
    pub(super) fn shrink(&self, now: Instant) {
        lock(&self.open).close_one(now, |_| true);
    }
}

impl OpenConnections {
    /// Keeps the numbers of the connections below the limits of `client`; returns whether they are below.
    fn make_room(&mut self, client: ClientNetwork, limits: ConnectionLimits, now: Instant) -> bool {
        let is_of_other_host = |other: &OpenConnection| other.client != ClientNetwork::ThisHost;
        let counts_for_peer = |other: &OpenConnection| other.client == client && !other.has_token;
        match client {
            ClientNetwork::ThisHost => {
                self.keep_below(limits.this_host, now, |other| !is_of_other_host(other))
            }
            ClientNetwork::Other(_) => {
                self.keep_below(limits.per_peer, now, counts_for_peer)
                    && self.keep_below(limits.other_hosts, now, is_of_other_host)
            }
        }
    }

    /// Adds a connection; returns its number, and the signal that closes it.
    fn add(&mut self, client: ClientNetwork, now: Instant) -> (u64, Arc<Notify>) {
        self.last_number += 1;
        let (number, close) = (self.last_number, Arc::new(Notify::new()));
        let connection = OpenConnection {
            client,
            has_token: false,
            activity: ConnectionActivity::Waiting,
            since: now,
            close: Arc::clone(&close),
        };
        self.by_number.insert(number, connection);
        (number, close)
    }

    /// Keeps the number of the connections that `of` selects below `max`, by closing one; returns whether it is below.
    fn keep_below(&mut self, max: usize, now: Instant, of: impl Fn(&OpenConnection) -> bool) -> bool {
        let count = self.by_number.values().filter(|connection| of(connection)).count();
        count < max || self.close_one(now, of)
    }

    /// Closes one of the connections that `of` selects; returns `false` where all of them stay.
    fn close_one(&mut self, now: Instant, of: impl Fn(&OpenConnection) -> bool) -> bool {
        let candidates = self.by_number.iter().filter(|(_, connection)| of(connection));
        let ranked = candidates.filter_map(|(number, connection)| Some((connection.rank(now)?, *number)));
        let Some((_, number)) = ranked.min() else { return false };
        // The slot is free at once: the task of the connection ends soon after.
        if let Some(connection) = self.by_number.remove(&number) {
            connection.close.notify_one();
        }
        true
    }
}

impl ConnectionSlot {
    /// Records the current activity of the connection.
    pub(super) fn set(&self, activity: ConnectionActivity, now: Instant) {
        if let Some(connection) = lock(&self.slots.open).by_number.get_mut(&self.number) {
            (connection.activity, connection.since) = (activity, now);
        }
    }

    /// Records that the connection has shown the token.
    pub(super) fn set_has_token(&self) {
        if let Some(connection) = lock(&self.slots.open).by_number.get_mut(&self.number) {
            connection.has_token = true;
        }
    }

    /// Resolves when the connection is to be closed.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        lock(&self.slots.open).by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits { this_host: 2, other_hosts: 4, per_peer: 2 };

    fn endpoints(peer: &str) -> Endpoints {
        Endpoints { peer: peer.parse().unwrap(), local: "10.0.0.1".parse().unwrap() }
    }

    fn is_closed(slot: &ConnectionSlot) -> bool {
        !lock(&slot.slots.open).by_number.contains_key(&slot.number)
    }

    #[test]
    fn the_connection_that_waits_for_the_longest_time_is_closed_first() {
        let (slots, start) = (ConnectionSlots::new(LIMITS), Instant::now());
        let at = |s: u64| start + Duration::from_secs(s);
        let first = slots.admit(endpoints("10.0.0.2"), at(0)).unwrap();
        let second = slots.admit(endpoints("10.0.0.2"), at(1)).unwrap();
        let third = slots.admit(endpoints("10.0.0.2"), at(2)).unwrap();
        assert_eq!([&first, &second, &third].map(is_closed), [true, false, false]);
        second.set(ConnectionActivity::Answering, at(3));
        third.set(ConnectionActivity::Following, at(3));
        assert!(slots.admit(endpoints("10.0.0.2"), at(4)).is_none(), "both are being answered");
        assert!(slots.admit(endpoints("10.0.0.3"), at(4)).is_some(), "another address");
        assert!(slots.admit(endpoints("10.0.0.2"), at(13)).is_some(), "an answer takes too long");
        assert_eq!([&second, &third].map(is_closed), [true, false]);
    }

    #[test]
    fn connections_with_the_token_do_not_count_for_their_address() {
        let (slots, start) = (ConnectionSlots::new(LIMITS), Instant::now());
        let later = start + LONG_ANSWER;
        let known: Vec<ConnectionSlot> = (0..3)
            .map(|_| {
                let slot = slots.admit(endpoints("10.0.0.2"), start).unwrap();
                slot.set_has_token();
                slot.set(ConnectionActivity::Following, start);
                slot
            })
            .collect();
        let unknown = slots.admit(endpoints("10.0.0.2"), start).unwrap();
        assert!(known.iter().all(|slot| !is_closed(slot)));
        let next = slots.admit(endpoints("10.0.0.3"), later).unwrap();
        assert!(is_closed(&unknown), "unknown ones leave first");
        next.set(ConnectionActivity::Answering, later);
        let _last = slots.admit(endpoints("10.0.0.4"), later).unwrap();
        assert_eq!(known.iter().filter(|slot| is_closed(slot)).count(), 1, "a follower comes back");
    }

    #[test]
    fn other_hosts_take_no_slot_of_this_host() {
        let (slots, start) = (ConnectionSlots::new(LIMITS), Instant::now());
        let others: Vec<ConnectionSlot> =
            (2..6).map(|n| slots.admit(endpoints(&format!("10.0.0.{n}")), start).unwrap()).collect();
        others.iter().for_each(|slot| slot.set(ConnectionActivity::Answering, start));
        assert!(slots.admit(endpoints("10.0.0.9"), start).is_none());
        let own: Vec<ConnectionSlot> =
            (0..3).map(|_| slots.admit(endpoints("127.0.0.1"), start).unwrap()).collect();
        assert_eq!(own.iter().map(is_closed).collect::<Vec<_>>(), [true, false, false]);
        drop(others);
        assert!(slots.admit(endpoints("10.0.0.9"), start).is_some());
    }

    #[test]
    fn a_slot_is_free_again_when_its_connection_ends() {
        let (slots, start) = (ConnectionSlots::new(LIMITS), Instant::now());
        for _ in 0..100 {
            let slot = slots.admit(endpoints("10.0.0.2"), start).unwrap();
            slot.set(ConnectionActivity::Answering, start);
        }
        assert_eq!(lock(&slots.open).by_number.len(), 0);
    }

    #[test]
    fn few_open_files_lower_the_limits() {
        for (files, this_host, other_hosts, per_peer) in
            [(u64::MAX, 64, 256, 16), (1024, 64, 256, 16), (256, 32, 64, 16), (64, 8, 16, 8), (20, 4, 8, 4)]
        {
            assert_eq!(
                ConnectionLimits::within(files),
                ConnectionLimits { this_host, other_hosts, per_peer },
                "{files}"
            );
        }
    }
}
