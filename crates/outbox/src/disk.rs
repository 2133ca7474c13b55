//! Where the database lies.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use rustix::fs::OFlags;

use crate::error::OpenError;

/// The database's name in its folder.
pub const FILE: &str = "outbox.redb";
/// What a database is called until it is whole.
const UNFINISHED: &str = "outbox.redb.new";
/// The name of a damaged database that was set aside, before the time.
const ASIDE: &str = "outbox.redb.damaged-";
/// The file that a process holds locked while it has the outbox.
const LOCK: &str = "lock";
/// The permissions of files and folders that are made: what waits may show faces and plates.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// What the system says.
pub type DiskError = io::Error;

/// A place for one database, which can be connected to again after an error.
///
/// The file system is one ([`Folder`]); tests bring their own, with errors and crashes.
pub trait Disk: Send + Sync + 'static {
    /// The database; empty where there is none yet.
    ///
    /// # Errors
    /// What the system says.
    fn connect(&self) -> Result<Box<dyn StorageBackend>, DiskError>;
    /// What a person calls it.
    fn place(&self) -> String;
    /// Makes the database by `fill` where there is none yet, whole or not at all.
    ///
    /// # Errors
    /// Those of `fill`, or the disk refuses.
    fn make(&self, fill: Fill<'_>) -> Result<(), OpenError> {
        let refused = |why: DiskError| OpenError::Disk { place: self.place(), why: why.to_string() };
        let database = self.connect().map_err(refused)?;
        match database.len().map_err(refused)? {
            0 => fill(database),
            _ => Ok(()),
        }
    }
}

/// Writes a new database to an empty place.
pub type Fill<'a> = &'a dyn Fn(Box<dyn StorageBackend>) -> Result<(), OpenError>;

/// A folder, held locked.
///
/// Files in it are made for their owner alone, and none is reached through a symbolic link; so are folders that are missing. Those
/// that are there keep their permissions.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    /// Held for as long as this lives, also while the database is closed between two tries.
    _lock: File,
}

impl Folder {
    /// Makes the folder where there is none, and locks it.
    ///
    /// # Errors
    /// Another process holds the lock, or the disk refuses.
    pub fn lock(dir: &Path) -> Result<Self, OpenError> {
        let refused =
            |why: io::Error| OpenError::Disk { place: dir.display().to_string(), why: why.to_string() };
        make_folder(dir).map_err(refused)?;
        let lock = private().create(true).truncate(false).write(true).open(dir.join(LOCK));
        let lock = lock.map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { dir: dir.to_owned() }),
            Err(TryLockError::Error(why)) => Err(refused(why)),
        }
    }

    /// Renames the database to `outbox.redb.damaged-` and the time, ms since 1970, so that the next opening makes a new one. Of those that
    /// were set aside before none is kept. Returns its new path.
    ///
    /// # Errors
    /// Another process holds the lock, or the disk refuses.
    pub fn set_aside(dir: &Path, now: SystemTime) -> Result<PathBuf, OpenError> {
        let folder = Self::lock(dir)?;
        let at_ms = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let aside = dir.join(format!("{ASIDE}{at_ms}"));
        let moved = set_aside(&folder.dir, &aside);
        moved.map(|()| aside).map_err(|why| OpenError::Disk { place: folder.place(), why: why.to_string() })
    }

    /// Whether a process holds the lock; nothing is made, and nothing stays locked.
    ///
    /// # Errors
    /// The lock cannot be opened.
    pub fn is_locked(dir: &Path) -> io::Result<bool> {
        let lock = match File::open(dir.join(LOCK)) {
            Ok(lock) => lock,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(why) => return Err(why),
        };
        match lock.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(why)) => Err(why),
        }
    }
}

impl Disk for Folder {
    fn connect(&self) -> Result<Box<dyn StorageBackend>, DiskError> {
        connect(&self.dir.join(FILE))
    }

    fn place(&self) -> String {
        self.dir.join(FILE).display().to_string()
    }

    fn make(&self, fill: Fill<'_>) -> Result<(), OpenError> {
        let refused = |why: io::Error| OpenError::Disk { place: self.place(), why: why.to_string() };
        let (place, unfinished) = (self.dir.join(FILE), self.dir.join(UNFINISHED));
        if place.try_exists().map_err(refused)? {
            return Ok(());
        }
        private().create(true).truncate(true).write(true).open(&unfinished).map_err(refused)?;
        fill(connect(&unfinished).map_err(refused)?)?;
        fs::rename(&unfinished, &place).and_then(|()| sync_folder(&self.dir)).map_err(refused)
    }
}

/// Returns options that make a file for its owner alone and open none through a symbolic link.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(FILE_MODE).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

fn connect(path: &Path) -> Result<Box<dyn StorageBackend>, DiskError> {
    let file = private().read(true).write(true).open(path)?;
    Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
}

/// Makes the folder, durably: its entry in the folder above is synced.
fn make_folder(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(above)?;
    DirBuilder::new()
        .mode(FOLDER_MODE)
        .create(dir)
        .or_else(|why| if dir.is_dir() { Ok(()) } else { Err(why) })?;
    sync_folder(above)
}

fn set_aside(dir: &Path, aside: &Path) -> io::Result<()> {
    fs::rename(dir.join(FILE), aside)?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(ASIDE) && path != aside {
            fs::remove_file(&path)?;
        }
    }
    sync_folder(dir)
}

fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A connected database, as redb takes it.
#[derive(Debug)]
pub(crate) struct Connected(pub(crate) Box<dyn StorageBackend>);

impl StorageBackend for Connected {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }
}
