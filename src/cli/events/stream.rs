//! `events --stream`: follows the events in all shards of a Kinesis data stream.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::{anyhow, bail};
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::list_shards::ListShardsOutput;
use aws_sdk_kinesis::types::{Record, Shard};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;

use super::printer::Printer;
use super::shard_reader::{ShardEvent, ShardReader, ShardStart, call_error};
use super::shards::{ListedShard, Shards};
use crate::aws::FOREIGN_REMEDY;
use crate::base::escaped;
use crate::media::Event;

/// Capacity of the queue to the printer; the reader of a shard waits when it is full.
const QUEUE_CAPACITY: usize = 16;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Follows a data stream until it is dropped, which ends the readers of its shards.
pub(super) struct StreamFollower {
    /// Client of the shard readers, which retry themselves.
    client: Client,
    /// Client with the SDK's retries, for ListShards.
    retrying_client: Client,
    stream: String,
    start: ShardStart,
    /// Ends once every shard has caught up.
    until_caught_up: bool,
    shards: Shards,
    caught_up: BTreeSet<String>,
    readers: JoinSet<()>,
    sender: Sender<ShardEvent>,
    events: Receiver<ShardEvent>,
}

impl StreamFollower {
    /// Starts to read all shards that may be read.
    ///
    /// Errors: ListShards fails.
    pub(super) async fn start(
        aws: &SdkConfig,
        stream: String,
        start: ShardStart,
        until_caught_up: bool,
    ) -> anyhow::Result<Self> {
        let mut follower = Self::new(aws, stream, start, until_caught_up);
        let listed = follower.list().await?;
        if follower.start == ShardStart::Latest {
            follower.shards.skip_closed(&listed);
        }
        let start = follower.start.clone();
        follower.read(&listed, &start);
        Ok(follower)
    }

    fn new(aws: &SdkConfig, stream: String, start: ShardStart, until_caught_up: bool) -> Self {
        let (sender, events) = channel(QUEUE_CAPACITY);
        Self {
            client: new_client(aws, RetryConfig::disabled()),
            retrying_client: new_client(aws, RetryConfig::standard()),
            stream,
            start,
            until_caught_up,
            shards: Shards::default(),
            caught_up: BTreeSet::new(),
            readers: JoinSet::new(),
            sender,
            events,
        }
    }

    /// Waits for one message of a shard and prints its events. Returns `true` at the end.
    ///
    /// Errors: a shard has failed, or the output is closed.
    pub(super) async fn next(&mut self, printer: &mut Printer<impl Write>) -> anyhow::Result<bool> {
        let Some(event) = self.events.recv().await else { return Ok(true) };
        match event {
            ShardEvent::Records(records) => print(&records, printer, &mut io::stderr())?,
            ShardEvent::CaughtUp { shard } => {
                self.caught_up.insert(shard);
            }
            ShardEvent::Ended { shard } => self.read_children(&shard).await?,
            ShardEvent::Retrying { shard, why } => writeln!(io::stderr(), "{shard}: {why}")?,
            ShardEvent::Failed { why } => bail!(why),
        }
        Ok(self.until_caught_up && self.shards.are_done(&self.caught_up))
    }

    /// Starts to read the children of a shard that was split or merged.
    async fn read_children(&mut self, shard: &str) -> anyhow::Result<()> {
        self.shards.end(shard);
        // LATEST of a child would skip the records between the end of its parent and now.
        let start = match &self.start {
            ShardStart::Latest => ShardStart::Oldest,
            other => other.clone(),
        };
        let listed = self.list().await?;
        self.read(&listed, &start);
        Ok(())
    }

    fn read(&mut self, listed: &[ListedShard], start: &ShardStart) {
        for id in self.shards.take_due(listed) {
            let (client, start) = (self.client.clone(), start.clone());
            let reader = ShardReader::new(client, &self.stream, id, start, self.sender.clone());
            self.readers.spawn(reader.read());
        }
    }

    async fn list(&self) -> anyhow::Result<Vec<ListedShard>> {
        let (mut listed, mut next) = (Vec::new(), None);
        loop {
            let answer = self.list_page(next).await?;
            let Some(shards) = &answer.shards else {
                bail!(
                    "data stream {}: the answer of ListShards has no shards; {FOREIGN_REMEDY}",
                    self.stream
                );
            };
            listed.extend(shards.iter().map(listed_shard));
            next = answer.next_token;
            if next.is_none() {
                return Ok(listed);
            }
        }
    }

    /// Makes one call; `next` is the token of the answer before it.
    async fn list_page(&self, next: Option<String>) -> anyhow::Result<ListShardsOutput> {
        let call = self.retrying_client.list_shards();
        // ListShards accepts either the name or the token, not both.
        let call = match next {
            None => call.stream_name(&self.stream),
            Some(token) => call.next_token(token),
        };
        let answer = call.send().await;
        answer.map_err(|error| anyhow!(call_error(&self.stream, "ListShards", &error)))
    }
}

fn new_client(aws: &SdkConfig, retry: RetryConfig) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    let config =
        aws_sdk_kinesis::config::Builder::from(aws).retry_config(retry).timeout_config(timeouts).build();
    Client::from_conf(config)
}

fn listed_shard(shard: &Shard) -> ListedShard {
    let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()];
    ListedShard {
        id: shard.shard_id().to_owned(),
        parents: parents.into_iter().flatten().map(str::to_owned).collect(),
        // An open shard has no last sequence number.
        closed: shard.sequence_number_range().is_some_and(|range| range.ending_sequence_number().is_some()),
    }
}

/// Prints the records that are events, and reports the others on `err`.
fn print(records: &[Record], printer: &mut Printer<impl Write>, err: &mut impl Write) -> anyhow::Result<()> {
    for record in records {
        match serde_json::from_slice::<Event>(record.data().as_ref()) {
            Ok(_) => printer.line(&on_one_line(record.data().as_ref()))?,
            Err(error) => {
                let why = escaped(&error.to_string()).into_owned();
                writeln!(err, "(record {} is not an event: {why})", record.sequence_number())?;
            }
        }
    }
    Ok(printer.flush()?)
}

/// Replaces line breaks by blanks. Valid JSON has line breaks only between tokens, where a blank means the same.
fn on_one_line(json: &[u8]) -> Vec<u8> {
    json.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }).collect()
}
