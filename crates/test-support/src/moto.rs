//! A real HTTP server for Kinesis and S3: moto, from the virtual environment that `scripts/setup test` makes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot set up, it fails on")]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::JoinHandle;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kinesis::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_kinesis::types::ShardIteratorType;

use crate::setup::python;

/// The server with its calls to DynamoDB one after the other, and those to Kinesis, so that they are atomic.
const SERVER: &str = include_str!("../../../scripts/local_aws.py");

/// A server of its own port, killed when dropped.
pub struct Moto {
    server: Child,
    output: Option<JoinHandle<()>>,
    /// `http://127.0.0.1:PORT`
    pub url: String,
}

impl Moto {
    /// Starts the server; it answers when this returns.
    pub fn start() -> Self {
        let mut server = Command::new(python())
            .args(["-u", "-c", SERVER, "-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
        let mut output = Vec::new();
        let url = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("moto ended, run scripts/setup test; it said: {output:?}");
            };
            if let Some((_, url)) = line.split_once("Running on ") {
                break url.trim().to_owned();
            }
            output.push(line);
        };
        let output = Some(std::thread::spawn(move || drain(lines)));
        Self { server, output, url }
    }

    /// Returns the configuration of AWS clients for it.
    pub fn config(&self) -> SdkConfig {
        config(&self.url)
    }

    /// Makes a data stream; gives a client to read it with.
    pub async fn stream(&self, name: &str) -> aws_sdk_kinesis::Client {
        let kinesis = aws_sdk_kinesis::Client::new(&self.config());
        kinesis.create_stream().stream_name(name).shard_count(1).send().await.unwrap();
        kinesis
    }

    /// Makes a bucket; gives a client to read it with.
    pub async fn bucket(&self, name: &str) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(&self.config()).force_path_style(true).build();
        let s3 = aws_sdk_s3::Client::from_conf(config);
        s3.create_bucket().bucket(name).send().await.unwrap();
        s3
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        if let Some(output) = self.output.take() {
            output.join().unwrap();
        }
    }
}

/// Returns the partition key and JSON of every record of a stream, in its order.
pub async fn records(kinesis: &aws_sdk_kinesis::Client, stream: &str) -> Vec<(String, String)> {
    let shards = kinesis.list_shards().stream_name(stream).send().await.unwrap();
    let shard = shards.shards()[0].shard_id();
    let from = kinesis.get_shard_iterator().stream_name(stream).shard_id(shard);
    let from = from.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
    let mut next = from.shard_iterator;
    let mut records = Vec::new();
    let text = |blob: &[u8]| String::from_utf8(blob.to_vec()).unwrap();
    loop {
        let got = kinesis.get_records().set_shard_iterator(next).send().await.unwrap();
        if got.records().is_empty() {
            return records;
        }
        let page = got.records().iter();
        records.extend(page.map(|r| (r.partition_key().unwrap().to_owned(), text(r.data().as_ref()))));
        next = got.next_shard_iterator;
    }
}

/// Returns the configuration of AWS clients for a local server.
pub fn config(url: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "tests");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(url)
        .build()
}

/// Reads on, so that the server never waits for us.
fn drain(lines: std::io::Lines<BufReader<ChildStderr>>) {
    lines.for_each(drop);
}
