//! `--data-dir`: one folder a stream, one file a fragment, each file a GetMedia dump of that fragment.
//!
//! A file is written beside its name and then renamed; what a crash leaves half written has no trailing tags
//! and is removed when the folder is read again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use kvs_mkv::{Block, MkvEvent, MkvLimits, MkvReader, Tag, TrackEntry, writer};
use tracing::warn;

use crate::errors::DiskError;
use crate::fragment::{Content, Fragment, FragmentHead, Media, MediaHeader};
use crate::fragment_number::FragmentNumber;
use crate::region::Region;
use crate::stream_identity::StreamIdentity;

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
    pub(crate) fn open(path: PathBuf) -> Result<Self, DiskError> {
        std::fs::create_dir_all(&path).map_err(failed("make the folder", &path))?;
        Ok(Self { path })
    }

    /// Makes the folder of a stream and writes its identity there.
    pub(crate) fn create(&self, identity: &StreamIdentity) -> Result<StreamFolder, DiskError> {
        let path = self.path.join(folder_name(identity));
        std::fs::create_dir_all(&path).map_err(failed("make the folder", &path))?;
        let folder = StreamFolder { path };
        folder.write_identity(identity)?;
        Ok(folder)
    }

    /// The streams that are kept here, with their whole fragments.
    pub(crate) fn load(&self) -> Result<Vec<(StreamIdentity, StreamFolder, Vec<Fragment>)>, DiskError> {
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

/// The name of a stream; outside of `us-east-1` its region, too, after a sign that no name has.
fn folder_name(identity: &StreamIdentity) -> String {
    let (name, region) = (&identity.name, identity.region());
    match region == Region::default() {
        true => format!("{name}{STREAM_SUFFIX}"),
        false => format!("{name}@{region}{STREAM_SUFFIX}"),
    }
}

impl StreamFolder {
    /// Writes what is known of the stream, in place of what was written before.
    pub(crate) fn write_identity(&self, identity: &StreamIdentity) -> Result<(), DiskError> {
        let file = self.path.join(IDENTITY_FILE);
        let json = serde_json::to_vec_pretty(identity).map_err(io::Error::from);
        let written = json.and_then(|json| write_then_rename(&file, &json));
        written.map_err(failed("write", &file))
    }

    pub(crate) async fn write_fragment(
        &self,
        number: FragmentNumber,
        document: &[Bytes],
    ) -> Result<(), DiskError> {
        let path = self.fragment_path(number);
        let bytes = document.concat();
        let target = path.clone();
        let written = tokio::task::spawn_blocking(move || write_then_rename(&target, &bytes)).await;
        written.unwrap_or_else(|stopped| Err(io::Error::other(stopped))).map_err(failed("write", &path))
    }

    /// Removes files of fragments that are kept no longer; one that stays is only logged, for it expires anyway.
    pub(crate) async fn remove_fragments(&self, numbers: &[FragmentNumber]) {
        for &number in numbers {
            let path = self.fragment_path(number);
            if let Err(error) = tokio::fs::remove_file(&path).await {
                warn!(path = %path.display(), %error, "an expired fragment stays on disk");
            }
        }
    }

    pub(crate) async fn remove(&self) -> Result<(), DiskError> {
        tokio::fs::remove_dir_all(&self.path).await.map_err(failed("remove", &self.path))
    }

    fn fragment_path(&self, number: FragmentNumber) -> PathBuf {
        self.path.join(format!("{number}.{FRAGMENT_SUFFIX}"))
    }

    /// None where the folder was left before its identity was written.
    fn read_identity(&self) -> Result<Option<StreamIdentity>, DiskError> {
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

    /// Whole fragments in the order of their numbers; all other files are removed.
    fn read_fragments(&self) -> Result<Vec<Fragment>, DiskError> {
        let mut fragments = Vec::new();
        for path in list(&self.path)? {
            if path.file_name().is_some_and(|name| name == IDENTITY_FILE) {
                continue;
            }
            let bytes = std::fs::read(&path).map_err(failed("read", &path))?;
            match read_document(&bytes) {
                Some(fragment) => fragments.push(fragment),
                None => {
                    warn!(path = %path.display(), "a fragment was half written and is dropped");
                    std::fs::remove_file(&path).map_err(failed("remove", &path))?;
                }
            }
        }
        fragments.sort_by_key(|fragment| fragment.number);
        Ok(fragments)
    }
}

/// A fragment from its own document; None where any of it is missing.
fn read_document(bytes: &[u8]) -> Option<Fragment> {
    let mut reader = MkvReader::new(MkvLimits::default());
    reader.push(bytes);
    let mut document = Document::default();
    while let Some(item) = reader.next().ok()? {
        document.take(item);
    }
    reader.finish().ok()?;
    document.into_fragment()
}

/// What was read of a document so far.
#[derive(Default)]
struct Document {
    info: Option<(u64, Bytes)>,
    tracks: Option<Arc<[TrackEntry]>>,
    cluster_timestamp: Option<u64>,
    blocks: Vec<Block>,
    tags: Vec<Tag>,
}

impl Document {
    fn take(&mut self, item: MkvEvent) {
        match item {
            MkvEvent::Info { timestamp_scale_ns, raw } => self.info = Some((timestamp_scale_ns, raw)),
            MkvEvent::Tracks(tracks) => self.tracks = Some(tracks),
            MkvEvent::Tags(tags) => self.tags.extend(tags),
            MkvEvent::ClusterStart { timestamp } => self.cluster_timestamp = Some(timestamp),
            MkvEvent::Block(block) => self.blocks.push(block),
            MkvEvent::DocumentStart | MkvEvent::ClusterEnd => {}
        }
    }

    fn into_fragment(mut self) -> Option<Fragment> {
        let (timecode_scale_ns, info) = self.info.take()?;
        let header = MediaHeader::with_info(&info, timecode_scale_ns, &self.tracks.take()?);
        self.aws("CONTINUATION_TOKEN")?;
        let head = FragmentHead {
            header: Arc::new(header),
            cluster_timestamp: self.cluster_timestamp?,
            producer_ms: millis(self.aws("PRODUCER_TIMESTAMP")?)?,
        };
        let number = self.aws("FRAGMENT_NUMBER")?.parse().ok()?;
        let server_ms = millis(self.aws("SERVER_TIMESTAMP")?)?;
        let mut media = Media::new(head);
        for block in &self.blocks {
            let mut element = Vec::new();
            writer::simple_block(&mut element, block.track, block.relative, block.key, &block.data);
            media.push(element.into(), block.relative);
        }
        self.tags.retain(|tag| !tag.name.starts_with("AWS_KINESISVIDEO_"));
        media.tags = self.tags;
        Some(Fragment { number, server_ms, complete: true, content: Content::Media(media) })
    }

    fn aws(&self, name: &str) -> Option<&str> {
        let tag = self.tags.iter().find(|tag| tag.name.strip_prefix("AWS_KINESISVIDEO_") == Some(name));
        tag.map(|tag| tag.value.as_str())
    }
}

/// Milliseconds from decimal seconds with three decimals.
fn millis(seconds: &str) -> Option<i64> {
    let (whole, decimals) = seconds.split_once('.')?;
    let (negative, whole) = whole.strip_prefix('-').map_or((false, whole), |whole| (true, whole));
    let ms = whole.parse::<i64>().ok()?.checked_mul(1000)?.checked_add(decimals.parse().ok()?)?;
    Some(if negative { -ms } else { ms })
}

fn write_then_rename(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, bytes)?;
    std::fs::rename(&unfinished, path)
}

fn list(path: &Path) -> Result<Vec<PathBuf>, DiskError> {
    let entries = std::fs::read_dir(path).map_err(failed("list", path))?;
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    paths.map_err(failed("list", path))
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError { verb, path, source }
}
