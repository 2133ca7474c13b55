//! Players: a clip goes into a stream as a camera would send it.

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
use crate::identifiers::stream_name::check_name;
use crate::playback::clip::Clip;
use crate::playback::error::{ClipError, unreadable};
use crate::playback::event::{Cut, Piece};
use crate::store::fragment::FragmentHead;
use crate::store::fragment_writer::FragmentWriter;
use crate::store::stream::Stream;

/// What `--play` says: `NAME=CLIP` or `NAME=CLIP,loop`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Play {
    /// The stream, made where there is none.
    pub stream: String,
    /// The clip's file.
    pub path: PathBuf,
    /// Whether it begins again at its end.
    pub looped: bool,
}

/// Why a text is no [`Play`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAPlay {
    /// It lacks a name, a `=` or a clip.
    #[error("\"{text}\": NAME=CLIP or NAME=CLIP,loop is needed, such as gate=clips/gate.mp4,loop")]
    Form {
        /// As it was given.
        text: String,
    },
    /// No stream can have that name.
    #[error("{reason}")]
    Name {
        /// What is wrong with it.
        reason: String,
    },
    /// A word after the clip that is none.
    #[error("\",{word}\" after {clip} means nothing; write \",loop\", or leave it out")]
    Word {
        /// The clip before it.
        clip: String,
        /// Without its comma.
        word: String,
    },
}

impl FromStr for Play {
    type Err = NotAPlay;

    fn from_str(text: &str) -> Result<Self, NotAPlay> {
        let wrong = || NotAPlay::Form { text: text.to_owned() };
        let (stream, clip) = text.split_once('=').ok_or_else(wrong)?;
        let (path, looped) = clip.strip_suffix(",loop").map_or((clip, false), |path| (path, true));
        if stream.is_empty() || path.is_empty() {
            return Err(wrong());
        }
        check_name(stream).map_err(|error| NotAPlay::Name { reason: error.to_string() })?;
        check_word(path)?;
        Ok(Self { stream: stream.to_owned(), path: path.into(), looped })
    }
}

/// A comma and a word at the end are part of a file's name only where there is that file.
fn check_word(path: &str) -> Result<(), NotAPlay> {
    let Some((clip, word)) = path.rsplit_once(',') else { return Ok(()) };
    let is_word = word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_word || Path::new(path).exists() {
        return Ok(());
    }
    Err(NotAPlay::Word { clip: clip.to_owned(), word: word.to_owned() })
}

/// How fast a clip goes into a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As a camera sends it, by tokio's clock.
    Realtime,
    /// At once.
    Asap,
}

/// Cuts that the reading thread is ahead of the play.
const CUTS_AHEAD: usize = 64;

/// Plays a whole clip once; `start` is the producer's time of its first frame.
///
/// Errors: the clip cannot be read to its end, or the stream is deleted meanwhile.
pub async fn append_clip(
    stream: &Arc<Stream>,
    path: &Path,
    pace: Pace,
    start: SystemTime,
) -> Result<(), ClipError> {
    let clip = open(path).await?;
    let start_ms = epoch_ms(start);
    run(Arc::clone(stream), clip, false, pace, start_ms, CancellationToken::new()).await
}

/// Starts a player at real-time pace, which ends with its clip or with `stop`.
///
/// Errors: the clip cannot be played, or something else writes to the stream.
pub(crate) async fn start(
    stream: Arc<Stream>,
    play: Play,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, ClipError> {
    let clip = open(&play.path).await?;
    let refused = |error: ApiError| ClipError::Stream { path: play.path.clone(), reason: error.to_string() };
    let place = stream.claim_producer().map_err(refused)?;
    let start_ms = stream.clock().now_ms();
    Ok(tokio::spawn(async move {
        let _place = place;
        let name = play.stream;
        match run(stream, clip, play.looped, Pace::Realtime, start_ms, stop).await {
            Ok(()) => info!(stream = name, "the clip is over"),
            Err(error) => error!(stream = name, %error, "the player ended"),
        }
    }))
}

async fn open(path: &Path) -> Result<Clip, ClipError> {
    let owned = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || Clip::open(&owned)).await;
    opened.unwrap_or_else(|stopped| Err(unreadable(path, &stopped)))
}

