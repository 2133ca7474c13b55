//! Room for connections: how many of whom, and who has to go where it is short.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;

use super::ends::{Ends, network_of};

/// Most connections of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Of this host. They have room of their own, so that the container's check is answered while others hold all of theirs.
    own: usize,
    /// From elsewhere, together.
    others: usize,
    /// Of one address from elsewhere (of IPv6: of one /64) that have not shown the token. Those that have may be many people
    /// behind one load balancer.
    per_peer: usize,
}

impl Limits {
    /// Returns the usual limits, or fewer where this process may open few files: cameras and sinks need them more.
    pub(super) fn of_this_process() -> Self {
        Self::within(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    fn within(open_files: u64) -> Self {
        let files = usize::try_from(open_files).unwrap_or(usize::MAX);
        let others = (files / 4).clamp(8, 256);
        Self { own: (files / 8).clamp(4, 64), others, per_peer: 16.min(others / 2) }
    }
}

/// The current activity of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    /// The server waits for the client: for a request's head or body.
    Waiting,
    /// The client waits for an answer, or takes it.
    Answering,
    /// The client follows the events.
    Following,
}

/// An answer that takes longer gives its place away where room is short; so does one who follows the events, who comes back
/// by itself.
const LONG_ANSWER: Duration = Duration::from_secs(10);

/// The places.
pub(super) struct Room {
    limits: Limits,
    seats: Mutex<Seats>,
}

#[derive(Default)]
struct Seats {
    last: u64,
    taken: BTreeMap<u64, Seat>,
}

struct Seat {
    who: Who,
    /// `true`: it has shown the token.
    is_known: bool,
    activity: Activity,
    since: Instant,
    leave: Arc<Notify>,
}

impl Seat {
    /// Returns the order in which connections leave; `None`: this one stays.
    fn rank(&self, now: Instant) -> Option<(bool, u8, Instant)> {
        let is_long = now.saturating_duration_since(self.since) >= LONG_ANSWER;
        let rank = match self.activity {
            Activity::Waiting => 0,
            Activity::Answering if is_long => 1,
            Activity::Following if is_long => 2,
            Activity::Answering | Activity::Following => return None,
        };
        Some((self.is_known, rank, self.since))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Own,
    Other(IpAddr),
}

/// A connection's place; free again when it is dropped.
pub(super) struct Place {
    room: Arc<Room>,
    number: u64,
    leave: Arc<Notify>,
}

impl Room {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, seats: Mutex::default() })
    }

    /// Returns a place for a connection. Where there is none left, the connection of the same kind leaves that has kept the
    /// server waiting for longest; `None`: all are being answered.
    pub(super) fn admit(self: &Arc<Self>, ends: Ends, now: Instant) -> Option<Place> {
        let mut seats = self.lock();
        let who = if ends.are_of_this_host() { Who::Own } else { Who::Other(network_of(ends.peer)) };
        let has_room = match who {
            Who::Own => seats.keep_below(self.limits.own, now, |seat| seat.who == Who::Own),
            Who::Other(_) => {
                seats.keep_below(self.limits.per_peer, now, |seat| seat.who == who && !seat.is_known)
                    && seats.keep_below(self.limits.others, now, |seat| seat.who != Who::Own)
            }
        };
        if !has_room {
            return None;
        }
        seats.last += 1;
        let (number, leave) = (seats.last, Arc::new(Notify::new()));
        let seat =
            Seat { who, is_known: false, activity: Activity::Waiting, since: now, leave: Arc::clone(&leave) };
        seats.taken.insert(number, seat);
        Some(Place { room: Arc::clone(self), number, leave })
    }

    /// Has the connection leave that has kept the server waiting for longest: the system has no descriptor left.
    pub(super) fn shrink(&self, now: Instant) {
        self.lock().dismiss(now, |_| true);
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seats {
    /// Makes sure that one more of these does not exceed `most`.
    fn keep_below(&mut self, most: usize, now: Instant, of: impl Fn(&Seat) -> bool) -> bool {
        let count = self.taken.values().filter(|seat| of(seat)).count();
        count < most || self.dismiss(now, of)
    }

    /// Takes the place of one of these; returns `false` where none has to leave.
    fn dismiss(&mut self, now: Instant, of: impl Fn(&Seat) -> bool) -> bool {
        let candidates = self.taken.iter().filter(|(_, seat)| of(seat));
        let ranked = candidates.filter_map(|(number, seat)| Some((seat.rank(now)?, *number)));
        let Some((_, number)) = ranked.min() else { return false };
        if let Some(seat) = self.taken.remove(&number) {
            seat.leave.notify_one();
        }
        true
    }
}

impl Place {
    /// Notes what the connection is at.
    pub(super) fn set(&self, activity: Activity, now: Instant) {
        if let Some(seat) = self.room.lock().taken.get_mut(&self.number) {
            (seat.activity, seat.since) = (activity, now);
        }
    }

    /// Notes that the connection has shown the token.
    pub(super) fn know(&self) {
        if let Some(seat) = self.room.lock().taken.get_mut(&self.number) {
            seat.is_known = true;
        }
    }

    /// Resolves when the connection has to leave.
    pub(super) async fn taken_away(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.lock().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { own: 2, others: 4, per_peer: 2 };

    fn ends(peer: &str) -> Ends {
        Ends { peer: peer.parse().unwrap(), local: "10.0.0.1".parse().unwrap() }
    }

    fn is_told_to_leave(place: &Place) -> bool {
        !place.room.lock().taken.contains_key(&place.number)
    }

    #[test]
    fn who_has_waited_for_longest_gives_its_place_away() {
        let (room, start) = (Room::new(LIMITS), Instant::now());
        let at = |s: u64| start + Duration::from_secs(s);
        let first = room.admit(ends("10.0.0.2"), at(0)).unwrap();
        let second = room.admit(ends("10.0.0.2"), at(1)).unwrap();
        let third = room.admit(ends("10.0.0.2"), at(2)).unwrap();
        assert_eq!([&first, &second, &third].map(is_told_to_leave), [true, false, false]);
        second.set(Activity::Answering, at(3));
        third.set(Activity::Following, at(3));
        assert!(room.admit(ends("10.0.0.2"), at(4)).is_none(), "both are being answered");
        assert!(room.admit(ends("10.0.0.3"), at(4)).is_some(), "another address");
        assert!(room.admit(ends("10.0.0.2"), at(13)).is_some(), "an answer takes too long");
        assert_eq!([&second, &third].map(is_told_to_leave), [true, false]);
    }

    #[test]
    fn those_who_have_shown_the_token_do_not_count_for_their_address() {
        let (room, start) = (Room::new(LIMITS), Instant::now());
        let later = start + LONG_ANSWER;
        let known: Vec<Place> = (0..3)
            .map(|_| {
                let place = room.admit(ends("10.0.0.2"), start).unwrap();
                place.know();
                place.set(Activity::Following, start);
                place
            })
            .collect();
        let unknown = room.admit(ends("10.0.0.2"), start).unwrap();
        assert!(known.iter().all(|place| !is_told_to_leave(place)));
        let next = room.admit(ends("10.0.0.3"), later).unwrap();
        assert!(is_told_to_leave(&unknown), "unknown ones leave first");
        next.set(Activity::Answering, later);
        let _last = room.admit(ends("10.0.0.4"), later).unwrap();
        assert_eq!(known.iter().filter(|place| is_told_to_leave(place)).count(), 1, "a follower comes back");
    }

    #[test]
    fn others_take_no_place_of_this_host() {
        let (room, start) = (Room::new(LIMITS), Instant::now());
        let others: Vec<Place> =
            (2..6).map(|n| room.admit(ends(&format!("10.0.0.{n}")), start).unwrap()).collect();
        others.iter().for_each(|place| place.set(Activity::Answering, start));
        assert!(room.admit(ends("10.0.0.9"), start).is_none());
        let own: Vec<Place> = (0..3).map(|_| room.admit(ends("127.0.0.1"), start).unwrap()).collect();
        assert_eq!(own.iter().map(is_told_to_leave).collect::<Vec<_>>(), [true, false, false]);
        drop(others);
        assert!(room.admit(ends("10.0.0.9"), start).is_some());
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let (room, start) = (Room::new(LIMITS), Instant::now());
        for _ in 0..100 {
            let place = room.admit(ends("10.0.0.2"), start).unwrap();
            place.set(Activity::Answering, start);
        }
        assert_eq!(room.lock().taken.len(), 0);
    }

    #[test]
    fn few_open_files_leave_little_room() {
        for (files, own, others, per_peer) in
            [(u64::MAX, 64, 256, 16), (1024, 64, 256, 16), (256, 32, 64, 16), (64, 8, 16, 8), (20, 4, 8, 4)]
        {
            assert_eq!(Limits::within(files), Limits { own, others, per_peer }, "{files}");
        }
    }
}
