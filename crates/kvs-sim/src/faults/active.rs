//! The faults of a stream that are left, and whom they meet next.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::faults::connection::Course;
use crate::faults::mix::mix64;
use crate::faults::model::{Fault, FaultKind, Faults, Operation, Target};

/// A stream's faults.
#[derive(Debug, Default)]
pub(crate) struct Armed {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    left: Vec<Left>,
    connections: u64,
}

#[derive(Debug)]
struct Left {
    /// Its count is what is left of it.
    fault: Fault,
    /// Calls that it might have met.
    calls: u64,
}

impl Armed {
    /// In place of those before.
    pub(crate) fn set(&self, faults: Faults) {
        let mut state = self.lock();
        state.left = faults.0.into_iter().map(|fault| Left { fault, calls: 0 }).collect();
        state.connections = 0;
    }

    /// Those that have not gone away, with what is left of their counts.
    pub(crate) fn left(&self) -> Faults {
        Faults(self.lock().left.iter().map(|left| left.fault.clone()).collect())
    }

    /// What meets a call of this operation: any number of `Expire`, and at most one refusal, which comes last.
    pub(crate) fn meet_call(&self, operation: Operation) -> Vec<FaultKind> {
        let mut state = self.lock();
        let mut met = Vec::new();
        for left in state.left.iter_mut().filter(|left| left.fault.meets(operation)) {
            if !left.is_due() {
                continue;
            }
            let kind = left.fault.kind;
            met.push(kind);
            if kind != FaultKind::Moved {
                left.spend();
            }
            if !matches!(kind, FaultKind::Expire(_)) {
                break;
            }
        }
        state.forget_spent();
        met
    }

    /// GetDataEndpoint was answered: who was sent to the wrong place knows better now.
    pub(crate) fn endpoint_told(&self) {
        let mut state = self.lock();
        for left in state.left.iter_mut().filter(|left| left.fault.kind == FaultKind::Moved) {
            left.fault.count = Some(left.fault.count.unwrap_or(1));
            left.spend();
        }
        state.forget_spent();
    }

    /// What happens to a connection that begins now.
    pub(crate) fn meet_connection(&self) -> Course {
        let mut state = self.lock();
        let connection = state.connections;
        state.connections += 1;
        let faults = state.spend_all(Target::Connection);
        Course::new(faults.into_iter().map(|fault| fault.of_connection(connection)))
    }

    /// By how much the timecodes of a fragment that begins now are too early.
    pub(crate) fn meet_fragment(&self) -> Duration {
        let faults = self.lock().spend_all(Target::Fragment);
        let back = faults.iter().map(|fault| match fault.kind {
            FaultKind::TimeBack(by) => by,
            _ => Duration::ZERO,
        });
        back.sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn spend_all(&mut self, target: Target) -> Vec<Fault> {
        let mut met = Vec::new();
        for left in self.left.iter_mut().filter(|left| left.fault.kind.target() == target) {
            met.push(left.fault.clone());
            left.spend();
        }
        self.forget_spent();
        met
    }

    fn forget_spent(&mut self) {
        self.left.retain(|left| left.fault.count != Some(0));
    }
}

impl Left {
    /// Counts a call; whether it is one that is met.
    fn is_due(&mut self) -> bool {
        self.calls += 1;
        self.calls.is_multiple_of(self.fault.every)
    }

    fn spend(&mut self) {
        if let Some(count) = &mut self.fault.count {
            *count = count.saturating_sub(1);
        }
    }
}

impl Fault {
    /// The fault as this connection meets it: its damage is its own.
    fn of_connection(self, connection: u64) -> Self {
        let kind = match self.kind {
            FaultKind::Flip { share, seed } => {
                FaultKind::Flip { share, seed: mix64(seed ^ mix64(connection)) }
            }
            kind => kind,
        };
        Self { kind, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armed(text: &str) -> Armed {
        let armed = Armed::default();
        armed.set(text.parse().expect("faults"));
        armed
    }

    #[test]
    fn a_fault_goes_away_after_its_count() {
        let armed = armed("throttle,count=2");
        let calls: Vec<usize> = (0..3).map(|_| armed.meet_call(Operation::GetMedia).len()).collect();
        assert_eq!(calls, [1, 1, 0]);
        assert_eq!(armed.left(), Faults::default());
    }

    #[test]
    fn every_third_call_is_met() {
        let armed = armed("throttle,every=3");
        let calls: Vec<usize> = (0..7).map(|_| armed.meet_call(Operation::GetMedia).len()).collect();
        assert_eq!(calls, [0, 0, 1, 0, 0, 1, 0]);
        assert_eq!(armed.left().to_string(), "throttle,every=3");
    }

    #[test]
    fn calls_are_met_by_operation() {
        let (media, endpoint) = (Operation::GetMedia, Operation::GetDataEndpoint);
        for (text, operation, met) in [
            ("throttle", media, true),
            ("throttle", Operation::ListFragments, true),
            ("throttle", endpoint, false),
            ("throttle,on=getDataEndpoint", endpoint, true),
            ("throttle,on=getDataEndpoint", media, false),
            ("unauthorized", endpoint, true),
            ("unauthorized", media, true),
            ("end=5s", media, false),
            ("time-back=5s", media, false),
        ] {
            assert_eq!(!armed(text).meet_call(operation).is_empty(), met, "{text} {operation:?}");
        }
    }

    #[test]
    fn the_first_refusal_is_the_only_one_and_footage_expires_before_it() {
        let armed = armed("expire=2,count=1,unauthorized,count=1,throttle,count=1");
        let met = |_| armed.meet_call(Operation::GetMedia);
        let calls: Vec<Vec<FaultKind>> = (0..3).map(met).collect();
        let expected: [&[FaultKind]; 3] =
            [&[FaultKind::Expire(Some(2)), FaultKind::Unauthorized], &[FaultKind::Throttle], &[]];
        assert_eq!(calls, expected);
    }

    #[test]
    fn the_endpoint_is_found_again_by_asking() {
        for (text, asks) in [("moved", 1), ("moved,count=2", 2)] {
            let armed = armed(text);
            for _ in 0..asks {
                assert_eq!(armed.meet_call(Operation::GetMedia), [FaultKind::Moved], "{text}");
                assert_eq!(
                    armed.meet_call(Operation::GetMedia),
                    [FaultKind::Moved],
                    "{text}: asked once more"
                );
                armed.endpoint_told();
            }
            assert_eq!(armed.meet_call(Operation::GetMedia), [], "{text}");
        }
    }

    #[test]
    fn fragments_go_back_by_all_that_is_said() {
        let armed = armed("time-back=5s,count=1,time-back=2s");
        let back: Vec<u64> = (0..2).map(|_| armed.meet_fragment().as_secs()).collect();
        assert_eq!(back, [7, 2]);
    }
}
