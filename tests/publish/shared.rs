//! Delivery of cameras that workers share: what goes to the owner, what the sinks get, and what happens when a camera moves.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kvs_infer::delivery::{
    CameraCommit, Clients, EventOutbox, FrameEvents, OfferError, OutboxSpec, OwnerCommitRequest,
    SharedDelivery,
};
use kvs_infer::media::Event;
use kvs_infer::sinks::PublishSpec;
use sharing::{CommitRejection, PendingRecord};
use tempfile::TempDir;
use test_support::fault_proxy::{AwsService, FaultProxy, Mishap};
use test_support::moto::{self, Moto, records};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::event::{self, event, pending, state};
use super::positions::{front, route};

/// A worker: its outbox, and the commits that reach the owners of its cameras.
struct Worker {
    outbox: Arc<EventOutbox>,
    requests: mpsc::Receiver<OwnerCommitRequest>,
}

/// A commit on its way.
type Committing = JoinHandle<Result<(), OfferError>>;

impl Worker {
    async fn start(folder: &Path, url: &str) -> Self {
        let (sender, requests) = mpsc::channel(8);
        let outbox = EventOutbox::start(OutboxSpec {
            sinks: PublishSpec::default().sinks(vec![route()]),
            state: state(folder),
            dead_letter: folder.join("dead-letter.jsonl"),
            clients: Some(Clients::new(&moto::config(url), true)),
            sharing: Some(sender),
        });
        Self { outbox: Arc::new(outbox.await.unwrap()), requests }
    }

    fn delivery(&self) -> &Arc<SharedDelivery> {
        self.outbox.shared().unwrap()
    }

    fn own(&self, epoch: u64) {
        self.delivery().start(&front(), epoch, route(), None);
    }

    /// Commits an event in the background.
    async fn commit(&self, epoch: u64, number: u64, on_full: impl FnOnce() + Send + 'static) -> Committing {
        self.commit_event(epoch, event("front", number), on_full).await
    }

    async fn commit_event(
        &self,
        epoch: u64,
        event: Event,
        on_full: impl FnOnce() + Send + 'static,
    ) -> Committing {
        let number = event.seq;
        let offered = FrameEvents { epoch: Some(epoch), ..pending(event, &route()) };
        let packed = self.outbox.pack(offered).await.unwrap();
        let checkpoint = event::checkpoint(Some(number), number);
        let commit = CameraCommit { camera: front(), epoch: Some(epoch), checkpoint, events: packed.events };
        let outbox = Arc::clone(&self.outbox);
        tokio::spawn(async move { outbox.commit(commit, on_full).await })
    }

    /// Commits an event whose record has 900 KiB: a data stream takes 1 MiB.
    async fn commit_large(
        &self,
        epoch: u64,
        number: u64,
        on_full: impl FnOnce() + Send + 'static,
    ) -> Committing {
        let mut large = event("front", number);
        large.payload.label = "x".repeat(900 << 10);
        self.commit_event(epoch, large, on_full).await
    }

    /// Answers the next request, and returns its records.
    async fn answer(&mut self, answer: Result<(), CommitRejection>) -> Vec<PendingRecord> {
        let request = self.requests.recv().await.unwrap();
        request.taken.send(answer).unwrap();
        request.commit.records
    }

    /// Commits an event, which its owner takes, and returns its record.
    async fn written_ahead(&mut self, epoch: u64, number: u64) -> Vec<PendingRecord> {
        let committing = self.commit(epoch, number, || ()).await;
        let records = self.answer(Ok(())).await;
        committing.await.unwrap().unwrap();
        records
    }

    fn send(&self, epoch: u64, records: &[PendingRecord], is_fenced: bool) -> JoinHandle<Option<u64>> {
        let (delivery, records) = (Arc::clone(self.delivery()), records.to_vec());
        tokio::spawn(async move { delivery.send(&front(), epoch, records, is_fenced).await })
    }

    async fn until_queued(&self, wanted: u64) {
        self.outbox
            .until(|all| {
                all.iter().all(|sink| !sink.required || sink.queued == wanted || sink.name == "outbox")
            })
            .await;
    }
}

