//! A disk in memory that keeps what is synced apart from what is not.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::disk::{Disk, DiskError};

#[derive(Clone, Debug)]
enum Unsynced {
    Write(usize, Vec<u8>),
    Len(usize),
}

impl Unsynced {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Len(len) => bytes.resize(*len, 0),
            Self::Write(at, written) => {
                bytes.resize(bytes.len().max(at + written.len()), 0);
                bytes[*at..at + written.len()].copy_from_slice(written);
            }
        }
    }

    fn half(self) -> Self {
        match self {
            Self::Write(at, mut written) => {
                written.truncate(written.len() / 2);
                Self::Write(at, written)
            }
            len @ Self::Len(_) => len,
        }
    }

    /// What a crash leaves of it: nothing, all, or its beginning.
    fn torn(&self, fate: u16) -> Option<Self> {
        match (self, fate % 4) {
            (_, 0) => None,
            (Self::Write(at, written), 1) => {
                Some(Self::Write(*at, written[..usize::from(fate / 4) * written.len() / 16_384].to_vec()))
            }
            _ => Some(self.clone()),
        }
    }
}

/// What comes after so many more good writes.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// So many errors, each after half of the write was done; then all is well.
    Errors(u64),
    /// The power goes: nothing happens any more.
    PowerCut,
}

#[derive(Debug, Default)]
struct State {
    synced: Vec<u8>,
    unsynced: Vec<Unsynced>,
    /// What reads see: all that was written.
    seen: Vec<u8>,
    syncs: u64,
    ahead: Option<(u64, Trouble)>,
    is_dark: bool,
    /// No byte beyond this.
    most_bytes: Option<usize>,
}

impl State {
    /// Counts a write; the trouble that it meets.
    fn meet(&mut self) -> Option<Trouble> {
        let (good, trouble) = self.ahead.as_mut()?;
        if let Some(left) = good.checked_sub(1) {
            *good = left;
            return None;
        }
        let met = *trouble;
        match trouble {
            Trouble::Errors(left) if *left > 1 => *left -= 1,
            _ => self.ahead = None,
        }
        Some(met)
    }

    fn change(&mut self, change: Unsynced) -> io::Result<()> {
        let end = match &change {
            Unsynced::Len(len) => *len,
            Unsynced::Write(at, written) => at + written.len(),
        };
        if self.is_dark {
            return Err(dark());
        }
        if self.most_bytes.is_some_and(|most| end > most) {
            return Err(ErrorKind::StorageFull.into());
        }
        let met = self.meet();
        let done = if matches!(met, Some(Trouble::Errors(_))) { change.half() } else { change };
        done.apply(&mut self.seen);
        self.unsynced.push(done);
        self.outcome(met)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.is_dark {
            return Err(dark());
        }
        let met = self.meet();
        if met.is_none() {
            self.syncs += 1;
            self.unsynced.drain(..).for_each(|write| write.apply(&mut self.synced));
        }
        self.outcome(met)
    }

    fn outcome(&mut self, met: Option<Trouble>) -> io::Result<()> {
        match met {
            None => Ok(()),
            Some(Trouble::Errors(_)) => Err(io::Error::other("the disk fails")),
            Some(Trouble::PowerCut) => {
                self.is_dark = true;
                Err(dark())
            }
        }
    }
}

fn dark() -> io::Error {
    io::Error::other("the power is gone")
}

/// A disk; clones are handles to the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Platter(Arc<Mutex<State>>);

impl Platter {
    /// A disk that holds these bytes.
    pub(crate) fn holding(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { seen: bytes.clone(), synced: bytes, ..State::default() })))
    }

    /// What a disk holds after a crash: of what was not synced, what `fates` leave, which are taken in turn.
    pub(crate) fn after_crash(&self, fates: &[u16]) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        let mut bytes = state.synced.clone();
        let left =
            state.unsynced.iter().zip(fates.iter().cycle()).filter_map(|(write, fate)| write.torn(*fate));
        left.for_each(|write| write.apply(&mut bytes));
        bytes
    }

    /// After `good` more writes, growths and syncs, `errors` of them fail; then the disk is well again.
    pub(crate) fn fail_after(&self, good: u64, errors: u64) {
        self.0.lock().unwrap().ahead = Some((good, Trouble::Errors(errors)));
    }

    /// After `good` more writes, growths and syncs, the power goes.
    pub(crate) fn cut_after(&self, good: u64) {
        self.0.lock().unwrap().ahead = Some((good, Trouble::PowerCut));
    }

    pub(crate) fn limit(&self, most_bytes: Option<usize>) {
        self.0.lock().unwrap().most_bytes = most_bytes;
    }

    pub(crate) fn is_dark(&self) -> bool {
        self.0.lock().unwrap().is_dark
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().seen.clone()
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.0.lock().unwrap().syncs
    }
}

impl Disk for Platter {
    fn connect(&self) -> Result<Box<dyn StorageBackend>, DiskError> {
        Ok(Box::new(self.clone()))
    }

    fn place(&self) -> String {
        "a disk in memory".into()
    }
}

impl StorageBackend for Platter {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = at.checked_add(out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(state.seen.get(at..end).ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().change(Unsynced::Len(usize::try_from(len).map_err(io::Error::other)?))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.lock().unwrap().sync()
    }

    fn write(&self, offset: u64, written: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.0.lock().unwrap().change(Unsynced::Write(at, written.to_vec()))
    }
}