async fn run(
    stream: Arc<Stream>,
    clip: Clip,
    looped: bool,
    pace: Pace,
    start_ms: i64,
    stop: CancellationToken,
) -> Result<(), ClipError> {
    let (sender, cuts) = mpsc::channel(CUTS_AHEAD);
    let path = clip.path().to_owned();
    let name = format!("play {}", stream.identity().name);
    let reading = thread::Builder::new()
        .name(name)
        .spawn(move || clip.run(looped, &mut |cut| sender.blocking_send(cut).is_ok()))
        .map_err(|error| unreadable(&path, &error))?;
    let player = Player { stream, pace, start_ms, started: Instant::now(), open: None };
    let played = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        played = player.play(cuts) => played,
    };
    let read = tokio::task::spawn_blocking(move || reading.join()).await;
    played.map_err(|error| ClipError::Stream { path: path.clone(), reason: error.to_string() })?;
    match read {
        Ok(Ok(read)) => read,
        _ => Err(unreadable(&path, &"its reading thread panicked; this is a bug")),
    }
}

struct Player {
    stream: Arc<Stream>,
    pace: Pace,
    start_ms: i64,
    started: Instant,
    open: Option<FragmentWriter>,
}

impl Player {
    /// Ends with the cuts; a dropped receiver ends the thread that sends them.
    async fn play(mut self, mut cuts: mpsc::Receiver<Cut>) -> Result<(), ApiError> {
        while let Some(cut) = cuts.recv().await {
            if self.pace == Pace::Realtime {
                let due_ms = u64::try_from(cut.due_ms).unwrap_or(0);
                sleep_until(self.started + Duration::from_millis(due_ms)).await;
            }
            self.show(cut.piece).await?;
        }
        Ok(())
    }

    async fn show(&mut self, piece: Piece) -> Result<(), ApiError> {
        match (piece, &mut self.open) {
            (Piece::Begin { header, media_ms }, _) => {
                let producer_ms = self.start_ms + media_ms;
                let cluster_timestamp = u64::try_from(producer_ms).unwrap_or(0);
                let head = FragmentHead { header, cluster_timestamp, producer_ms };
                self.open = Some(FragmentWriter::begin(&self.stream, head)?);
            }
            (Piece::Frame(block), Some(open)) => open.push(&block)?,
            (Piece::End(tags), _) => {
                if let Some(open) = self.open.take() {
                    open.finish(tags).await?;
                }
            }
            (Piece::Frame(_), None) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_play_is_a_name_a_clip_and_perhaps_loop() {
        let play = |path: &str, looped| Play { stream: "gate".to_owned(), path: path.into(), looped };
        for (text, expected) in [
            ("gate=a.mp4", play("a.mp4", false)),
            ("gate=a.mp4,loop", play("a.mp4", true)),
            ("gate=a=b,c.mp4", play("a=b,c.mp4", false)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        let form = "NAME=CLIP,loop is needed";
        for (text, told) in [
            ("gate", form),
            ("=a.mp4", form),
            ("gate=", form),
            ("gate=,loop", form),
            ("bad name!=a.mp4", "of the characters"),
            ("gate=a.mp4,looop", "write \",loop\""),
            ("gate=a.mp4,", "write \",loop\""),
        ] {
            let error = text.parse::<Play>().unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn a_comma_may_be_part_of_a_files_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("north,east");
        std::fs::write(&path, "").unwrap();
        let play: Play = format!("gate={}", path.display()).parse().unwrap();
        assert_eq!(play.path, path);
    }
}
