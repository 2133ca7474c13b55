//! `--data-dir`: streams and fragments over a restart.

use std::path::Path;

use kvs_sim::{Clock, LiveDelivery, StreamLimits, StreamSettings, StreamStore};

use crate::camera::{NOON_MS, Viewer, append, selector};

fn open(folder: &Path) -> StreamStore {
    let limits = StreamLimits { stream_bytes: 100, readers: 3, delivery: LiveDelivery::Block };
    StreamStore::open(Clock::standing_at(NOON_MS), limits, Some(folder.to_owned()))
        .expect("a folder that can be written")
}

#[tokio::test]
async fn whole_fragments_survive_a_restart_and_numbers_continue() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path());
    let settings = StreamSettings { retention_hours: 3, ..StreamSettings::default() };
    let stream = store.create("..", settings).expect("the first of its name");
    let number = append(&stream, 7000).await;
    let identity = stream.identity().clone();
    let mut before = Viewer::new(&stream, &selector("EARLIEST")).expect("a free place");
    before.next_fragment().await;
    drop((store, stream));

    let store = open(folder.path());
    let stream = store.stream("..").expect("it was kept");
    assert_eq!((&stream.identity().arn, stream.identity().settings.retention_hours), (&identity.arn, 3));
    let mut after = Viewer::new(&stream, &selector("EARLIEST")).expect("a free place");
    after.next_fragment().await;
    assert_eq!(before.bytes, after.bytes, "the same fragment, byte by byte");
    assert!(append(&stream, 0).await > number, "numbers rise over a restart");
}

#[tokio::test]
async fn incomplete_and_expired_files_are_removed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path());
    let stream = store.stream_or_create("cam").expect("a valid name");
    let [kept, torn] = [append(&stream, 0).await, append(&stream, 0).await];
    drop((store, stream));
    let file = |number| folder.path().join("cam.stream").join(format!("{number}.mkv"));
    let whole = std::fs::read(file(torn)).expect("a fragment's file");
    for len in 0..whole.len() {
        std::fs::write(file(torn), &whole[..len]).expect("a folder that can be written");
        let stream = open(folder.path()).stream("cam").expect("it was kept");
        assert_eq!(stream.fragment_numbers(), [kept], "cut after {len} of {} bytes", whole.len());
        assert!(!file(torn).exists());
    }
    let stream = open(folder.path()).stream("cam").expect("it was kept");
    for _ in 0..6 {
        append(&stream, 0).await;
    }
    assert!(!file(kept).exists(), "a fragment that is evicted from memory is removed from disk");
}

#[tokio::test]
async fn a_deleted_stream_leaves_no_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path());
    append(&store.stream_or_create("cam").expect("a valid name"), 0).await;
    store.delete("cam", None).await.expect("it exists");
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let limits = StreamLimits { stream_bytes: 1, readers: 1, delivery: LiveDelivery::Block };
    let error =
        StreamStore::open(Clock::system(), limits, Some(file.path().to_owned())).expect_err("it is a file");
    assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
    assert!(error.to_string().contains("--data-dir"), "{error}");
}
