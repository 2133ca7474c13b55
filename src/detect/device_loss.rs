//! The report of a lost GPU, from the thread of a model to the service.

use std::sync::Mutex;

use crate::base::lock;

/// A function that is called with the reason of a loss.
type LossListener = Box<dyn FnOnce(String) + Send>;

/// The loss of the GPU that a model runs on. It is reported once, to one listener.
#[derive(Default)]
pub(super) struct DeviceLoss {
    state: Mutex<LossState>,
}

#[derive(Default)]
struct LossState {
    reason: Option<String>,
    listener: Option<LossListener>,
}

impl DeviceLoss {
    /// Reports the loss; returns `false` if it was reported before.
    pub(super) fn report(&self, reason: String) -> bool {
        let mut state = lock(&self.state);
        if state.reason.is_some() {
            return false;
        }
        state.reason = Some(reason.clone());
        let listener = state.listener.take();
        // Called without the lock, which the listener may take by a handle of the model.
        drop(state);
        if let Some(listener) = listener {
            listener(reason);
        }
        true
    }

    /// Has the listener called at the loss, or at once if the loss was reported before.
    pub(super) fn listen(&self, listener: impl FnOnce(String) + Send + 'static) {
        let mut state = lock(&self.state);
        match state.reason.clone() {
            None => state.listener = Some(Box::new(listener)),
            Some(reason) => {
                drop(state);
                listener(reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::DeviceLoss;

    #[test]
    fn a_loss_is_reported_once_whoever_comes_first() {
        for listens_first in [true, false] {
            let (loss, (sender, reasons)) = (DeviceLoss::default(), channel());
            let listen = || loss.listen(move |reason| sender.send(reason).unwrap());
            if listens_first {
                listen();
                assert!(loss.report("first".to_owned()));
            } else {
                assert!(loss.report("first".to_owned()));
                listen();
            }
            assert!(!loss.report("second".to_owned()));
            assert_eq!(reasons.into_iter().collect::<Vec<_>>(), ["first"], "{listens_first}");
        }
    }
}
