//! Watches the configuration of a running service: polls it for changes, and reads it again on SIGHUP.

use std::io;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::config_args::{ConfigArgs, ConfigOrigin};
use crate::base::causes;
use crate::config::{ConfigContent, ConfigErrors, ConfigSource, Settings};
use crate::remote::RemoteClient;

/// Interval between two reads of a local file. Its content is compared, not its time, so mounts and symlinks work too.
const FILE_INTERVAL: Duration = Duration::from_secs(1);
/// Interval between two requests to a server.
const REMOTE_INTERVAL: Duration = Duration::from_secs(60);

/// The maximum time for a read of a local file.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// The content of the configuration, or the reason why it cannot be read.
type ReadOutcome = Result<ConfigContent, String>;

/// The settings of a changed configuration, or its mistakes as a text for a person.
pub(super) type ConfigChange = Result<Settings, String>;

/// Watches the configuration of a service.
pub(super) struct ConfigWatch {
    args: ConfigArgs,
    origin: ConfigOrigin,
    client: Option<RemoteClient>,
    etag: Option<String>,
    /// `true` if workers share the cameras: the same text with another time is another version then.
    is_shared: bool,
    /// The read of a local file that is in progress.
    reading: Option<JoinHandle<Result<ConfigContent, ConfigErrors>>>,
    /// Last content that was reported as a change.
    reported: ReadOutcome,
    /// Content of the last read.
    last: ReadOutcome,
    hangup: Signal,
    ticks: Interval,
}

impl ConfigWatch {
    /// Creates a watch of the configuration that had these settings at the start. `hangup` forces a read.
    ///
    /// Errors: see [`ConfigArgs::client`].
    pub(super) async fn new(args: ConfigArgs, settings: &Settings, hangup: Signal) -> anyhow::Result<Self> {
        let origin = args.origin()?;
        let (client, period) = match &origin {
            ConfigOrigin::Local(_) => (None, FILE_INTERVAL),
            ConfigOrigin::Remote(address) => (Some(args.client(address).await?), REMOTE_INTERVAL),
        };
        let mut ticks = interval(period);
        // A slow server must not cause a burst of requests afterwards.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (reported, last) = (Ok(settings.content().clone()), Ok(settings.content().clone()));
        let is_shared = settings.sharing.is_some();
        Ok(Self { args, origin, client, etag: None, is_shared, reading: None, reported, last, hangup, ticks })
    }

    /// Starts a task that reports changes until the receiver is dropped.
    pub(super) fn spawn(self) -> (Receiver<ConfigChange>, JoinHandle<()>) {
        let (sender, changes) = channel(1);
        (changes, tokio::spawn(self.run(sender)))
    }

    async fn run(mut self, changes: Sender<ConfigChange>) {
        loop {
            let change = tokio::select! {
                change = self.changed() => change,
                () = changes.closed() => return,
            };
            if changes.send(change).await.is_err() {
                return;
            }
        }
    }

    /// Waits until the configuration changes or SIGHUP arrives, and returns the parsed configuration.
    ///
    /// Errors: the mistakes of the configuration, as a text for a person.
    async fn changed(&mut self) -> ConfigChange {
        loop {
            let forced = tokio::select! {
                _ = self.hangup.recv() => true,
                _ = self.ticks.tick() => false,
            };
            // `None` is the usual answer of a server: nothing has changed.
            let Some(read) = self.read(forced).await else { continue };
            // A file that is being written may be incomplete, so two reads in a row must agree. A server sends whole files.
            let settled = self.is_same(&read, &self.last) || matches!(self.origin, ConfigOrigin::Remote(_));
            self.last.clone_from(&read);
            if forced || settled && !self.is_same(&read, &self.reported) {
                self.reported.clone_from(&read);
                return read
                    .and_then(|content| self.args.parse(content).map_err(|mistakes| mistakes.to_string()));
            }
        }
    }

    fn is_same(&self, a: &ReadOutcome, b: &ReadOutcome) -> bool {
        match (a, b) {
            (Ok(a), Ok(b)) => a.text == b.text && (!self.is_shared || a.modified_ms == b.modified_ms),
            _ => a == b,
        }
    }

    /// Reads the configuration. Returns `None` if a server has no other version, or standard input is not asked again.
    async fn read(&mut self, forced: bool) -> Option<ReadOutcome> {
        let read = match &self.origin {
            ConfigOrigin::Local(source) if source.can_be_read_again() => {
                let source = source.clone();
                self.read_file(source).await
            }
            ConfigOrigin::Local(_) if forced => {
                return Some(Err("standard input cannot be read again; restart, or use a file".to_owned()));
            }
            ConfigOrigin::Local(_) => return None,
            ConfigOrigin::Remote(_) => self.fetch(forced).await.transpose()?,
        };
        Some(read.map_err(|error: ConfigErrors| causes(&error)))
    }

