//! The remaining faults of a stream, and the connections, calls and fragments that they apply to.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::faults::connection::ConnectionFaults;
use crate::faults::mix::mix64;
use crate::faults::model::{Fault, FaultKind, FaultTarget, Faults, Operation};

/// The faults of a stream that are not used up.
#[derive(Debug, Default)]
pub(crate) struct ActiveFaults {
    state: Mutex<ActiveState>,
}

#[derive(Debug, Default)]
struct ActiveState {
    remaining: Vec<RemainingFault>,
    /// Connections since the faults were set.
    connections: u64,
}

#[derive(Debug)]
struct RemainingFault {
    /// The fault, whose count is what remains of it.
    fault: Fault,
    /// Calls that the fault could have applied to.
    calls: u64,
}

impl ActiveFaults {
    /// Replaces all faults.
    pub(crate) fn set(&self, faults: Faults) {
        let mut state = self.lock();
        state.remaining = faults.0.into_iter().map(|fault| RemainingFault { fault, calls: 0 }).collect();
        // Counted from zero again, so that the same faults with the same seed do the same damage.
        state.connections = 0;
    }

    /// Returns the faults that are not used up, with what remains of their counts.
    pub(crate) fn remaining(&self) -> Faults {
        Faults(self.lock().remaining.iter().map(|remaining| remaining.fault.clone()).collect())
    }

    /// Returns the faults of a call: any number of `Expire`, and at most one fault that answers the call, which comes last.
    pub(crate) fn begin_call(&self, operation: Operation) -> Vec<FaultKind> {
        let mut state = self.lock();
        let mut kinds = Vec::new();
        for remaining in state.remaining.iter_mut().filter(|remaining| remaining.fault.applies_to(operation))
        {
            if !remaining.count_call() {
                continue;
            }
            let kind = remaining.fault.kind;
            kinds.push(kind);
            // `Moved` is used up by answers of GetDataEndpoint instead.
            if kind != FaultKind::Moved {
                remaining.use_up();
            }
            if !matches!(kind, FaultKind::Expire(_)) {
                break;
            }
        }
        state.remove_used_up();
        kinds
    }

    /// Records that GetDataEndpoint was answered, by which a caller learns where a `Moved` stream is.
    pub(crate) fn endpoint_answered(&self) {
        let mut state = self.lock();
        for remaining in
            state.remaining.iter_mut().filter(|remaining| remaining.fault.kind == FaultKind::Moved)
        {
            remaining.fault.count = Some(remaining.fault.count.unwrap_or(1));
            remaining.use_up();
        }
        state.remove_used_up();
    }

    /// Returns the faults of a connection that begins now.
    pub(crate) fn begin_connection(&self) -> ConnectionFaults {
        let mut state = self.lock();
        let connection = state.connections;
        state.connections += 1;
        let faults = state.use_all(FaultTarget::Connection);
        ConnectionFaults::new(faults.into_iter().map(|fault| fault.of_connection(connection)))
    }

    /// Returns the time by which the timecodes of a fragment that begins now are moved back.
    pub(crate) fn begin_fragment(&self) -> Duration {
        let faults = self.lock().use_all(FaultTarget::Fragment);
        let back = faults.iter().map(|fault| match fault.kind {
            FaultKind::TimeBack(by) => by,
            _ => Duration::ZERO,
        });
        back.sum()
    }

    fn lock(&self) -> MutexGuard<'_, ActiveState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ActiveState {
    fn use_all(&mut self, target: FaultTarget) -> Vec<Fault> {
        let mut faults = Vec::new();
        for remaining in self.remaining.iter_mut().filter(|remaining| remaining.fault.kind.target() == target)
        {
            faults.push(remaining.fault.clone());
            remaining.use_up();
        }
        self.remove_used_up();
        faults
    }

    fn remove_used_up(&mut self) {
        self.remaining.retain(|remaining| remaining.fault.count != Some(0));
    }
}

impl RemainingFault {
    /// Counts a call, and returns whether the fault applies to it.
    fn count_call(&mut self) -> bool {
        self.calls += 1;
        self.calls.is_multiple_of(self.fault.every)
    }

    fn use_up(&mut self) {
        if let Some(count) = &mut self.fault.count {
            *count = count.saturating_sub(1);
        }
    }
}

impl Fault {
    /// Returns the fault for one connection, which damages other bytes than the connections before it.
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

    fn active(text: &str) -> ActiveFaults {
        let active = ActiveFaults::default();
        active.set(text.parse().expect("faults"));
        active
    }

    #[test]
    fn a_fault_is_used_up_after_its_count() {
        let faults = active("throttle,count=2");
        let calls: Vec<usize> = (0..3).map(|_| faults.begin_call(Operation::GetMedia).len()).collect();
        assert_eq!(calls, [1, 1, 0]);
        assert_eq!(faults.remaining(), Faults::default());
    }

    #[test]
    fn a_fault_applies_to_every_third_call() {
        let faults = active("throttle,every=3");
        let calls: Vec<usize> = (0..7).map(|_| faults.begin_call(Operation::GetMedia).len()).collect();
        assert_eq!(calls, [0, 0, 1, 0, 0, 1, 0]);
        assert_eq!(faults.remaining().to_string(), "throttle,every=3");
    }

    #[test]
    fn faults_apply_to_calls_by_operation() {
        let (media, endpoint) = (Operation::GetMedia, Operation::GetDataEndpoint);
        for (text, operation, applies) in [
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
            assert_eq!(!active(text).begin_call(operation).is_empty(), applies, "{text} {operation:?}");
        }
    }

    #[test]
    fn one_fault_answers_a_call_and_footage_expires_before_it() {
        let faults = active("expire=2,count=1,unauthorized,count=1,throttle,count=1");
        let begin = |_| faults.begin_call(Operation::GetMedia);
        let calls: Vec<Vec<FaultKind>> = (0..3).map(begin).collect();
        let expected: [&[FaultKind]; 3] =
            [&[FaultKind::Expire(Some(2)), FaultKind::Unauthorized], &[FaultKind::Throttle], &[]];
        assert_eq!(calls, expected);
    }

    #[test]
    fn an_answer_of_get_data_endpoint_uses_up_a_move() {
        for (text, asks) in [("moved", 1), ("moved,count=2", 2)] {
            let faults = active(text);
            for _ in 0..asks {
                assert_eq!(faults.begin_call(Operation::GetMedia), [FaultKind::Moved], "{text}");
                assert_eq!(
                    faults.begin_call(Operation::GetMedia),
                    [FaultKind::Moved],
                    "{text}: asked once more"
                );
                faults.endpoint_answered();
            }
            assert_eq!(faults.begin_call(Operation::GetMedia), [], "{text}");
        }
    }

    #[test]
    fn the_faults_of_a_fragments_time_add_up() {
        let faults = active("time-back=5s,count=1,time-back=2s");
        let back: Vec<u64> = (0..2).map(|_| faults.begin_fragment().as_secs()).collect();
        assert_eq!(back, [7, 2]);
    }
}
