//! Players: each puts a clip into a stream as a camera would send it.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::clock::epoch_ms;
use crate::error::ApiError;
use crate::identifiers::stream_name::check_stream_name;
use crate::playback::clip::ClipFile;
use crate::playback::error::{ClipError, unreadable};
use crate::playback::event::{ClipEvent, ClipEventKind};
use crate::store::fragment::FragmentHead;
use crate::store::fragment_writer::FragmentWriter;
use crate::store::stream::KvsStream;

/// A value of `--play`: `NAME=CLIP` or `NAME=CLIP,loop`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Play {
    /// The stream's name; the stream is created if it does not exist.
    pub stream: String,
    /// The clip's file.
    pub path: PathBuf,
    /// Starts the clip again at its end.
    pub looped: bool,
}

/// A text that is not a [`Play`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlayParseError {
    /// The name, the `=` or the clip is missing.
    #[error(
        "\"{text}\" is not valid; NAME=CLIP or NAME=CLIP,loop is needed, such as gate=clips/gate.mp4,loop"
    )]
    Form {
        /// The text.
        text: String,
    },
    /// The name of the stream is not valid.
    #[error("{reason}")]
    Name {
        /// The rule that the name breaks.
        reason: String,
    },
    /// The option after the clip is unknown.
    #[error("\",{word}\" after {clip} is not an option; write \",loop\", or leave it out")]
    Option {
        /// The clip before the option.
        clip: String,
        /// The option without its comma.
        word: String,
    },
}

impl FromStr for Play {
    type Err = PlayParseError;

    fn from_str(text: &str) -> Result<Self, PlayParseError> {
        let invalid = || PlayParseError::Form { text: text.to_owned() };
        let (stream, clip) = text.split_once('=').ok_or_else(invalid)?;
        let (path, looped) = clip.strip_suffix(",loop").map_or((clip, false), |path| (path, true));
        if stream.is_empty() || path.is_empty() {
            return Err(invalid());
        }
        check_stream_name(stream).map_err(|error| PlayParseError::Name { reason: error.to_string() })?;
        check_option(path)?;
        Ok(Self { stream: stream.to_owned(), path: path.into(), looped })
    }
}

/// Fails for a path that ends with a comma and a word, which is an unknown option unless a file has that name.
fn check_option(path: &str) -> Result<(), PlayParseError> {
    let Some((clip, word)) = path.rsplit_once(',') else { return Ok(()) };
    let is_word = word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_word || Path::new(path).exists() {
        return Ok(());
    }
    Err(PlayParseError::Option { clip: clip.to_owned(), word: word.to_owned() })
}

/// The speed at which a clip is put into a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClipPace {
    /// The speed of a camera, by tokio's clock.
    Realtime,
    /// As fast as possible.
    Asap,
}

/// Events that the reading thread can be ahead of the player.
const EVENTS_AHEAD: usize = 64;

/// Plays a whole clip once. `start` is the producer's time of its first frame.
///
/// # Errors
///
/// The clip cannot be read to its end, or the stream is deleted meanwhile.
pub async fn append_clip(
    stream: &Arc<KvsStream>,
    path: &Path,
    pace: ClipPace,
    start: SystemTime,
) -> Result<(), ClipError> {
    let clip = open(path).await?;
    let start_ms = epoch_ms(start);
    run(Arc::clone(stream), clip, false, pace, start_ms, CancellationToken::new()).await
}

/// Starts a player at real-time pace, which ends with its clip or with `stop`.
///
/// Fails if the clip cannot be played, or if the stream has another producer.
pub(crate) async fn start(
    stream: Arc<KvsStream>,
    play: Play,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, ClipError> {
    let clip = open(&play.path).await?;
    let refused = |error: ApiError| ClipError::Stream { path: play.path.clone(), reason: error.to_string() };
    let permit = stream.claim_producer().map_err(refused)?;
    let start_ms = stream.clock().now_ms();
    Ok(tokio::spawn(async move {
        let _held = permit;
        let name = play.stream;
        match run(stream, clip, play.looped, ClipPace::Realtime, start_ms, stop).await {
            Ok(()) => info!(stream = name, "clip finished"),
            Err(error) => error!(stream = name, %error, "player failed; the stream gets no more media"),
        }
    }))
}

async fn open(path: &Path) -> Result<ClipFile, ClipError> {
    let owned = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || ClipFile::open(&owned)).await;
    opened.unwrap_or_else(|panic| Err(unreadable(path, &panic)))
}

