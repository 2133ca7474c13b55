//! The cache folder of fetched models.
//!
//! | file | content |
//! | --- | --- |
//! | `{sha256}.onnx` | a model under the digest of its content; a whole one needs no server |
//! | `from/{hash of the address}.json` | the version that an address had at the last fetch |
//! | `from/{hash of the address}.lock` | locked by the one process that fetches the address |
//! | `from/{hash of the address}.part` | a download that is not complete |
//!
//! Content appears by a rename, so no process sees half of a file. Damaged content is fetched again. Each fetch removes
//! content that has not been used for long, and the least recently used beyond the size limit. The folder may be
//! emptied at any time.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

use super::eviction::{evict, mark_used, write_access_of_others};
use super::progress::{FetchProgress, OnProgress};
use super::record::AddressRecord;
use super::{Address, FetchError, FetchResponse, FileContent, GetError, RemoteClient};
use crate::base::{Backoff, hex, host_name, sha256_of};
use crate::telemetry::remote as telemetry;

/// Maximum size of a fetched model, bytes.
pub const MAX_MODEL_BYTES: u64 = 4 << 30;
/// Maximum size of all cached models, bytes. The cache is usually on the same disk as the outbox.
pub const MAX_CACHED_MODEL_BYTES: u64 = 8 << 30;
/// Maximum time without progress of another process that holds an address: twice the time limit for a slow server.
pub const HOLDER_LIMIT: Duration = Duration::from_secs(120);
/// Timeout for the question whether cached content is still current, so that a slow server does not delay a start.
const REVALIDATION_TIMEOUT: Duration = Duration::from_millis(1500);
/// Interval between two attempts to lock an address that another process holds.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Interval between two log messages about the progress of a download.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Folder and limits of a cache.
#[derive(Clone, Debug)]
pub struct CacheSpec {
    /// The folder, created if it does not exist.
    pub folder: PathBuf,
    /// Maximum size of one file, bytes.
    pub max_bytes: u64,
    /// Maximum size of all files, bytes; the least recently used are removed beyond it.
    pub max_cached_bytes: u64,
    /// Retries of a server that does not answer.
    pub retry: RetryPolicy,
    /// Maximum time without progress of another process that holds an address.
    pub holder_limit: Duration,
}

/// Number of attempts, and limits of the random delays between them.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Maximum number of attempts.
    pub max_attempts: u32,
    /// Upper bound of the first delay.
    pub max_first_delay: Duration,
    /// Upper bound of every delay.
    pub max_delay: Duration,
}

impl Default for RetryPolicy {
    /// Returns five attempts within a minute.
    fn default() -> Self {
        Self { max_attempts: 5, max_first_delay: Duration::from_secs(2), max_delay: Duration::from_secs(15) }
    }
}

/// A file to fetch, and the digest that it must have.
#[derive(Clone, Copy, Debug)]
pub struct ModelRequest<'a> {
    /// Address of the file.
    pub address: &'a Address,
    /// Required SHA-256, hex; `None` accepts any content.
    pub sha256: Option<&'a str>,
}

/// The cache folder with the clients that fill it.
#[derive(Clone, Debug)]
pub struct Cache {
    spec: CacheSpec,
    client: RemoteClient,
}

/// Outcome of one attempt to fetch a file.
enum AttemptOutcome {
    Fetched(PathBuf),
    /// A further attempt may succeed; holds the reason.
    Retryable(String),
    Fatal(FetchError),
}

/// The files of one address in the folder `from`.
struct AddressFiles {
    record: PathBuf,
    lock: PathBuf,
    part: PathBuf,
}

impl AddressFiles {
    /// Returns values that change while a process fetches: its name, and the size and time of its partial download.
    fn progress(&self) -> (String, Option<(u64, SystemTime)>) {
        let part = std::fs::metadata(&self.part).ok();
        (self.holder(), part.and_then(|part| Some((part.len(), part.modified().ok()?))))
    }

    /// Returns the process that holds the lock, or that held it last, as it has written itself.
    fn holder(&self) -> String {
        let text = std::fs::read_to_string(&self.lock).unwrap_or_default();
        if text.is_empty() { "another process".to_owned() } else { text }
    }
}

/// The last progress of the process that holds a lock.
struct HolderProgress {
    seen: (String, Option<(u64, SystemTime)>),
    since: Instant,
}

impl HolderProgress {
    fn of(files: &AddressFiles) -> Self {
        Self { seen: files.progress(), since: Instant::now() }
    }

    /// Follows the holder's progress; returns `true` if it has made none for `limit`.
    fn follow(&mut self, files: &AddressFiles, limit: Duration) -> bool {
        // A holder whose download grows may take any time. One that hangs must not stop this process for ever.
        let now = Self::of(files);
        if now.seen != self.seen {
            *self = now;
            return false;
        }
        self.since.elapsed() >= limit
    }
}

