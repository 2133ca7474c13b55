//! Events of a lasting loss of frames: a host or a model is too slow, or footage cannot be decoded.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::status::StatusBoard;
use crate::status::{LossCause, LossChange};

/// The interval at which the losses are judged.
const PERIOD: Duration = Duration::from_secs(2);

/// Judges the cameras' losses until `stop`: one line when a cause begins, and one when it ends.
pub(crate) async fn watch_losses(board: StatusBoard, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        board.judge_losses(Instant::now()).into_iter().for_each(|change| LossesChanged { change }.emit());
    }
}

/// A cause of lost frames begins or ends.
struct LossesChanged {
    change: LossChange,
}

impl LossesChanged {
    fn emit(self) {
        match self.change {
            LossChange::Began(LossCause::Footage(camera), text) => {
                warn!(stage = "decode", camera, "frames are lost: {text}");
            }
            LossChange::Began(_, text) => warn!(stage = "service", "overload: {text}"),
            LossChange::Ended(LossCause::Footage(camera)) => {
                info!(stage = "decode", camera, "frames are lost no more: all footage is decoded");
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