async fn services() -> (Moto, aws_sdk_kinesis::Client) {
    let moto = Moto::start();
    let kinesis = moto.stream("events").await;
    (moto, kinesis)
}

/// A worker with a record that waits for the data stream, which is unavailable.
struct WaitingRecord {
    moto: Moto,
    kinesis: aws_sdk_kinesis::Client,
    proxy: FaultProxy,
    folder: TempDir,
    worker: Worker,
    ahead: Vec<PendingRecord>,
    sending: JoinHandle<Option<u64>>,
}

impl WaitingRecord {
    async fn make() -> Self {
        let (moto, kinesis) = services().await;
        let proxy = FaultProxy::start(&moto.url).await;
        proxy.rule(AwsService::Kinesis, Mishap::Unavailable, None);
        let folder = tempfile::tempdir().unwrap();
        let mut worker = Worker::start(folder.path(), &proxy.url).await;
        worker.own(1);
        let ahead = worker.written_ahead(1, 1).await;
        let sending = worker.send(1, &ahead, true);
        worker.until_queued(1).await;
        Self { moto, kinesis, proxy, folder, worker, ahead, sending }
    }
}

async fn delivered(kinesis: &aws_sdk_kinesis::Client) -> Vec<Event> {
    let found = records(kinesis, "events").await;
    found.iter().map(|(_, json)| serde_json::from_str(json).unwrap()).collect()
}

fn with_epoch(number: u64, epoch: u64) -> Event {
    Event { epoch: Some(epoch), ..event("front", number) }
}

#[tokio::test]
async fn a_record_reaches_the_sinks_only_when_its_owner_sends_it() {
    let (moto, kinesis) = services().await;
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Worker::start(folder.path(), &moto.url).await;
    worker.own(4);
    let ahead = worker.written_ahead(4, 1).await;
    assert_eq!((ahead.len(), ahead[0].seq, &*ahead[0].id), (1, 1, &*event("front", 1).event_id));
    worker.until_queued(0).await;
    assert_eq!(delivered(&kinesis).await, [], "the owner has not written it ahead yet");
    assert_eq!(worker.delivery().checkpoint(&front()), Some(event::checkpoint(Some(1), 1)));
    assert_eq!(worker.send(4, &ahead, true).await.unwrap(), Some(1));
    assert_eq!(delivered(&kinesis).await, [with_epoch(1, 4)]);
    let ahead = worker.written_ahead(4, 2).await;
    assert_eq!(worker.send(4, &ahead, false).await.unwrap(), Some(2));
    let unfenced = Event { fenced: Some(false), ..with_epoch(2, 4) };
    assert_eq!(delivered(&kinesis).await, [with_epoch(1, 4), unfenced]);
}

#[tokio::test]
async fn records_that_wait_for_the_data_stream_are_dropped_when_their_camera_moves() {
    let WaitingRecord { moto: _moto, kinesis, proxy, folder: _folder, worker, ahead, sending } =
        WaitingRecord::make().await;
    assert!(worker.delivery().sends_for(&front()) > Duration::ZERO);
    worker.delivery().end(&front());
    assert_eq!(worker.delivery().sends_for(&front()), Duration::ZERO);
    assert_eq!(sending.await.unwrap(), None, "the next owner has the record in the camera's item");
    assert_eq!(worker.send(1, &ahead, true).await.unwrap(), None, "the camera is not of this worker");
    proxy.clear();
    worker.until_queued(0).await;
    assert_eq!(delivered(&kinesis).await, []);
    // It comes back, with the record that no sink has.
    worker.own(3);
    assert_eq!(worker.send(3, &ahead, true).await.unwrap(), Some(1));
    assert_eq!(delivered(&kinesis).await, [with_epoch(1, 1)], "as it was written ahead");
    proxy.stop().await;
}

#[tokio::test]
async fn after_a_restart_records_for_the_data_stream_are_left_to_the_next_owner() {
    let WaitingRecord { moto, kinesis, proxy, folder, worker, sending, ahead: _ } =
        WaitingRecord::make().await;
    worker.outbox.flush(Duration::ZERO).await;
    worker.delivery().end(&front());
    assert_eq!(sending.await.unwrap(), None);
    drop(worker);
    let again = Worker::start(folder.path(), &moto.url).await;
    again.until_queued(0).await;
    assert_eq!(delivered(&kinesis).await, []);
    proxy.stop().await;
}

