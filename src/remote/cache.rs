//! The cache folder: files by their content, and by which address each came.
//!
//! `{sha256}.onnx` is content; whoever finds it under its name, whole, needs no server. `from/{hash of the address}.json`
//! says which content an address had, `.lock` beside it lets one process at a time fetch it, `.part` is what has come
//! so far. Content appears by a rename, so that it is never seen half; a damaged one is fetched again. After each fetch
//! content goes that was not used for long, and the oldest where there is too much. The folder may be emptied at any time.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

use super::keeping::{others_rights, tidy, used};
use super::models::{Step, Tell};
use super::record::Record;
use super::{Address, Content, FetchError, GetError, Got, Remote};
use crate::base::{Backoff, hex, sha256_of};
use crate::telemetry::remote as telemetry;

/// No model that is fetched may be larger, bytes.
pub const MOST_MODEL_BYTES: u64 = 4 << 30;
/// Limit on the fetched models that are kept, bytes: the cache is usually on the outbox's disk.
pub const KEPT_MODEL_BYTES: u64 = 8 << 30;
/// Whether cached content is still the newest must be answered by then, so that a start does not wait.
const REVALIDATION: Duration = Duration::from_millis(1500);
/// How often it is looked whether another process has done with an address.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The longest time for which a process that holds an address may fetch nothing of it: twice the limit for a slow server.
pub const HOLDER_LIMIT: Duration = Duration::from_secs(120);
/// How often the log says how far it has come.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Where content is kept, and what may be fetched.
#[derive(Clone, Debug)]
pub struct CacheSpec {
    /// Its folder; made where it is not there.
    pub folder: PathBuf,
    /// The largest file, bytes.
    pub most_bytes: u64,
    /// Limit on the content that is kept, bytes; beyond it, the least recently used goes.
    pub kept_bytes: u64,
    /// How often a server is asked that does not answer.
    pub tries: Tries,
    /// The longest time for which another process that holds an address may fetch nothing of it.
    pub holder_limit: Duration,
}

/// How often something is tried, and the waits between.
#[derive(Clone, Copy, Debug)]
pub struct Tries {
    /// So often.
    pub most: u32,
    /// The first wait is at most so long,
    pub first_wait: Duration,
    /// and no wait is longer.
    pub longest_wait: Duration,
}

impl Default for Tries {
    /// Five within a minute.
    fn default() -> Self {
        Self { most: 5, first_wait: Duration::from_secs(2), longest_wait: Duration::from_secs(15) }
    }
}

/// A file, and what it must be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Where it is.
    pub address: &'a Address,
    /// The SHA-256 that it must have, lower-case hex.
    pub sha256: Option<&'a str>,
}

/// Files that were fetched.
#[derive(Clone, Debug)]
pub struct Cache {
    spec: CacheSpec,
    remote: Remote,
}

/// What a try came to.
enum Tried {
    Here(PathBuf),
    Again(String),
    Never(FetchError),
}

/// The files of one address.
struct Slot {
    record: PathBuf,
    lock: PathBuf,
    part: PathBuf,
}

impl Slot {
    /// Returns values that change while a process fetches: its name, and the size and time of what it has written.
    fn progress(&self) -> (String, Option<(u64, SystemTime)>) {
        let part = std::fs::metadata(&self.part).ok();
        (self.holder(), part.and_then(|part| Some((part.len(), part.modified().ok()?))))
    }

    /// The process that holds the lock, or held it last, as it says itself.
    fn holder(&self) -> String {
        let text = std::fs::read_to_string(&self.lock).unwrap_or_default();
        if text.is_empty() { "another process".to_owned() } else { text }
    }
}

/// The name of this process for others: its number and its host.
fn this_process() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("process {} on host {}", std::process::id(), host.trim())
}

impl Cache {
    /// A cache that asks `remote`. Nothing is written yet.
    #[must_use]
    pub fn new(spec: CacheSpec, remote: Remote) -> Self {
        Self { spec, remote }
    }

    /// The path of the file's content, fetched where it is not there. With `sha256`, content that is there needs no
    /// server. Without, its server is asked whether it has changed; one that does not answer is told of, and what is
    /// there is used.
    ///
    /// # Errors
    /// It is not there, and cannot be fetched.
    pub async fn file(&self, wanted: Wanted<'_>, tell: Tell<'_>) -> Result<PathBuf, FetchError> {
        if let Some(path) = self.pinned(wanted).await {
            return Ok(path);
        }
        let slot = self.slot(wanted.address);
        let _held = match self.lock(&slot, wanted.address, tell).await {
            Ok(held) => held,
            Err(error) => return self.unlocked(wanted, &slot, error, tell).await,
        };
        if let Some(path) = self.pinned(wanted).await {
            return Ok(path);
        }
        match self.remembered(&slot, wanted).await {
            Some((record, path)) => self.newest(wanted, &slot, &record, path, tell).await,
            None => self.fetch(wanted, &slot, tell).await,
        }
    }

