//! Looks whether the configuration of a running service has changed: now and then, and at SIGHUP.

use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::config_args::{ConfigArgs, Origin};
use crate::base::causes;
use crate::config::{ConfigErrors, Settings};
use crate::remote::Remote;

/// How often a file is looked at. Its content counts, not its time, so that mounted folders and links do no harm.
const FILE_EVERY: Duration = Duration::from_secs(1);
/// How often a server is asked.
const REMOTE_EVERY: Duration = Duration::from_secs(60);

/// What was read: the text, or why there is none.
type Read = Result<String, String>;

/// The settings of a configuration that has changed, or its mistakes, for a person to read.
pub(super) type ConfigChange = Result<Settings, String>;

/// Follows the configuration of a service.
pub(super) struct ConfigWatch {
    args: ConfigArgs,
    origin: Origin,
    remote: Option<Remote>,
    etag: Option<String>,
    /// What was told of last.
    told: Read,
    /// What was read last.
    last: Read,
    hangup: Signal,
    ticks: Interval,
}

impl ConfigWatch {
    /// Follows the configuration whose text was `text` when the service started; `hangup` asks for it to be read again.
    ///
    /// Errors: see [`ConfigArgs::remote`].
    pub(super) async fn new(args: ConfigArgs, text: &str, hangup: Signal) -> anyhow::Result<Self> {
        let origin = args.origin()?;
        let (remote, every) = match &origin {
            Origin::Local(_) => (None, FILE_EVERY),
            Origin::Remote(address) => (Some(args.remote(address).await?), REMOTE_EVERY),
        };
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (told, last) = (Ok(text.to_owned()), Ok(text.to_owned()));
        Ok(Self { args, origin, remote, etag: None, told, last, hangup, ticks })
    }

    /// Follows it from now on, in a task that ends when the receiver is dropped.
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

    /// Waits until the configuration is another, or SIGHUP asks for it; gives what it asks for then.
    ///
    /// Errors: what is wrong with it, for a person to read.
    async fn changed(&mut self) -> ConfigChange {
        loop {
            let asked = tokio::select! {
                _ = self.hangup.recv() => true,
                _ = self.ticks.tick() => false,
            };
            let Some(read) = self.read(asked).await else { continue };
            // A file that is being written is not whole yet: it must stay as it is for one look.
            let settled = read == self.last || matches!(self.origin, Origin::Remote(_));
            self.last.clone_from(&read);
            if asked || settled && read != self.told {
                self.told.clone_from(&read);
                return read.and_then(|text| self.args.parse(&text).map_err(|mistakes| mistakes.to_string()));
            }
        }
    }

    /// `None`: nothing to say.
    async fn read(&mut self, asked: bool) -> Option<Read> {
        let read = match &self.origin {
            Origin::Local(source) if source.can_be_read_again() => source.read(),
            Origin::Local(_) if asked => {
                return Some(Err("standard input cannot be read again; restart, or use a file".to_owned()));
            }
            Origin::Local(_) => return None,
            Origin::Remote(_) => self.fetch(asked).await.transpose()?,
        };
        Some(read.map_err(|error: ConfigErrors| causes(&error)))
    }

    async fn fetch(&mut self, asked: bool) -> Result<Option<String>, ConfigErrors> {
        let (Origin::Remote(address), Some(remote)) = (&self.origin, &self.remote) else { return Ok(None) };
        let etag = self.etag.as_deref().filter(|_| !asked && self.last.is_ok());
        let Some((text, etag)) = self.args.text(remote, address, etag).await? else { return Ok(None) };
        self.etag = etag;
        Ok(Some(text))
    }
}
