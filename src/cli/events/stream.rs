//! `events --stream`: the events of a Kinesis data stream, all shards together.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::{anyhow, bail};
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{Record, Shard as Described};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;

use super::printer::Printer;
use super::shard::{Begin, News, Shard, refused};
use super::shards::{Listed, Shards};
use crate::aws::FOREIGN_REMEDY;
use crate::base::escaped;
use crate::media::Event;

/// Answers of shards that wait to be printed; a shard waits when it is full.
const NEWS: usize = 16;
const CONNECT: Duration = Duration::from_secs(3);
const ATTEMPT: Duration = Duration::from_secs(10);

/// A data stream that is being followed. Dropped, its readers end.
pub(super) struct Follower {
    /// For shards: they try again by themselves.
    once: Client,
    /// For lists.
    again: Client,
    stream: String,
    begin: Begin,
    /// Ends when every shard has given what it had.
    until_caught_up: bool,
    shards: Shards,
    caught_up: BTreeSet<String>,
    readers: JoinSet<()>,
    tell: Sender<News>,
    news: Receiver<News>,
}

impl Follower {
    /// Begins to read all shards that are due.
    ///
    /// Errors: the stream cannot be listed.
    pub(super) async fn start(
        aws: &SdkConfig,
        stream: String,
        begin: Begin,
        until_caught_up: bool,
    ) -> anyhow::Result<Self> {
        let (tell, news) = channel(NEWS);
        let (shards, readers, caught_up) = (Shards::default(), JoinSet::new(), BTreeSet::new());
        let (once, again) = (client(aws, RetryConfig::disabled()), client(aws, RetryConfig::standard()));
        let mut follower =
            Self { once, again, stream, begin, until_caught_up, shards, caught_up, readers, tell, news };
        let listed = follower.list().await?;
        if follower.begin == Begin::Latest {
            follower.shards.pass_over_closed(&listed);
        }
        let begin = follower.begin.clone();
        follower.read(&listed, &begin);
        Ok(follower)
    }

    /// Prints events as they come; `true` at the end of what there is.
    ///
    /// Errors: the stream is lost, or the output is closed.
    pub(super) async fn next(&mut self, printer: &mut Printer<impl Write>) -> anyhow::Result<bool> {
        let Some(news) = self.news.recv().await else { return Ok(true) };
        match news {
            News::Records(records) => print(&records, printer, &mut io::stderr())?,
            News::CaughtUp { shard } => {
                self.caught_up.insert(shard);
            }
            News::Ended { shard } => self.go_on_after(&shard).await?,
            News::Trouble { shard, why } => writeln!(io::stderr(), "{shard}: {why}")?,
            News::Lost { why } => bail!(why),
        }
        Ok(self.until_caught_up && self.shards.are_done(&self.caught_up))
    }

    /// The children of a split or a merge.
    async fn go_on_after(&mut self, shard: &str) -> anyhow::Result<()> {
        self.shards.end(shard);
        let begin = match &self.begin {
            Begin::Latest => Begin::Oldest,
            other => other.clone(),
        };
        let listed = self.list().await?;
        self.read(&listed, &begin);
        Ok(())
    }

    fn read(&mut self, listed: &[Listed], begin: &Begin) {
        for id in self.shards.due(listed) {
            let (client, begin) = (self.once.clone(), begin.clone());
            self.readers.spawn(Shard::new(client, &self.stream, id, begin, self.tell.clone()).read());
        }
    }

    async fn list(&self) -> anyhow::Result<Vec<Listed>> {
        let (mut listed, mut next) = (Vec::new(), None);
        loop {
            let call = self.again.list_shards();
            let call = match next {
                None => call.stream_name(&self.stream),
                Some(token) => call.next_token(token),
            };
            let answer = call.send().await;
            let answer = answer.map_err(|error| anyhow!(refused(&self.stream, "ListShards", &error)))?;
            let Some(shards) = &answer.shards else {
                bail!("data stream {}: ListShards lists nothing; {FOREIGN_REMEDY}", self.stream);
            };
            listed.extend(shards.iter().map(as_listed));
            next = answer.next_token;
            if next.is_none() {
                return Ok(listed);
            }
        }
    }
}

fn client(aws: &SdkConfig, retry: RetryConfig) -> Client {
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build();
    let config =
        aws_sdk_kinesis::config::Builder::from(aws).retry_config(retry).timeout_config(timeouts).build();
    Client::from_conf(config)
}

fn as_listed(shard: &Described) -> Listed {
    let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()];
    Listed {
        id: shard.shard_id().to_owned(),
        parents: parents.into_iter().flatten().map(str::to_owned).collect(),
        closed: shard.sequence_number_range().is_some_and(|range| range.ending_sequence_number().is_some()),
    }
}

/// Prints the events among the records, and tells of the others.
fn print(records: &[Record], printer: &mut Printer<impl Write>, err: &mut impl Write) -> anyhow::Result<()> {
    for record in records {
        match serde_json::from_slice::<Event>(record.data().as_ref()) {
            Ok(_) => printer.line(&on_one_line(record.data().as_ref()))?,
            Err(error) => {
                let why = escaped(&error.to_string()).into_owned();
                writeln!(err, "(record {} is no event: {why})", record.sequence_number())?;
            }
        }
    }
    Ok(printer.flush()?)
}

/// Valid JSON has line breaks only where any white space may stand.
fn on_one_line(json: &[u8]) -> Vec<u8> {
    json.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }).collect()
}