    fn slot(&self, address: &Address) -> Slot {
        let name = hex(Sha256::new_with_prefix(address.secret()));
        let file = |ending: &str| self.spec.folder.join("from").join(format!("{name}.{ending}"));
        Slot { record: file("json"), lock: file("lock"), part: file("part") }
    }

    fn content(&self, sha256: &str) -> PathBuf {
        self.spec.folder.join(format!("{sha256}.onnx"))
    }

    /// The content that is asked for by its digest, if it is here and whole.
    async fn pinned(&self, wanted: Wanted<'_>) -> Option<PathBuf> {
        let sha256 = wanted.sha256?.to_ascii_lowercase();
        let path = self.content(&sha256);
        is_whole(&path, &sha256).await.then(|| used(path))
    }

    /// What the address held when it was last asked, if it is here and whole and may be used.
    async fn remembered(&self, slot: &Slot, wanted: Wanted<'_>) -> Option<(Record, PathBuf)> {
        let record = Record::read(&slot.record)?;
        let path = self.content(&record.sha256);
        let fits = wanted.sha256.is_none();
        (fits && is_whole(&path, &record.sha256).await).then(|| (record, used(path)))
    }

    /// Held until the file is dropped; a process that ends lets it go. One that holds it and fetches nothing is not waited for.
    async fn lock(&self, slot: &Slot, address: &Address, tell: Tell<'_>) -> Result<File, FetchError> {
        let folder = slot.lock.parent().unwrap_or(&slot.lock);
        std::fs::create_dir_all(folder).map_err(|why| unusable(folder, &why))?;
        if let Some(why) = others_rights(&self.spec.folder) {
            telemetry::CacheFolderUnsafe { folder: &self.spec.folder, reason: why }.emit();
        }
        let lock = File::options().create(true).truncate(false).write(true).open(&slot.lock);
        let lock = lock.map_err(|why| unusable(&slot.lock, &why))?;
        let mut progress = (slot.progress(), Instant::now());
        let mut told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => {
                    // For people and for who waits: the lock holds without it.
                    let _named = lock.set_len(0).and_then(|()| (&lock).write_all(this_process().as_bytes()));
                    return Ok(lock);
                }
                Err(TryLockError::Error(why)) => return Err(unusable(&slot.lock, &why)),
                Err(TryLockError::WouldBlock) if told => {}
                Err(TryLockError::WouldBlock) => {
                    told = true;
                    telemetry::FetchWaits { address, holder: &slot.holder() }.emit();
                    tell(Step::Waiting { holder: &slot.holder() });
                }
            }
            let now = slot.progress();
            if now != progress.0 {
                progress = (now, Instant::now());
            } else if progress.1.elapsed() >= self.spec.holder_limit {
                let (address, lock) = (address.clone(), slot.lock.clone());
                let limit_s = self.spec.holder_limit.as_secs();
                return Err(FetchError::Held { address, lock, holder: slot.holder(), limit_s });
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Returns the previous content of the address where another process holds it and fetches nothing.
    async fn unlocked(
        &self,
        wanted: Wanted<'_>,
        slot: &Slot,
        error: FetchError,
        tell: Tell<'_>,
    ) -> Result<PathBuf, FetchError> {
        let remembered = match error {
            FetchError::Held { .. } => self.remembered(slot, wanted).await,
            _ => None,
        };
        let Some((record, path)) = remembered else { return Err(error) };
        let why = error.to_string();
        telemetry::CachedCopyUsed { address: wanted.address, sha256: &record.sha256, error: &why }.emit();
        tell(Step::UsedAsItWas { why: &why });
        Ok(path)
    }

    /// What the address holds now, or what it held where nobody can say within [`REVALIDATION`].
    async fn newest(
        &self,
        wanted: Wanted<'_>,
        slot: &Slot,
        record: &Record,
        path: PathBuf,
        tell: Tell<'_>,
    ) -> Result<PathBuf, FetchError> {
        let asking = self.remote.get(wanted.address, record.etag.as_deref());
        let why = match timeout(REVALIDATION, asking).await {
            Ok(Ok(Got::Unchanged)) => return Ok(path),
            Ok(Ok(Got::Content(content))) => match self.take(wanted, slot, content, tell).await {
                Tried::Here(path) => return Ok(path),
                Tried::Never(error) => error.to_string(),
                Tried::Again(why) => why,
            },
            Ok(Err(GetError::Refused(why) | GetError::Failed(why))) => why,
            Err(_) => format!("no answer within {} ms", REVALIDATION.as_millis()),
        };
        telemetry::CachedCopyUsed { address: wanted.address, sha256: &record.sha256, error: &why }.emit();
        tell(Step::UsedAsItWas { why: &why });
        Ok(path)
    }

    async fn fetch(&self, wanted: Wanted<'_>, slot: &Slot, tell: Tell<'_>) -> Result<PathBuf, FetchError> {
        let Tries { most, first_wait, longest_wait } = self.spec.tries;
        let mut backoff = Backoff::new(first_wait, longest_wait);
        let mut tries = 1;
        loop {
            let why = match self.try_once(wanted, slot, tell).await {
                Tried::Here(path) => return Ok(path),
                Tried::Never(error) => return Err(error),
                Tried::Again(why) => why,
            };
            telemetry::FetchFailed { address: wanted.address, attempts: tries, error: &why }.emit();
            if tries >= most {
                return Err(FetchError::Unreachable { address: wanted.address.clone(), tries, why });
            }
            tell(Step::Failed { why: &why });
            tries += 1;
            sleep(backoff.next_wait()).await;
        }
    }

    async fn try_once(&self, wanted: Wanted<'_>, slot: &Slot, tell: Tell<'_>) -> Tried {
        telemetry::FetchStarted { address: wanted.address }.emit();
        match self.remote.get(wanted.address, None).await {
            Ok(Got::Content(content)) => self.take(wanted, slot, content, tell).await,
            Ok(Got::Unchanged) => Tried::Again("it answered 304 though nothing was there".to_owned()),
            Err(GetError::Refused(why)) => {
                Tried::Never(FetchError::Refused { address: wanted.address.clone(), why })
            }
            Err(GetError::Failed(why)) => Tried::Again(why),
        }
    }

    /// Writes the content beside, looks at its digest, and puts it under its name.
    async fn take(&self, wanted: Wanted<'_>, slot: &Slot, content: Content, tell: Tell<'_>) -> Tried {
        let (begun, etag) = (Instant::now(), content.etag.clone());
        let (sha256, bytes) = match self.write(wanted.address, &slot.part, content, tell).await {
            Ok(written) => written,
            Err(other) => {
                let _left_over = std::fs::remove_file(&slot.part);
                return other;
            }
        };
        if let Some(want) = wanted.sha256.filter(|want| !want.eq_ignore_ascii_case(&sha256)) {
            let (address, want) = (wanted.address.clone(), want.to_owned());
            let _left_over = std::fs::remove_file(&slot.part);
            return Tried::Never(FetchError::Digest { address, want, have: sha256 });
        }
        let path = self.content(&sha256);
        let record = Record { address: wanted.address.to_string(), etag, sha256 };
        let kept = std::fs::rename(&slot.part, &path).and_then(|()| record.write(&slot.record));
        if let Err(why) = kept {
            return Tried::Never(unusable(&path, &why));
        }
        let duration = begun.elapsed();
        telemetry::FetchCompleted { address: wanted.address, bytes, duration, sha256: &record.sha256 }.emit();
        tidy(&self.spec.folder, &path, self.spec.kept_bytes);
        Tried::Here(path)
    }

    /// Gives the digest and the number of bytes.
    async fn write(
        &self,
        address: &Address,
        part: &Path,
        mut content: Content,
        tell: Tell<'_>,
    ) -> Result<(String, u64), Tried> {
        let most_bytes = self.spec.most_bytes;
        let too_large = || Tried::Never(FetchError::TooLarge { address: address.clone(), most_bytes });
        let full = |why: io::Error| Tried::Never(unusable(part, &why));
        if content.length.is_some_and(|length| length > most_bytes) {
            return Err(too_large());
        }
        let mut file = tokio::fs::File::create(part).await.map_err(full)?;
        let (mut hasher, mut done_bytes, mut told) = (Sha256::new(), 0, Instant::now());
        while let Some(bytes) = content.next().await.map_err(|error| Tried::Again(error.why()))? {
            done_bytes += bytes.len() as u64;
            if done_bytes > most_bytes {
                return Err(too_large());
            }
            hasher.update(&bytes);
            file.write_all(&bytes).await.map_err(full)?;
            tell(Step::Fetching { done_bytes, total_bytes: content.length });
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                telemetry::FetchProgress { address, done_bytes, total_bytes: content.length }.emit();
            }
        }
        file.sync_all().await.map_err(full)?;
        Ok((hex(hasher), done_bytes))
    }
}

/// Whether the file is there and is the content that its name says.
async fn is_whole(path: &Path, sha256: &str) -> bool {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || sha256_of(&path)).await;
    read.is_ok_and(|read| read.is_ok_and(|have| have == sha256))
}

fn unusable(path: &Path, why: &io::Error) -> FetchError {
    FetchError::Folder { path: path.to_owned(), why: why.to_string() }
}
