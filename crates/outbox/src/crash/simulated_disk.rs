//! A disk in memory that keeps synced and unsynced writes apart.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::disk::Disk;

#[derive(Clone, Debug)]
enum UnsyncedChange {
    Write(usize, Vec<u8>),
    Len(usize),
}

impl UnsyncedChange {
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

    /// Returns what a crash leaves of the change: nothing, all, or its beginning.
    fn torn(&self, fate: u16) -> Option<Self> {
        match (self, fate % 4) {
            (_, 0) => None,
            (Self::Write(at, written), 1) => {
                // 16,384 values of `fate / 4`: the write may be cut at any byte.
                Some(Self::Write(*at, written[..usize::from(fate / 4) * written.len() / 16_384].to_vec()))
            }
            _ => Some(self.clone()),
        }
    }
}

/// The fault after the successful writes that are left.
#[derive(Clone, Copy, Debug)]
enum DiskFault {
    /// This many errors, each after half of the write was done.
    Errors(u64),
    /// The power fails: every later call fails too.
    PowerCut,
}

#[derive(Debug, Default)]
struct SimulatedDiskState {
    synced: Vec<u8>,
    unsynced: Vec<UnsyncedChange>,
    /// Everything written, as reads see it.
    seen: Vec<u8>,
    syncs: u64,
    fault: Option<(u64, DiskFault)>,
    has_no_power: bool,
    /// The size of the disk.
    max_bytes: Option<usize>,
}

impl SimulatedDiskState {
    /// Counts a write, and returns its fault.
    fn next_fault(&mut self) -> Option<DiskFault> {
        let (good, armed) = self.fault.as_mut()?;
        if let Some(left) = good.checked_sub(1) {
            *good = left;
            return None;
        }
        let fault = *armed;
        match armed {
            DiskFault::Errors(left) if *left > 1 => *left -= 1,
            _ => self.fault = None,
        }
        Some(fault)
    }

    fn change(&mut self, change: UnsyncedChange) -> io::Result<()> {
        let end = match &change {
            UnsyncedChange::Len(len) => *len,
            UnsyncedChange::Write(at, written) => at + written.len(),
        };
        if self.has_no_power {
            return Err(power_failure());
        }
        // Only growth is refused: a full file system still accepts writes within a file.
        if self.max_bytes.is_some_and(|max| end > max) {
            return Err(ErrorKind::StorageFull.into());
        }
        let fault = self.next_fault();
        // An error does not mean that nothing was written.
        let done = if matches!(fault, Some(DiskFault::Errors(_))) { change.half() } else { change };
        done.apply(&mut self.seen);
        self.unsynced.push(done);
        self.outcome(fault)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.has_no_power {
            return Err(power_failure());
        }
        let fault = self.next_fault();
        if fault.is_none() {
            self.syncs += 1;
            self.unsynced.drain(..).for_each(|write| write.apply(&mut self.synced));
        }
        self.outcome(fault)
    }

    fn outcome(&mut self, fault: Option<DiskFault>) -> io::Result<()> {
        match fault {
            None => Ok(()),
            Some(DiskFault::Errors(_)) => Err(io::Error::other("the disk fails")),
            Some(DiskFault::PowerCut) => {
                self.has_no_power = true;
                Err(power_failure())
            }
        }
    }
}

fn power_failure() -> io::Error {
    io::Error::other("the power failed")
}

/// A disk; clones are handles to the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<SimulatedDiskState>>);

impl SimulatedDisk {
    /// Returns a disk with these bytes, all synced.
    pub(crate) fn holding(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(SimulatedDiskState {
            seen: bytes.clone(),
            synced: bytes,
            ..SimulatedDiskState::default()
        })))
    }

    /// Returns the bytes after a crash. `fates`, repeated, say what is left of each unsynced change.
    pub(crate) fn after_crash(&self, fates: &[u16]) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        let mut bytes = state.synced.clone();
        let left =
            state.unsynced.iter().zip(fates.iter().cycle()).filter_map(|(write, fate)| write.torn(*fate));
        left.for_each(|write| write.apply(&mut bytes));
        bytes
    }

    /// Lets `good` more writes, resizes and syncs succeed, then `errors` of them fail.
    pub(crate) fn fail_after(&self, good: u64, errors: u64) {
        self.0.lock().unwrap().fault = Some((good, DiskFault::Errors(errors)));
    }

    /// Lets `good` more writes, resizes and syncs succeed, then the power fails.
    pub(crate) fn cut_after(&self, good: u64) {
        self.0.lock().unwrap().fault = Some((good, DiskFault::PowerCut));
    }

    pub(crate) fn limit(&self, max_bytes: Option<usize>) {
        self.0.lock().unwrap().max_bytes = max_bytes;
    }

    pub(crate) fn has_no_power(&self) -> bool {
        self.0.lock().unwrap().has_no_power
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().seen.clone()
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.0.lock().unwrap().syncs
    }
}

impl Disk for SimulatedDisk {
    fn connect(&self) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(self.clone()))
    }

    fn location(&self) -> String {
        "a disk in memory".into()
    }
}

impl StorageBackend for SimulatedDisk {
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
        self.0.lock().unwrap().change(UnsyncedChange::Len(usize::try_from(len).map_err(io::Error::other)?))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.lock().unwrap().sync()
    }

    fn write(&self, offset: u64, written: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.0.lock().unwrap().change(UnsyncedChange::Write(at, written.to_vec()))
    }
}