/// Locks the file. Returns `false` while another process holds it.
fn try_lock(mut file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(why)) => return Err(why),
    }
    // The name is for people and for waiting processes. The lock holds without it.
    let _named = file.set_len(0).and_then(|()| file.write_all(this_process().as_bytes()));
    Ok(true)
}

/// Returns the process id and host of this process, for the lock file.
fn this_process() -> String {
    format!("process {} on host {}", std::process::id(), host_name())
}

impl Cache {
    /// Creates a cache. It writes nothing before the first file is requested.
    #[must_use]
    pub fn new(spec: CacheSpec, client: RemoteClient) -> Self {
        Self { spec, client }
    }

    /// Returns the path of the file's content, fetching it if necessary.
    ///
    /// Cached content with the requested `sha256` needs no server. Without a digest, the server is asked whether the
    /// content has changed; if it does not answer in time, the cached content is used and the fact is logged.
    ///
    /// # Errors
    /// The content is not cached and cannot be fetched.
    pub async fn file(
        &self,
        request: ModelRequest<'_>,
        on_progress: OnProgress<'_>,
    ) -> Result<PathBuf, FetchError> {
        if let Some(path) = self.pinned(request).await {
            return Ok(path);
        }
        let files = self.files_of(request.address);
        let _lock = match self.lock(&files, request.address, on_progress).await {
            Ok(lock) => lock,
            Err(error) => return self.cached_despite(error, request, &files, on_progress).await,
        };
        // Another process may have fetched the same content while this one waited for the lock.
        if let Some(path) = self.pinned(request).await {
            return Ok(path);
        }
        match self.last_version(&files, request).await {
            Some((record, path)) => self.revalidate(request, &files, &record, path, on_progress).await,
            None => self.fetch(request, &files, on_progress).await,
        }
    }

    fn files_of(&self, address: &Address) -> AddressFiles {
        // The name is a hash because an address may hold secrets, and characters that a file name cannot have.
        let name = hex(Sha256::new_with_prefix(address.secret()));
        let file = |ending: &str| self.spec.folder.join("from").join(format!("{name}.{ending}"));
        AddressFiles { record: file("json"), lock: file("lock"), part: file("part") }
    }

    fn content_path(&self, sha256: &str) -> PathBuf {
        self.spec.folder.join(format!("{sha256}.onnx"))
    }

    /// Returns the content with the requested digest if it is cached and whole.
    async fn pinned(&self, request: ModelRequest<'_>) -> Option<PathBuf> {
        let sha256 = request.sha256?.to_ascii_lowercase();
        let path = self.content_path(&sha256);
        is_whole(&path, &sha256).await.then(|| mark_used(path))
    }

    /// Returns the version that the address had at the last fetch, if it is cached, whole and allowed by the request.
    async fn last_version(
        &self,
        files: &AddressFiles,
        request: ModelRequest<'_>,
    ) -> Option<(AddressRecord, PathBuf)> {
        // With a digest, `pinned` has already found that the requested content is not cached.
        if request.sha256.is_some() {
            return None;
        }
        let record = AddressRecord::read(&files.record)?;
        let path = self.content_path(&record.sha256);
        is_whole(&path, &record.sha256).await.then(|| (record, mark_used(path)))
    }

    /// Locks the address until the returned file is dropped, which the end of the process does too.
    ///
    /// Errors: another process holds the lock and makes no progress, or the folder cannot be used.
    async fn lock(
        &self,
        files: &AddressFiles,
        address: &Address,
        on_progress: OnProgress<'_>,
    ) -> Result<File, FetchError> {
        let lock = self.open_lock(files)?;
        let mut holder = HolderProgress::of(files);
        let mut reported = false;
        while !try_lock(&lock).map_err(|why| unusable(&files.lock, &why))? {
            if !reported {
                reported = true;
                telemetry::FetchWaits { address, holder: &files.holder() }.emit();
                on_progress(FetchProgress::Waiting { holder: &files.holder() });
            }
            if holder.follow(files, self.spec.holder_limit) {
                let (address, lock) = (address.clone(), files.lock.clone());
                let limit_s = self.spec.holder_limit.as_secs();
                return Err(FetchError::Held { address, lock, holder: files.holder(), limit_s });
            }
            sleep(LOCK_POLL_INTERVAL).await;
        }
        Ok(lock)
    }

