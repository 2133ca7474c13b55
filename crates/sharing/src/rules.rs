//! The rules of the fenced write-ahead, so that the models can take each of them away.

/// Rules that hold. Outside the tests of this crate only [`SafetyRules::ALL`] exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SafetyRules {
    /// F: the owner's write names the owner and its epoch.
    pub(crate) epoch: bool,
    /// R: the owner's write names the revision, so that a late copy of an older write changes nothing.
    pub(crate) revision: bool,
    /// P: records that the predecessor left are sent before new ones.
    pub(crate) pending_first: bool,
    /// T: a record leaves `pending` only after the sink has accepted it.
    pub(crate) trim_after_answer: bool,
    /// W: a record is sent only after its write has been acknowledged.
    pub(crate) write_ahead: bool,
}

impl SafetyRules {
    /// Every rule holds.
    pub(crate) const ALL: Self =
        Self { epoch: true, revision: true, pending_first: true, trim_after_answer: true, write_ahead: true };
}