#[tokio::test]
async fn pictures_in_memory_are_bounded_while_the_data_stream_does_not_answer() {
    let WaitingRecord { moto: _moto, kinesis, proxy, folder: _folder, mut worker, ahead, sending } =
        WaitingRecord::make().await;
    let mut ahead = vec![ahead];
    let (asked, waits) = oneshot::channel();
    // With the tenth they are more than 8 MiB.
    for number in 2..12 {
        let committing = worker.commit_large(1, number, || ()).await;
        ahead.push(worker.answer(Ok(())).await);
        committing.await.unwrap().unwrap();
    }
    let waiting = worker.commit_large(1, 12, move || asked.send(()).unwrap()).await;
    waits.await.unwrap();
    proxy.clear();
    assert_eq!(sending.await.unwrap(), Some(1));
    let rest = ahead[1..].concat();
    assert_eq!(worker.send(1, &rest, true).await.unwrap(), Some(11));
    assert_eq!(worker.answer(Ok(())).await.len(), 1, "there is room again");
    waiting.await.unwrap().unwrap();
    assert_eq!(delivered(&kinesis).await.len(), 11);
    proxy.stop().await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_no_end_of_the_camera() {
    let (moto, kinesis) = services().await;
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Worker::start(folder.path(), &moto.url).await;
    worker.own(1);
    let damaged = PendingRecord { seq: 1, id: "e".into(), body: b"{}".as_slice().into() };
    assert_eq!(
        worker.send(1, &[damaged], true).await.unwrap(),
        Some(0),
        "answered, so that it is tried again"
    );
    let ahead = worker.written_ahead(1, 1).await;
    assert_eq!(worker.send(1, &ahead, true).await.unwrap(), Some(1));
    assert_eq!(delivered(&kinesis).await.len(), 1);
}

#[tokio::test]
async fn a_camera_on_hold_waits_and_one_that_moved_ends() {
    let (moto, _) = services().await;
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Worker::start(folder.path(), &moto.url).await;
    let unowned = worker.commit(1, 1, || ()).await.await.unwrap();
    assert!(matches!(unowned, Err(OfferError::Moved { .. })), "{unowned:?}");
    worker.own(1);
    worker.delivery().set_held(&front(), true);
    let (asked, waits) = oneshot::channel();
    let held = worker.commit(1, 1, move || asked.send(()).unwrap()).await;
    waits.await.unwrap();
    worker.delivery().set_held(&front(), false);
    // The owner may be full meanwhile: the commit is made again.
    assert_eq!(worker.answer(Err(CommitRejection::Held)).await.len(), 1);
    assert_eq!(worker.answer(Ok(())).await.len(), 1);
    held.await.unwrap().unwrap();
    worker.delivery().set_held(&front(), true);
    let (asked, waits) = oneshot::channel();
    let ended = worker.commit(1, 2, move || asked.send(()).unwrap()).await;
    waits.await.unwrap();
    worker.own(3);
    let ended = ended.await.unwrap();
    assert!(matches!(ended, Err(OfferError::Moved { .. })), "an earlier run of the camera: {ended:?}");
    worker.delivery().set_held(&front(), true);
    let (asked, waits) = oneshot::channel();
    let stopped = worker.commit(3, 2, move || asked.send(()).unwrap()).await;
    waits.await.unwrap();
    worker.delivery().set_stopping(&front(), true);
    let stopped = stopped.await.unwrap();
    assert!(matches!(stopped, Err(OfferError::Moved { .. })), "a camera on hold stops at once: {stopped:?}");
    worker.delivery().set_stopping(&front(), false);
    worker.delivery().set_held(&front(), false);
    let refused = worker.commit(3, 2, || ()).await;
    worker.answer(Err(CommitRejection::Stopped)).await;
    assert!(matches!(refused.await.unwrap(), Err(OfferError::Moved { .. })));
}
