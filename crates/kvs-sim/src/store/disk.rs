//! `--data-dir`: one folder per stream, one file per fragment, each file a GetMedia dump of that fragment.
//!
//! A file is written under another name and then renamed. A file that a crash left incomplete has no trailing tags, and is
//! removed when the folder is read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use kvs_mkv::{Block, MkvEvent, MkvLimits, MkvReader, Tag, TrackEntry, writer};
use tracing::warn;

use crate::identifiers::fragment_number::FragmentNumber;
use crate::identifiers::region::Region;
use crate::store::fragment::{FragmentContent, FragmentHead, FragmentMedia, MediaHeader, StoredFragment};
use crate::store::identity::StreamIdentity;

/// An error of a file or folder of `--data-dir`.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}: {source}; choose a folder for --data-dir that can be read and written", path.display())]
pub struct DataDirError {
    /// The operation that failed.
    pub verb: &'static str,
    /// Its file or folder.
    pub path: PathBuf,
    /// The error of the system.
    pub source: io::Error,
}

/// The folder of all streams.
#[derive(Debug, Clone)]
pub(crate) struct DataFolder {
    path: PathBuf,
}

/// The folder of one stream.
#[derive(Debug, Clone)]
pub(crate) struct StreamFolder {
    path: PathBuf,
}

const STREAM_SUFFIX: &str = ".stream";
const IDENTITY_FILE: &str = "stream.json";
const FRAGMENT_SUFFIX: &str = "mkv";

impl DataFolder {
    pub(crate) fn open(path: PathBuf) -> Result<Self, DataDirError> {
        std::fs::create_dir_all(&path).map_err(failed("create the folder", &path))?;
        Ok(Self { path })
    }

    /// Creates the folder of a stream and writes its identity.
    pub(crate) fn create(&self, identity: &StreamIdentity) -> Result<StreamFolder, DataDirError> {
        let path = self.path.join(folder_name(identity));
        std::fs::create_dir_all(&path).map_err(failed("create the folder", &path))?;
        let folder = StreamFolder { path };
        folder.write_identity(identity)?;
        Ok(folder)
    }

    /// Loads all streams with their complete fragments.
    pub(crate) fn load(
        &self,
    ) -> Result<Vec<(StreamIdentity, StreamFolder, Vec<StoredFragment>)>, DataDirError> {
        let mut streams = Vec::new();
        for path in list(&self.path)? {
            if !path.to_string_lossy().ends_with(STREAM_SUFFIX) {
                continue;
            }
            let folder = StreamFolder { path };
            if let Some(identity) = folder.read_identity()? {
                let fragments = folder.read_fragments()?;
                streams.push((identity, folder, fragments));
            }
        }
        Ok(streams)
    }
}

/// Returns the name of a stream's folder: its name and, outside of `us-east-1`, its region after a character that no name has.
fn folder_name(identity: &StreamIdentity) -> String {
    let (name, region) = (&identity.name, identity.region());
    // Folders of versions without regions have no region in their names.
    match region == Region::default() {
        true => format!("{name}{STREAM_SUFFIX}"),
        false => format!("{name}@{region}{STREAM_SUFFIX}"),
    }
}

impl StreamFolder {
    /// Replaces the file with the stream's identity.
    pub(crate) fn write_identity(&self, identity: &StreamIdentity) -> Result<(), DataDirError> {
        let file = self.path.join(IDENTITY_FILE);
        let json = serde_json::to_vec_pretty(identity).map_err(io::Error::from);
        let written = json.and_then(|json| write_then_rename(&file, &json));
        written.map_err(failed("write", &file))
    }

    pub(crate) async fn write_fragment(
        &self,
        number: FragmentNumber,
        document: &[Bytes],
    ) -> Result<(), DataDirError> {
        let path = self.fragment_path(number);
        let bytes = document.concat();
        let target = path.clone();
        // A fragment can have 50 MB, whose write would hold up the other connections of a runtime thread.
        let written = tokio::task::spawn_blocking(move || write_then_rename(&target, &bytes)).await;
        written.unwrap_or_else(|stopped| Err(io::Error::other(stopped))).map_err(failed("write", &path))
    }

    /// Removes the files of expired fragments. A failure is only logged: the fragment stays expired after a restart as well.
    pub(crate) async fn remove_fragments(&self, numbers: &[FragmentNumber]) {
        for &number in numbers {
            let path = self.fragment_path(number);
            if let Err(error) = tokio::fs::remove_file(&path).await {
                warn!(path = %path.display(), %error, "an expired fragment cannot be removed from disk; remove the file");
            }
        }
    }

    pub(crate) async fn remove(&self) -> Result<(), DataDirError> {
        tokio::fs::remove_dir_all(&self.path).await.map_err(failed("remove", &self.path))
    }

    fn fragment_path(&self, number: FragmentNumber) -> PathBuf {
        self.path.join(format!("{number}.{FRAGMENT_SUFFIX}"))
    }

