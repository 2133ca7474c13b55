//! The decoding capacity of a GPU, shared out among cameras. It has no clock: the time is an argument.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::base::lock;

/// The shortage after which a camera leaves the GPU: to open another decoder costs more than a short one.
const MIN_SHORTAGE: Duration = Duration::from_secs(60);

/// The capacity of one NVDEC engine, macroblocks of 16 x 16 px per second.
///
/// Half of that of a T4, which has two engines and decodes 31 streams of H.264 at 1080p30, that is 930 frames of 8,160 macroblocks.
/// Source: NVIDIA DeepStream SDK, performance, 2026. Engines of later generations are faster.
const ENGINE_MACROBLOCKS_PER_S: u64 = 930 * 8_160 / 2;

/// Returns the capacity of a GPU with this many NVDEC engines, macroblocks per second.
pub(super) fn capacity_of(engines: u8) -> u64 {
    u64::from(engines) * ENGINE_MACROBLOCKS_PER_S
}

/// Returns the macroblocks of a picture of this size, px.
pub(super) fn macroblocks((width_px, height_px): (u32, u32)) -> u64 {
    u64::from(width_px.div_ceil(16)) * u64::from(height_px.div_ceil(16))
}

/// The capacity of a GPU's decoders, macroblocks per second, and the tickets that take parts of it.
///
/// A camera gets a ticket only if there is room for it. A camera that has one may need more (it wakes, or its rate rises) and gets it,
/// so the tickets may come to more than the capacity. If they do for [`MIN_SHORTAGE`], those that came last are to be given back, as
/// many as the shortage needs.
#[derive(Debug)]
pub(super) struct DecodeBudget {
    capacity: u64,
    state: Mutex<BudgetState>,
}

#[derive(Debug, Default)]
struct BudgetState {
    /// The part that each ticket takes, by its number, which rises.
    prices: BTreeMap<u64, u64>,
    last_number: u64,
    short_since: Option<Instant>,
}

impl DecodeBudget {
    /// Returns a budget without tickets.
    pub(super) fn new(capacity: u64) -> Arc<Self> {
        Arc::new(Self { capacity, state: Mutex::default() })
    }

    /// Returns a ticket of this price, macroblocks per second, if there is room for it.
    pub(super) fn ask(self: &Arc<Self>, price: u64) -> Option<DecodeTicket> {
        let mut state = lock(&self.state);
        if state.used() + price > self.capacity {
            return None;
        }
        state.last_number += 1;
        let number = state.last_number;
        state.prices.insert(number, price);
        Some(DecodeTicket { budget: Arc::clone(self), number })
    }

    /// Returns the capacity, macroblocks per second.
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Returns the part of the capacity that is taken, 1 if all of it is.
    #[cfg(test)]
    fn load(&self) -> f64 {
        lock(&self.state).used() as f64 / self.capacity as f64
    }

    fn change(&self, now: Instant, change: impl FnOnce(&mut BTreeMap<u64, u64>)) {
        let mut state = lock(&self.state);
        change(&mut state.prices);
        state.short_since = if state.used() > self.capacity { state.short_since.or(Some(now)) } else { None };
    }
}

impl BudgetState {
    fn used(&self) -> u64 {
        self.prices.values().sum()
    }
}

/// The right of a camera to decode on a GPU; dropping it gives it back.
#[derive(Debug)]
pub(super) struct DecodeTicket {
    budget: Arc<DecodeBudget>,
    number: u64,
}

impl DecodeTicket {
    /// Changes the price, macroblocks per second; a higher one is granted also where there is no room.
    pub(super) fn set_price(&self, price: u64, now: Instant) {
        self.budget.change(now, |prices| {
            prices.insert(self.number, price);
        });
    }

    /// Returns true if the ticket is to be given back, because there has not been enough capacity for [`MIN_SHORTAGE`].
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let state = lock(&self.budget.state);
        let is_lasting = |since: Instant| now.saturating_duration_since(since) >= MIN_SHORTAGE;
        let up_to_this: u64 = state.prices.range(..=self.number).map(|(_, price)| price).sum();
        state.short_since.is_some_and(is_lasting) && up_to_this > self.budget.capacity
    }
}

impl Drop for DecodeTicket {
    fn drop(&mut self) {
        // A drop never begins a shortage, so its time does not matter.
        self.budget.change(Instant::now(), |prices| {
            prices.remove(&self.number);
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The price of 1080p at 30 frames per second.
    const HD: u64 = 8_160 * 30;

    #[test]
    fn a_t4_has_room_for_31_cameras_and_the_next_one_waits_for_a_ticket() {
        let budget = DecodeBudget::new(capacity_of(2));
        assert_eq!(macroblocks((1920, 1080)) * 30, HD);
        let mut tickets: Vec<_> = std::iter::from_fn(|| budget.ask(HD)).collect();
        assert_eq!((tickets.len(), budget.load()), (31, 1.0));
        tickets.pop();
        assert!(budget.ask(HD).is_some());
        assert!(budget.ask(HD + 1).is_none());
    }

    #[test]
    fn the_last_tickets_leave_after_a_minute_of_shortage_and_only_as_many_as_must() {
        let budget = DecodeBudget::new(3 * HD);
        let tickets = [(); 3].map(|()| budget.ask(HD).unwrap());
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let due = |at: Instant| tickets.each_ref().map(|ticket| ticket.is_due(at));
        assert_eq!(due(after(600)), [false; 3], "all have room");
        tickets[0].set_price(HD / 10, start);
        tickets[1].set_price(HD * 9 / 5, start);
        assert_eq!(due(after(600)), [false; 3], "it is no shortage: {}", budget.load());
        tickets[0].set_price(HD, start);
        assert_eq!(due(after(59)), [false; 3], "a short one moves no camera");
        assert_eq!(due(after(60)), [false, false, true]);
        tickets[0].set_price(HD / 10, after(61));
        tickets[0].set_price(HD, after(62));
        assert_eq!(due(after(121)), [false; 3], "the minute begins again with each shortage");
        let [first, second, third] = tickets;
        drop(third);
        assert!(!first.is_due(after(600)) && !second.is_due(after(600)), "{}", budget.load());
    }

    proptest! {
        #[test]
        fn tickets_are_granted_within_the_capacity_and_all_of_it_comes_back(
            prices in prop::collection::vec(0_u64..400, 1..40), raises in prop::collection::vec(0_u64..400, 0..20),
        ) {
            let (budget, now) = (DecodeBudget::new(1_000), Instant::now());
            let tickets: Vec<_> = prices.iter().filter_map(|price| budget.ask(*price)).collect();
            prop_assert!(budget.load() <= 1.0);
            for (ticket, price) in tickets.iter().zip(&raises) {
                ticket.set_price(*price, now);
            }
            let stays: Vec<_> =
                tickets.into_iter().filter(|ticket| !ticket.is_due(now + MIN_SHORTAGE)).collect();
            prop_assert!(budget.load() <= 1.0, "what stays has room: {}", budget.load());
            drop(stays);
            prop_assert_eq!(budget.load(), 0.0);
        }
    }
}
