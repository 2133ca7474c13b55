//! The disk under the database: a locked folder, or an implementation of the caller.

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

/// The file name of the database.
pub const DATABASE_FILE: &str = "outbox.redb";
/// The file name of a new database until it is complete.
const UNFINISHED: &str = "outbox.redb.new";
/// The prefix of the file name of a damaged database, before the time at which it was set aside.
const ASIDE: &str = "outbox.redb.damaged-";
/// The file that a process holds locked while it has the outbox open.
const LOCK_FILE: &str = "lock";
/// Permissions of new files, owner only: entries may show faces and licence plates.
const FILE_MODE: u32 = 0o600;
/// Permissions of new folders, for the same reason.
const FOLDER_MODE: u32 = 0o700;

/// Storage of one database, which can be connected to again after an error.
///
/// [`OutboxFolder`] is the one on a file system; tests bring their own, with errors and crashes.
pub trait Disk: Send + Sync + 'static {
    /// Opens the storage, which is empty where there is no database yet.
    ///
    /// # Errors
    /// The operating system refuses.
    fn connect(&self) -> io::Result<Box<dyn StorageBackend>>;
    /// Returns the location for messages, as a path where it has one.
    fn location(&self) -> String;
    /// Creates the database by `fill` if there is none, completely or not at all.
    ///
    /// # Errors
    /// Those of `fill`, or the operating system refuses.
    fn create(&self, fill: FillDatabase<'_>) -> Result<(), OpenError> {
        let refused = |why: io::Error| OpenError::Disk { location: self.location(), why: why.to_string() };
        let database = self.connect().map_err(refused)?;
        match database.len().map_err(refused)? {
            0 => fill(database),
            _ => Ok(()),
        }
    }
}

/// A function that writes a new database to empty storage.
pub type FillDatabase<'a> = &'a dyn Fn(Box<dyn StorageBackend>) -> Result<(), OpenError>;

/// A locked folder on a file system.
///
/// New files and folders are accessible to their owner only; existing ones keep their permissions. No file is opened through a
/// symbolic link.
#[derive(Debug)]
pub struct OutboxFolder {
    dir: PathBuf,
    /// Held for the life of this value, also while the database is closed between two retries.
    _lock: File,
}

impl OutboxFolder {
    /// Locks the folder, and creates it if missing.
    ///
    /// # Errors
    /// Another process holds the lock, or the operating system refuses.
    pub fn lock(dir: &Path) -> Result<Self, OpenError> {
        let refused =
            |why: io::Error| OpenError::Disk { location: dir.display().to_string(), why: why.to_string() };
        create_folder(dir).map_err(refused)?;
        // Never deleted: two processes could hold the deleted file and its successor locked at the same time.
        let lock = private().create(true).truncate(false).write(true).open(dir.join(LOCK_FILE));
        let lock = lock.map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { dir: dir.to_owned() }),
            Err(TryLockError::Error(why)) => Err(refused(why)),
        }
    }

    /// Renames the database to `outbox.redb.damaged-` and the time (ms since 1970), and deletes those set aside before.
    ///
    /// Returns the new path. The next opening creates a new database.
    ///
    /// # Errors
    /// Another process holds the lock, or the operating system refuses.
    pub fn set_aside(dir: &Path, now: SystemTime) -> Result<PathBuf, OpenError> {
        // A process that has the file open would keep writing to it under its new name.
        let folder = Self::lock(dir)?;
        let at_ms = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let aside = dir.join(format!("{ASIDE}{at_ms}"));
        let moved = rename_database(&folder.dir, &aside);
        moved
            .map(|()| aside)
            .map_err(|why| OpenError::Disk { location: folder.location(), why: why.to_string() })
    }

    /// Returns `true` if a process holds the lock. Creates nothing, and leaves nothing locked.
    ///
    /// # Errors
    /// The lock cannot be opened.
    pub fn is_locked(dir: &Path) -> io::Result<bool> {
        let lock = match File::open(dir.join(LOCK_FILE)) {
            Ok(lock) => lock,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(why) => return Err(why),
        };
        // A shared lock: two processes that check at the same time do not see each other as the holder.
        match lock.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(why)) => Err(why),
        }
    }
}

impl Disk for OutboxFolder {
    fn connect(&self) -> io::Result<Box<dyn StorageBackend>> {
        connect(&self.dir.join(DATABASE_FILE))
    }

    fn location(&self) -> String {
        self.dir.join(DATABASE_FILE).display().to_string()
    }

    fn create(&self, fill: FillDatabase<'_>) -> Result<(), OpenError> {
        let refused = |why: io::Error| OpenError::Disk { location: self.location(), why: why.to_string() };
        let (database, unfinished) = (self.dir.join(DATABASE_FILE), self.dir.join(UNFINISHED));
        if database.try_exists().map_err(refused)? {
            return Ok(());
        }
        // Truncated: a crash may have left the beginning of an earlier attempt.
        private().create(true).truncate(true).write(true).open(&unfinished).map_err(refused)?;
        fill(connect(&unfinished).map_err(refused)?)?;
        // The rename publishes the database, and the sync of the folder makes the rename durable.
        fs::rename(&unfinished, &database).and_then(|()| sync_folder(&self.dir)).map_err(refused)
    }
}

/// Returns options that create files for their owner only and follow no symbolic link.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(FILE_MODE).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

fn connect(path: &Path) -> io::Result<Box<dyn StorageBackend>> {
    // Creates nothing: a database that vanished is an error and not an empty outbox.
    let file = private().read(true).write(true).open(path)?;
    Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
}

/// Creates the folder and its missing parents, durably: the folder above each is synced.
fn create_folder(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(above)?;
    // Another process may create it at the same time, which is no error.
    DirBuilder::new()
        .mode(FOLDER_MODE)
        .create(dir)
        .or_else(|why| if dir.is_dir() { Ok(()) } else { Err(why) })?;
    sync_folder(above)
}

fn rename_database(dir: &Path, aside: &Path) -> io::Result<()> {
    // Before the others are deleted: a crash in between leaves one file too many and never none.
    fs::rename(dir.join(DATABASE_FILE), aside)?;
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
    // fsync(2): syncing a file does not make its entry in the folder durable.
    File::open(dir)?.sync_all()
}

/// Storage behind a box, which redb takes by value.
#[derive(Debug)]
pub(crate) struct BoxedBackend(pub(crate) Box<dyn StorageBackend>);

impl StorageBackend for BoxedBackend {
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