async fn run(
    stream: Arc<KvsStream>,
    clip: ClipFile,
    looped: bool,
    pace: ClipPace,
    start_ms: i64,
    stop: CancellationToken,
) -> Result<(), ClipError> {
    let (sender, events) = mpsc::channel(EVENTS_AHEAD);
    let path = clip.path().to_owned();
    let name = format!("play {}", stream.identity().name);
    let reading = spawn_reader(name, clip, looped, sender)?;
    let player = ClipPlayer { stream, pace, start_ms, started: Instant::now(), open: None };
    let played = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        played = player.play(events) => played,
    };
    // The receiver is dropped by now, which ends the thread at its next event.
    let read = tokio::task::spawn_blocking(move || reading.join()).await;
    played.map_err(|error| ClipError::Stream { path: path.clone(), reason: error.to_string() })?;
    let panicked = "its reading thread panicked; this is a bug, report it with this message";
    let Ok(Ok(read)) = read else { return Err(unreadable(&path, &panicked)) };
    read
}

/// Starts the thread that reads a clip and sends its events.
fn spawn_reader(
    name: String,
    clip: ClipFile,
    looped: bool,
    sender: mpsc::Sender<ClipEvent>,
) -> Result<thread::JoinHandle<Result<(), ClipError>>, ClipError> {
    let path = clip.path().to_owned();
    let run = move || clip.run(looped, &mut |event| sender.blocking_send(event).is_ok());
    // libavformat blocks on the disk, so the clip is read on a thread of its own.
    thread::Builder::new().name(name).spawn(run).map_err(|error| unreadable(&path, &error))
}

struct ClipPlayer {
    stream: Arc<KvsStream>,
    pace: ClipPace,
    /// The producer's time of the start of the playback.
    start_ms: i64,
    started: Instant,
    open: Option<FragmentWriter>,
}

impl ClipPlayer {
    async fn play(mut self, mut events: mpsc::Receiver<ClipEvent>) -> Result<(), ApiError> {
        while let Some(event) = events.recv().await {
            // Due times are of the playback's start, so delays of single events do not add up.
            if self.pace == ClipPace::Realtime {
                let due_ms = u64::try_from(event.due_ms).unwrap_or(0);
                sleep_until(self.started + Duration::from_millis(due_ms)).await;
            }
            self.write(event.kind).await?;
        }
        Ok(())
    }

    async fn write(&mut self, event: ClipEventKind) -> Result<(), ApiError> {
        match (event, &mut self.open) {
            (ClipEventKind::FragmentStart { header, media_ms }, _) => {
                let producer_ms = self.start_ms + media_ms;
                // The header counts in ms and timecodes are absolute, so both times are the same number.
                let cluster_timestamp = u64::try_from(producer_ms).unwrap_or(0);
                let head = FragmentHead { header, cluster_timestamp, producer_ms };
                self.open = Some(FragmentWriter::begin(&self.stream, head)?);
            }
            (ClipEventKind::Frame(block), Some(open)) => open.push(&block)?,
            (ClipEventKind::FragmentEnd(tags), _) => {
                if let Some(open) = self.open.take() {
                    open.finish(tags).await?;
                }
            }
            // A reader emits no frame outside a fragment.
            (ClipEventKind::Frame(_), None) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_play_has_a_name_a_clip_and_optionally_loop() {
        let play = |path: &str, looped| Play { stream: "gate".to_owned(), path: path.into(), looped };
        for (text, expected) in [
            ("gate=a.mp4", play("a.mp4", false)),
            ("gate=a.mp4,loop", play("a.mp4", true)),
            ("gate=a=b,c.mp4", play("a=b,c.mp4", false)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        let form = "NAME=CLIP,loop is needed";
        for (text, message) in [
            ("gate", form),
            ("=a.mp4", form),
            ("gate=", form),
            ("gate=,loop", form),
            ("bad name!=a.mp4", "of the characters"),
            ("gate=a.mp4,looop", "write \",loop\""),
            ("gate=a.mp4,", "write \",loop\""),
        ] {
            let error = text.parse::<Play>().unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn a_files_name_can_contain_a_comma() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("north,east");
        std::fs::write(&path, "").unwrap();
        let play: Play = format!("gate={}", path.display()).parse().unwrap();
        assert_eq!(play.path, path);
    }
}
