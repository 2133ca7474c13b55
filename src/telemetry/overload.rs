//! What happens when cameras send more than this host can decode, or ask more of a model than it can do.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Board;
use super::board::{Bottleneck, CameraBoard, LoadChange};

/// How often the load is judged.
const PERIOD: Duration = Duration::from_secs(2);

/// The decoder has dealt with an access unit.
pub(crate) struct UnitHandled<'a> {
    pub(crate) camera: &'a CameraBoard,
    /// How far behind the live edge it was then.
    pub(crate) lag: Duration,
}

impl UnitHandled<'_> {
    pub(crate) fn emit(self) {
        self.camera.unit_decoded(self.lag);
    }
}

/// Judges the cameras' load until `stop`: one line when an overload begins, and one when it ends.
pub(crate) async fn watch_load(board: Board, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        board.judge_load(Instant::now()).into_iter().for_each(|change| OverloadChanged { change }.emit());
    }
}

/// An overload begins or ends.
struct OverloadChanged {
    change: LoadChange,
}

impl OverloadChanged {
    fn emit(self) {
        match self.change {
            LoadChange::Began(text) => warn!(stage = "service", "overload: {text}"),
            LoadChange::Ended(Bottleneck::Decoding) => {
                info!(stage = "decode", "overload ended: all footage is decoded");
            }
            LoadChange::Ended(Bottleneck::Model(model)) => {
                info!(stage = "detect", model, "overload ended: all sampled frames are inferred");
            }
        }
    }
}
