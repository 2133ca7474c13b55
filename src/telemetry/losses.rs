//! Events of a sustained loss of frames: the host or a model is too slow, or footage cannot be decoded.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::status::{LossCause, LossChange, StatusBoard};

/// The interval at which the losses are evaluated.
const PERIOD: Duration = Duration::from_secs(2);

/// Evaluates the frame losses of all cameras until `stop`; logs one line when a cause begins and one when it ends.
pub(crate) async fn watch_losses(board: StatusBoard, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    // A late tick is not made up for: two evaluations in a row would see the same counts.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        board.judge_losses(Instant::now()).into_iter().for_each(|change| LossesChanged { change }.emit());
    }
}

/// A cause of lost frames began or ended.
struct LossesChanged {
    change: LossChange,
}

impl LossesChanged {
    fn emit(self) {
        match self.change {
            LossChange::Began(LossCause::Footage(camera), text) => {
                warn!(stage = "decode", camera, "frames are lost: {text}");
            }
            // Of the service: a slow host or model concerns all of its cameras.
            LossChange::Began(_, text) => warn!(stage = "service", "overload: {text}"),
            LossChange::Ended(LossCause::Footage(camera)) => {
                info!(stage = "decode", camera, "frame loss ended: all footage is decoded");
            }
            LossChange::Ended(LossCause::Decoding) => {
                info!(stage = "decode", "overload ended: all footage is decoded");
            }
            LossChange::Ended(LossCause::Model(model)) => {
                info!(stage = "detect", model, "overload ended: all sampled frames are inferred");
            }
        }
    }
}