    /// Opens the lock file, and creates the folders above it.
    #[expect(clippy::result_large_err, reason = "one error per fetch, which it ends")]
    fn open_lock(&self, files: &AddressFiles) -> Result<File, FetchError> {
        let folder = files.lock.parent().unwrap_or(&files.lock);
        std::fs::create_dir_all(folder).map_err(|why| unusable(folder, &why))?;
        if let Some(why) = write_access_of_others(&self.spec.folder) {
            telemetry::CacheFolderUnsafe { folder: &self.spec.folder, reason: why }.emit();
        }
        // Not truncated: the file names the current holder until this process has the lock.
        let lock = File::options().create(true).truncate(false).write(true).open(&files.lock);
        lock.map_err(|why| unusable(&files.lock, &why))
    }

    /// Returns the last version of the address if `error` is a lock that another process holds without progress.
    async fn cached_despite(
        &self,
        error: FetchError,
        request: ModelRequest<'_>,
        files: &AddressFiles,
        on_progress: OnProgress<'_>,
    ) -> Result<PathBuf, FetchError> {
        let last = match error {
            FetchError::Held { .. } => self.last_version(files, request).await,
            _ => None,
        };
        let Some((record, path)) = last else { return Err(error) };
        let why = error.to_string();
        telemetry::CachedCopyUsed { address: request.address, sha256: &record.sha256, error: &why }.emit();
        on_progress(FetchProgress::UsingCached { why: &why });
        Ok(path)
    }

    /// Returns the current content of the address, or the cached one if the server does not confirm it within
    /// [`REVALIDATION_TIMEOUT`].
    async fn revalidate(
        &self,
        request: ModelRequest<'_>,
        files: &AddressFiles,
        record: &AddressRecord,
        path: PathBuf,
        on_progress: OnProgress<'_>,
    ) -> Result<PathBuf, FetchError> {
        let response = self.client.get(request.address, record.etag.as_deref());
        let why = match timeout(REVALIDATION_TIMEOUT, response).await {
            Ok(Ok(FetchResponse::Unchanged)) => return Ok(path),
            Ok(Ok(FetchResponse::Content(content))) => {
                match self.download(request, files, content, on_progress).await {
                    AttemptOutcome::Fetched(path) => return Ok(path),
                    AttemptOutcome::Fatal(error) => error.to_string(),
                    AttemptOutcome::Retryable(why) => why,
                }
            }
            Ok(Err(GetError::Refused(why) | GetError::Failed(why))) => why,
            Err(_) => format!("no answer within {} ms", REVALIDATION_TIMEOUT.as_millis()),
        };
        telemetry::CachedCopyUsed { address: request.address, sha256: &record.sha256, error: &why }.emit();
        on_progress(FetchProgress::UsingCached { why: &why });
        Ok(path)
    }

    async fn fetch(
        &self,
        request: ModelRequest<'_>,
        files: &AddressFiles,
        on_progress: OnProgress<'_>,
    ) -> Result<PathBuf, FetchError> {
        let RetryPolicy { max_attempts, max_first_delay, max_delay } = self.spec.retry;
        let mut backoff = Backoff::new(max_first_delay, max_delay);
        let mut attempts = 1;
        loop {
            let why = match self.attempt(request, files, on_progress).await {
                AttemptOutcome::Fetched(path) => return Ok(path),
                AttemptOutcome::Fatal(error) => return Err(error),
                AttemptOutcome::Retryable(why) => why,
            };
            telemetry::FetchFailed { address: request.address, attempts, error: &why }.emit();
            if attempts >= max_attempts {
                return Err(FetchError::Unreachable { address: request.address.clone(), attempts, why });
            }
            on_progress(FetchProgress::Failed { why: &why });
            attempts += 1;
            sleep(backoff.next_wait()).await;
        }
    }

    async fn attempt(
        &self,
        request: ModelRequest<'_>,
        files: &AddressFiles,
        on_progress: OnProgress<'_>,
    ) -> AttemptOutcome {
        telemetry::FetchStarted { address: request.address }.emit();
        match self.client.get(request.address, None).await {
            Ok(FetchResponse::Content(content)) => self.download(request, files, content, on_progress).await,
            // RFC 9110 15.4.5 allows 304 only for a conditional request, and this one has no condition.
            Ok(FetchResponse::Unchanged) => {
                AttemptOutcome::Retryable("it answered 304 though nothing was cached".to_owned())
            }
            Err(GetError::Refused(why)) => {
                AttemptOutcome::Fatal(FetchError::Refused { address: request.address.clone(), why })
            }
            Err(GetError::Failed(why)) => AttemptOutcome::Retryable(why),
        }
    }

