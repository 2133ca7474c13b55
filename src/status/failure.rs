//! A failure after which the process has to end.

use tokio::sync::watch;

use super::StatusBoard;

/// The failure that ends the process, once there is one.
pub(super) struct FinalFailure(watch::Sender<Option<String>>);

impl Default for FinalFailure {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl FinalFailure {
    /// Returns the reason.
    pub(super) fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }
}

impl StatusBoard {
    /// Records a failure that only a new process ends: from now on `/healthz` answers 503, also while the service stops. The first one
    /// counts.
    pub fn fail(&self, reason: String) {
        self.inner.failure.0.send_if_modified(|failure| {
            let is_first = failure.is_none();
            if is_first {
                *failure = Some(reason);
            }
            is_first
        });
    }

    /// Waits for a failure that only a new process ends.
    pub async fn failed(&self) {
        let mut failure = self.inner.failure.0.subscribe();
        // The board holds the sender, so the wait ends with a failure only.
        let _failed = failure.wait_for(Option::is_some).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::HealthStatus;
    use super::StatusBoard;

    #[tokio::test]
    async fn the_first_failure_stays_also_while_the_service_stops() {
        let board = StatusBoard::new();
        board.fail("GPU cuda:0 is lost".to_owned());
        board.fail("another".to_owned());
        board.failed().await;
        for _ in 0..2 {
            let health = board.health();
            assert_eq!(
                (health.status, health.reasons),
                (HealthStatus::Failed, vec!["GPU cuda:0 is lost".to_owned()])
            );
            board.stopping();
        }
    }
}
