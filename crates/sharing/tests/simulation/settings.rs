//! The size of a simulated world, and the faults of its network.

use sharing::WhenTableIsAway;

use crate::camera::FRAME_MS;

/// Parts per thousand of the calls that suffer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NetworkFaults {
    /// The request is lost.
    pub(crate) lost: u32,
    /// The request is applied, and its answer is lost.
    pub(crate) unanswered: u32,
    /// The request is answered, and a copy of it is applied again up to 30 s later.
    pub(crate) repeated: u32,
    /// The request is applied after its timeout.
    pub(crate) late: u32,
    /// The request is refused because of its rate.
    pub(crate) throttled: u32,
}

/// The size and the faults of a world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorldSettings {
    pub(crate) cameras: usize,
    /// One frame of this many has a happening.
    pub(crate) frames_per_happening: u64,
    /// Time between two steps of a camera.
    pub(crate) step_ms: u64,
    pub(crate) capacity_milli: u64,
    pub(crate) faults: NetworkFaults,
    pub(crate) when_away: WhenTableIsAway,
    /// A worker that has left is replaced by a new one.
    pub(crate) is_replaced: bool,
}

impl Default for WorldSettings {
    fn default() -> Self {
        Self {
            cameras: 6,
            frames_per_happening: 40,
            step_ms: FRAME_MS,
            capacity_milli: 1_000,
            faults: NetworkFaults::default(),
            when_away: WhenTableIsAway::Hold,
            is_replaced: true,
        }
    }
}
