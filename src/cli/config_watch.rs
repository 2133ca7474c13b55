//! Watches the configuration of a running service: polls it for changes, and reads it again on SIGHUP.

use std::io;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::config_args::{ConfigArgs, ConfigOrigin};
use crate::base::causes;
use crate::config::{ConfigErrors, ConfigSource, Settings};
use crate::remote::RemoteClient;

/// Interval between two reads of a local file. Its content is compared, not its time, so mounts and symlinks work too.
const FILE_INTERVAL: Duration = Duration::from_secs(1);
/// Interval between two requests to a server.
const REMOTE_INTERVAL: Duration = Duration::from_secs(60);

/// The maximum time for a read of a local file.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// The text of the configuration, or the reason why it cannot be read.
type ReadOutcome = Result<String, String>;

/// The settings of a changed configuration, or its mistakes as a text for a person.
pub(super) type ConfigChange = Result<Settings, String>;

/// Watches the configuration of a service.
pub(super) struct ConfigWatch {
    args: ConfigArgs,
    origin: ConfigOrigin,
    client: Option<RemoteClient>,
    etag: Option<String>,
    /// The read of a local file that is in progress.
    reading: Option<JoinHandle<Result<String, ConfigErrors>>>,
    /// Last text that was reported as a change.
    reported: ReadOutcome,
    /// Text of the last read.
    last: ReadOutcome,
    hangup: Signal,
    ticks: Interval,
}

impl ConfigWatch {
    /// Creates a watch of the configuration whose text was `text` at the start. `hangup` forces a read.
    ///
    /// Errors: see [`ConfigArgs::client`].
    pub(super) async fn new(args: ConfigArgs, text: &str, hangup: Signal) -> anyhow::Result<Self> {
        let origin = args.origin()?;
        let (client, period) = match &origin {
            ConfigOrigin::Local(_) => (None, FILE_INTERVAL),
            ConfigOrigin::Remote(address) => (Some(args.client(address).await?), REMOTE_INTERVAL),
        };
        let mut ticks = interval(period);
        // A slow server must not cause a burst of requests afterwards.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (reported, last) = (Ok(text.to_owned()), Ok(text.to_owned()));
        Ok(Self { args, origin, client, etag: None, reading: None, reported, last, hangup, ticks })
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
            let settled = read == self.last || matches!(self.origin, ConfigOrigin::Remote(_));
            self.last.clone_from(&read);
            if forced || settled && read != self.reported {
                self.reported.clone_from(&read);
                return read.and_then(|text| self.args.parse(&text).map_err(|mistakes| mistakes.to_string()));
            }
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
    async fn read_file(&mut self, source: ConfigSource) -> Result<String, ConfigErrors> {
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

    async fn fetch(&mut self, forced: bool) -> Result<Option<String>, ConfigErrors> {
        let (ConfigOrigin::Remote(address), Some(client)) = (&self.origin, &self.client) else {
            return Ok(None);
        };
        // Without the ETag after a failed read: the text must be compared again, whatever the version.
        let etag = self.etag.as_deref().filter(|_| !forced && self.last.is_ok());
        let Some((text, etag)) = self.args.text(client, address, etag).await? else { return Ok(None) };
        self.etag = etag;
        Ok(Some(text))
    }
}