    /// Reads the file on a thread of its own: a mount that does not answer must not stop the runtime, which reads the cameras.
    ///
    /// One read is in progress at most. A read that takes longer than [`READ_LIMIT`] is awaited again by the next call.
    async fn read_file(&mut self, source: ConfigSource) -> Result<ConfigContent, ConfigErrors> {
        let file = source.name();
        let reading = self.reading.get_or_insert_with(|| spawn_blocking(move || source.read_again()));
        let Ok(finished) = timeout(READ_LIMIT, reading).await else {
            let text = format!("no answer within {} s; check the disk or the mount", READ_LIMIT.as_secs());
            let why = io::Error::new(io::ErrorKind::TimedOut, text);
            return Err(ConfigErrors::Unreadable { file, why });
        };
        self.reading = None;
        finished.unwrap_or_else(|panic| Err(ConfigErrors::Unreadable { file, why: io::Error::other(panic) }))
    }

    async fn fetch(&mut self, forced: bool) -> Result<Option<ConfigContent>, ConfigErrors> {
        let (ConfigOrigin::Remote(address), Some(client)) = (&self.origin, &self.client) else {
            return Ok(None);
        };
        // Without the ETag after a failed read: the text must be compared again, whatever the version. Nor for workers that share the
        // cameras: S3 gives the same text the same ETag, and one that is uploaded again has a new time.
        let etag = self.etag.as_deref().filter(|_| !forced && !self.is_shared && self.last.is_ok());
        let Some((content, etag)) = self.args.fetch(client, address, etag).await? else { return Ok(None) };
        self.etag = etag;
        Ok(Some(content))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;
    use std::time::{SystemTime, UNIX_EPOCH};

    use clap::Parser;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::signal::unix::{SignalKind, signal};

    use super::*;

    const ALONE: &str = "publishers: { local_dir: events }
cameras: [{ id: a, kvs_stream_name: a, pipeline: [{ type: objects, objects: { yolo_weights: 's3://b/m.onnx' } }] }]
";
    const SHARED: &str = "state: { ddb_table: positions }\nsharing: { table: workers }\n";

    #[derive(clap::Parser)]
    struct WatchCommand {
        #[command(flatten)]
        config: ConfigArgs,
    }

    fn args(config: &str) -> ConfigArgs {
        WatchCommand::parse_from(["watch", "--config", config]).config
    }

    fn set_time(path: &Path, seconds: u64) {
        let time: SystemTime = UNIX_EPOCH + Duration::from_secs(seconds);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    fn hangup() -> Signal {
        signal(SignalKind::hangup()).unwrap()
    }

    #[tokio::test]
    async fn the_same_text_with_another_time_is_a_change_only_with_sharing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cameras.yaml");
        for (text, is_same) in [(ALONE.to_owned(), true), (format!("{SHARED}{ALONE}"), false)] {
            std::fs::write(&path, text).unwrap();
            set_time(&path, 1_000);
            let args = args(&path.display().to_string());
            let settings = args.load().unwrap();
            let mut watch = ConfigWatch::new(args, &settings, hangup()).await.unwrap();
            let read = watch.read(false).await.unwrap();
            assert!(watch.is_same(&read, &watch.reported), "nothing has changed");
            set_time(&path, 2_000);
            let read = watch.read(false).await.unwrap();
            assert_eq!(watch.is_same(&read, &watch.reported), is_same, "{settings:?}");
        }
        let (_, mut watch) = (set_time(&path, 3_000), watch_of(&path).await);
        set_time(&path, 4_000);
        let changed = watch.changed().await.unwrap();
        assert_eq!(changed.version.unwrap().modified_ms, 4_000_000);
    }

    async fn watch_of(path: &Path) -> ConfigWatch {
        let args = args(&path.display().to_string());
        let settings = args.load().unwrap();
        ConfigWatch::new(args, &settings, hangup()).await.unwrap()
    }

    /// S3 gives the same text the same ETag: with it, a worker would never see that the text was uploaded again.
    #[tokio::test(flavor = "multi_thread")]
    async fn with_sharing_a_server_is_asked_without_an_etag() {
        for (text, asks_with_etag) in [(ALONE.to_owned(), true), (format!("{SHARED}{ALONE}"), false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let args = args(&format!("http://{}/cameras.yaml", listener.local_addr().unwrap()));
            let server = tokio::spawn(serve(listener, text));
            let loading = args.clone();
            let settings = spawn_blocking(move || loading.load().unwrap()).await.unwrap();
            let mut watch = ConfigWatch::new(args, &settings, hangup()).await.unwrap();
            for _ in 0..2 {
                let read = watch.read(false).await.unwrap();
                watch.last = read;
            }
            let heads = server.await.unwrap();
            let with_etag: Vec<bool> =
                heads.iter().map(|head| head.contains("if-none-match: \"1\"")).collect();
            assert_eq!(with_etag, [false, false, asks_with_etag]);
        }
    }

    /// Answers three requests, and returns their heads.
    async fn serve(listener: TcpListener, text: String) -> Vec<String> {
        let mut heads = Vec::new();
        for _ in 0..3 {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            heads.push(String::from_utf8(head).unwrap());
            let headers = "Connection: close\r\nETag: \"1\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
            let length = text.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{headers}\r\n\r\n{text}");
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
        heads
    }
}