    /// Writes the content into the partial file, checks its digest, and renames it to its final name.
    async fn download(
        &self,
        request: ModelRequest<'_>,
        files: &AddressFiles,
        content: FileContent,
        on_progress: OnProgress<'_>,
    ) -> AttemptOutcome {
        // The ETag is read before the content is consumed.
        let (begun, etag) = (Instant::now(), content.etag.clone());
        let (sha256, bytes) = match self.write_checked(request, &files.part, content, on_progress).await {
            Ok(written) => written,
            Err(outcome) => {
                let _left_over = std::fs::remove_file(&files.part);
                return outcome;
            }
        };
        let path = self.content_path(&sha256);
        let record = AddressRecord { address: request.address.to_string(), etag, sha256 };
        // Content before its record: a record must never name content that is not there.
        let kept = std::fs::rename(&files.part, &path).and_then(|()| record.write(&files.record));
        if let Err(why) = kept {
            return AttemptOutcome::Fatal(unusable(&path, &why));
        }
        let (address, took) = (request.address, begun.elapsed());
        telemetry::FetchCompleted { address, bytes, duration: took, sha256: &record.sha256 }.emit();
        evict(&self.spec.folder, &path, self.spec.max_cached_bytes);
        AttemptOutcome::Fetched(path)
    }

    /// Writes the content to `part` and checks its digest. Returns its SHA-256 in hex and its length in bytes.
    async fn write_checked(
        &self,
        request: ModelRequest<'_>,
        part: &Path,
        content: FileContent,
        on_progress: OnProgress<'_>,
    ) -> Result<(String, u64), AttemptOutcome> {
        let (sha256, bytes) = self.write(request.address, part, content, on_progress).await?;
        if let Some(want) = request.sha256.filter(|want| !want.eq_ignore_ascii_case(&sha256)) {
            let (address, want) = (request.address.clone(), want.to_owned());
            return Err(AttemptOutcome::Fatal(FetchError::Digest { address, want, have: sha256 }));
        }
        Ok((sha256, bytes))
    }

    /// Writes the content to `part`. Returns its SHA-256 in hex and its length in bytes.
    async fn write(
        &self,
        address: &Address,
        part: &Path,
        mut content: FileContent,
        on_progress: OnProgress<'_>,
    ) -> Result<(String, u64), AttemptOutcome> {
        let max_bytes = self.spec.max_bytes;
        let not_written = |why: io::Error| AttemptOutcome::Fatal(unusable(part, &why));
        let broken = |error: GetError| AttemptOutcome::Retryable(error.why());
        if content.length.is_some_and(|length| length > max_bytes) {
            return Err(self.too_large(address));
        }
        let mut file = tokio::fs::File::create(part).await.map_err(not_written)?;
        let (mut hasher, mut done_bytes) = (Sha256::new(), 0);
        let mut progress = DownloadProgress::new(address, content.length, on_progress);
        while let Some(bytes) = content.next().await.map_err(broken)? {
            done_bytes += bytes.len() as u64;
            // A chunked answer has no length, so the limit is checked here too.
            if done_bytes > max_bytes {
                return Err(self.too_large(address));
            }
            hasher.update(&bytes);
            file.write_all(&bytes).await.map_err(not_written)?;
            progress.report(done_bytes);
        }
        // Before the rename, or a power failure could leave the final name with missing content.
        file.sync_all().await.map_err(not_written)?;
        Ok((hex(hasher), done_bytes))
    }

    fn too_large(&self, address: &Address) -> AttemptOutcome {
        let (address, max_bytes) = (address.clone(), self.spec.max_bytes);
        AttemptOutcome::Fatal(FetchError::TooLarge { address, max_bytes })
    }
}

/// Reports the progress of a download, and logs it once per [`LOG_INTERVAL`].
struct DownloadProgress<'a> {
    address: &'a Address,
    total_bytes: Option<u64>,
    on_progress: OnProgress<'a>,
    logged: Instant,
}

impl<'a> DownloadProgress<'a> {
    fn new(address: &'a Address, total_bytes: Option<u64>, on_progress: OnProgress<'a>) -> Self {
        Self { address, total_bytes, on_progress, logged: Instant::now() }
    }

    fn report(&mut self, done_bytes: u64) {
        let (address, total_bytes) = (self.address, self.total_bytes);
        (self.on_progress)(FetchProgress::Fetching { done_bytes, total_bytes });
        if self.logged.elapsed() >= LOG_INTERVAL {
            self.logged = Instant::now();
            telemetry::FetchContinued { address, done_bytes, total_bytes }.emit();
        }
    }
}

/// Returns `true` if the file exists and its content has the digest.
async fn is_whole(path: &Path, sha256: &str) -> bool {
    let path = path.to_owned();
    // A model may have gigabytes: its digest is computed on the blocking pool.
    let digest = tokio::task::spawn_blocking(move || sha256_of(&path)).await;
    digest.is_ok_and(|digest| digest.is_ok_and(|have| have == sha256))
}

fn unusable(path: &Path, why: &io::Error) -> FetchError {
    FetchError::Folder { path: path.to_owned(), why: why.to_string() }
}