    /// Reads the identity; None if a crash came before it was written.
    fn read_identity(&self) -> Result<Option<StreamIdentity>, DataDirError> {
        let path = self.path.join(IDENTITY_FILE);
        match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
            Ok(json) => {
                let identity = serde_json::from_slice(&json).map_err(io::Error::from);
                identity.map(Some).map_err(failed("read", &path))
            }
        }
    }

    /// Reads the complete fragments in the order of their numbers, and removes all other files.
    fn read_fragments(&self) -> Result<Vec<StoredFragment>, DataDirError> {
        let mut fragments = Vec::new();
        for path in list(&self.path)? {
            if path.file_name().is_some_and(|name| name == IDENTITY_FILE) {
                continue;
            }
            let bytes = std::fs::read(&path).map_err(failed("read", &path))?;
            match read_document(&bytes) {
                Some(fragment) => fragments.push(fragment),
                None => {
                    warn!(path = %path.display(), "an incomplete fragment was removed");
                    std::fs::remove_file(&path).map_err(failed("remove", &path))?;
                }
            }
        }
        fragments.sort_by_key(|fragment| fragment.number);
        Ok(fragments)
    }
}

/// Reads a fragment from its document; None if the document is incomplete.
fn read_document(bytes: &[u8]) -> Option<StoredFragment> {
    let mut reader = MkvReader::new(MkvLimits::default());
    reader.push(bytes);
    let mut document = StoredDocument::default();
    while let Some(item) = reader.next().ok()? {
        document.take(item);
    }
    reader.finish().ok()?;
    document.into_fragment()
}

/// The elements of a document that were read so far.
#[derive(Default)]
struct StoredDocument {
    /// Timecode scale and bytes of Info.
    info: Option<(u64, Bytes)>,
    tracks: Option<Arc<[TrackEntry]>>,
    cluster_timestamp: Option<u64>,
    blocks: Vec<Block>,
    tags: Vec<Tag>,
}

impl StoredDocument {
    fn take(&mut self, item: MkvEvent) {
        match item {
            MkvEvent::Info { timestamp_scale_ns, raw } => self.info = Some((timestamp_scale_ns, raw)),
            MkvEvent::Tracks(tracks) => self.tracks = Some(tracks),
            MkvEvent::Tags(tags) => self.tags.extend(tags),
            MkvEvent::ClusterStart { timestamp } => self.cluster_timestamp = Some(timestamp),
            MkvEvent::Block(block) => self.blocks.push(block),
            // A file has one document with one Cluster.
            MkvEvent::DocumentStart | MkvEvent::ClusterEnd => {}
        }
    }

    fn into_fragment(mut self) -> Option<StoredFragment> {
        // The last tag of a document: with it the file is complete.
        self.aws_tag("CONTINUATION_TOKEN")?;
        let number = self.aws_tag("FRAGMENT_NUMBER")?.parse().ok()?;
        let server_ms = parse_seconds(self.aws_tag("SERVER_TIMESTAMP")?)?;
        let mut media = FragmentMedia::new(self.head()?);
        for block in &self.blocks {
            let mut element = Vec::new();
            // BlockGroups of a producer were stored as SimpleBlocks already, so nothing is lost here.
            writer::simple_block(&mut element, block.track, block.relative, block.key, &block.data);
            media.push(element.into(), block.relative);
        }
        // AWS's tags are written again for each reader; only the producer's are stored.
        self.tags.retain(|tag| !tag.name.starts_with("AWS_KINESISVIDEO_"));
        media.tags = self.tags;
        Some(StoredFragment { number, server_ms, complete: true, content: FragmentContent::Media(media) })
    }

    fn head(&self) -> Option<FragmentHead> {
        let (timecode_scale_ns, info) = self.info.as_ref()?;
        let header = MediaHeader::with_info(info, *timecode_scale_ns, self.tracks.as_ref()?);
        Some(FragmentHead {
            header: Arc::new(header),
            cluster_timestamp: self.cluster_timestamp?,
            producer_ms: parse_seconds(self.aws_tag("PRODUCER_TIMESTAMP")?)?,
        })
    }

    fn aws_tag(&self, name: &str) -> Option<&str> {
        let tag = self.tags.iter().find(|tag| tag.name.strip_prefix("AWS_KINESISVIDEO_") == Some(name));
        tag.map(|tag| tag.value.as_str())
    }
}

/// Parses decimal seconds with three decimals, as they are in a tag, into milliseconds.
fn parse_seconds(seconds: &str) -> Option<i64> {
    let (whole, decimals) = seconds.split_once('.')?;
    // The sign is taken off first: "-0.005" has a whole part of zero, which has none.
    let (negative, whole) = whole.strip_prefix('-').map_or((false, whole), |whole| (true, whole));
    let ms = whole.parse::<i64>().ok()?.checked_mul(1000)?.checked_add(decimals.parse().ok()?)?;
    Some(if negative { -ms } else { ms })
}

fn write_then_rename(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, bytes)?;
    // Renaming is atomic: a restart sees the old file or the whole new one. A power failure can lose both, since nothing is
    // synced.
    std::fs::rename(&unfinished, path)
}

fn list(path: &Path) -> Result<Vec<PathBuf>, DataDirError> {
    let entries = std::fs::read_dir(path).map_err(failed("list", path))?;
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    paths.map_err(failed("list", path))
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError { verb, path, source }
}
