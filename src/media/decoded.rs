//! Frames and the markers between them, from decode to detect and decide.

use std::sync::Arc;

use super::{FragmentEnd, Frame, IdleQuery, SamplerState};

/// An item that decode passes to detect and decide, in stream order.
#[derive(Debug)]
pub enum Decoded {
    /// A sampled frame.
    Frame(Arc<Frame>),
    /// A question of idle decode, answered after the frames before it.
    IdleQuery(IdleQuery),
    /// The end of a fragment whose sampled frames were all passed on before.
    FragmentEnd {
        /// The end of the fragment.
        end: FragmentEnd,
        /// The sampler's state after the fragment, for a resume there.
        sampler: Box<SamplerState>,
    },
    /// A break in the stream: the receiver returns to the state of the last committed fragment.
    Discontinuity,
}
