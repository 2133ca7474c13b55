//! The sizes of a model's batches. They are a pure function of the number of waiting frames, so that simulated time can test them.

#[cfg(test)]
mod simulation;

/// The sizes of the batches that a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchSizes {
    /// The graph fixes the number of frames.
    Fixed(usize),
    /// Powers of two up to this one. A GPU prepares its kernels for each size, so there are few.
    PowersOfTwo(usize),
    /// Each number up to this one.
    Any(usize),
}

impl BatchSizes {
    /// Returns the powers of two up to `max`, which is at least 1.
    pub(super) fn powers_of_two(max: usize) -> Self {
        Self::PowersOfTwo(1 << max.max(1).ilog2())
    }

    /// Returns the largest batch.
    pub(super) fn max(self) -> usize {
        let (Self::Fixed(max) | Self::PowersOfTwo(max) | Self::Any(max)) = self;
        max
    }

    /// Returns the number of frames that the next batch takes of those that wait; 0 only if none waits.
    ///
    /// It waits for no more: while a batch runs, the queue fills by itself. And it takes no fewer than fill a size: an unused slot costs
    /// as much as a frame, so the rest goes to the next batch.
    pub(super) fn taken(self, waiting: usize) -> usize {
        match self {
            Self::PowersOfTwo(max) if waiting > 0 => 1 << waiting.min(max).ilog2(),
            _ => waiting.min(self.max()),
        }
    }

    /// Returns the size of the batch that runs this many frames: its last slots are unused where that is larger.
    pub(super) fn slots(self, frames: usize) -> usize {
        match self {
            Self::Fixed(slots) => slots,
            Self::PowersOfTwo(max) => frames.next_power_of_two().min(max),
            Self::Any(_) => frames,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::BatchSizes;

    #[test]
    fn a_batch_takes_as_many_frames_as_fill_a_size() {
        let (four, sixteen, fixed, any) = (
            BatchSizes::powers_of_two(7),
            BatchSizes::powers_of_two(16),
            BatchSizes::Fixed(6),
            BatchSizes::Any(6),
        );
        for (sizes, waiting, taken) in [
            (sixteen, 0, 0),
            (sixteen, 1, 1),
            (sixteen, 3, 2),
            (sixteen, 15, 8),
            (sixteen, 1000, 16),
            (four, 7, 4),
            (fixed, 3, 3),
            (fixed, 7, 6),
            (any, 5, 5),
            (any, 7, 6),
        ] {
            assert_eq!(sizes.taken(waiting), taken, "{sizes:?} of {waiting}");
        }
        for (sizes, frames, slots) in [(sixteen, 3, 4), (sixteen, 16, 16), (fixed, 2, 6), (any, 5, 5)] {
            assert_eq!(sizes.slots(frames), slots, "{sizes:?} of {frames}");
        }
    }

    proptest! {
        #[test]
        fn no_frame_is_kept_waiting_beside_a_free_gpu(max in 1_usize..64, waiting in 1_usize..2000) {
            for sizes in [BatchSizes::powers_of_two(max), BatchSizes::Fixed(max), BatchSizes::Any(max)] {
                let taken = sizes.taken(waiting);
                prop_assert!((1..=waiting.min(sizes.max())).contains(&taken), "{sizes:?} {taken}");
                prop_assert!((taken..=sizes.max()).contains(&sizes.slots(taken)), "{sizes:?} {taken}");
            }
            let sizes = BatchSizes::powers_of_two(max);
            let taken = sizes.taken(waiting);
            prop_assert_eq!(sizes.slots(taken), taken, "no slot is unused");
            prop_assert!(2 * taken > waiting.min(sizes.max()), "a larger size was full");
        }
    }
}
