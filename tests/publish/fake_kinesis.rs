//! A server that answers PutRecords, and refuses the first attempt at some records as a busy shard does.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::HeaderMap;
use kvs_infer::media::Event;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// One record of a call.
#[derive(Clone, Debug)]
pub(crate) struct Put {
    /// The record.
    pub(crate) event: Event,
    /// `true`: it was refused.
    pub(crate) refused: bool,
}

/// The server.
pub(crate) struct FakeKinesis {
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    seen: Arc<Seen>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    calls: Mutex<Vec<Vec<Put>>>,
    refused: Mutex<HashSet<String>>,
}

impl FakeKinesis {
    /// Starts it on a port of its own.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Seen>::default();
        let app = axum::Router::new().fallback(answer).with_state(Arc::clone(&seen));
        let (stop, stopped) = oneshot::channel();
        let server = axum::serve(listener, app).with_graceful_shutdown(async { stopped.await.unwrap() });
        let server = tokio::spawn(async move { server.await.unwrap() });
        Self { url, seen, stop, server }
    }

    /// Returns the events that it has accepted so far.
    pub(crate) fn accepted(&self) -> Vec<Event> {
        let calls = self.seen.calls.lock().unwrap();
        calls.iter().flatten().filter(|put| !put.refused).map(|put| put.event.clone()).collect()
    }

    /// Stops it; the calls that it saw.
    pub(crate) async fn stop(self) -> Vec<Vec<Put>> {
        self.stop.send(()).unwrap();
        self.server.await.unwrap();
        self.seen.calls.lock().unwrap().clone()
    }
}

async fn answer(
    State(seen): State<Arc<Seen>>,
    headers: HeaderMap,
    body: String,
) -> ([(&'static str, &'static str); 1], String) {
    assert_eq!(headers["x-amz-target"], "Kinesis_20131202.PutRecords");
    let body: Value = serde_json::from_str(&body).unwrap();
    let call: Vec<Put> = body["Records"].as_array().unwrap().iter().map(|record| seen.take(record)).collect();
    let results: Vec<Value> = call.iter().map(result).collect();
    let refused = call.iter().filter(|put| put.refused).count();
    seen.calls.lock().unwrap().push(call);
    let answer = json!({ "FailedRecordCount": refused, "Records": results });
    ([("content-type", "application/x-amz-json-1.1")], answer.to_string())
}

impl Seen {
    /// Refuses each even-numbered record once.
    fn take(&self, record: &Value) -> Put {
        let json = base64(record["Data"].as_str().unwrap());
        let event: Event = serde_json::from_slice(&json).unwrap();
        assert_eq!(record["PartitionKey"], event.camera_id.as_str());
        let refused =
            event.seq.is_multiple_of(2) && self.refused.lock().unwrap().insert(event.event_id.clone());
        Put { event, refused }
    }
}

fn result(put: &Put) -> Value {
    if put.refused {
        json!({ "ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded" })
    } else {
        json!({ "SequenceNumber": "1", "ShardId": "shardId-000000000000" })
    }
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in text.chars().filter_map(|digit| ALPHABET.find(digit)) {
        bits = bits << 6 | u32::try_from(digit).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}
