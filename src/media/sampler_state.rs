//! The state of a camera's sampler, a part of its checkpoint.

use serde::{Deserialize, Serialize};

use super::MediaMs;

/// The state of a sampler between two frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplerState {
    /// The next tick to serve, and the newest media time seen; `None` before the first frame.
    pub(crate) next: Option<(i64, MediaMs)>,
}
