//! The reasons for which the analysis of a camera ends before its queue of frames does.

use crate::delivery::OfferError;

/// A reason for which no further frame of a camera is analyzed.
pub(super) enum AnalysisEnd {
    /// The outbox refuses a commit.
    Offer(OfferError),
    /// A GPU is lost: a frame that counted as seen now would never be inferred.
    DeviceLost,
}

impl From<OfferError> for AnalysisEnd {
    fn from(error: OfferError) -> Self {
        Self::Offer(error)
    }
}
