//! `--data-dir`: what is there after a restart.

use std::path::Path;

use kvs_sim::{Clock, Delivery, Store, StreamLimits, StreamSettings};

use crate::camera::{NOON_MS, Viewer, append, selector};

fn open(folder: &Path) -> Store {
    let limits = StreamLimits { stream_bytes: 100, readers: 3, delivery: Delivery::Block };
    Store::open(Clock::standing_at(NOON_MS), limits, Some(folder.to_owned()))
        .expect("a folder that can be written")
}

#[tokio::test]
async fn whole_fragments_survive_a_restart_and_numbers_go_on() {
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
async fn half_written_files_are_dropped_and_expired_ones_removed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path());
    let stream = store.stream_or_create("cam").expect("a good name");
    let [kept, torn] = [append(&stream, 0).await, append(&stream, 0).await];
    drop((store, stream));
    let file = |number| folder.path().join("cam.stream").join(format!("{number}.mkv"));
    let whole = std::fs::read(file(torn)).expect("a fragment's file");
    std::fs::write(file(torn), &whole[..whole.len() - 1]).expect("a folder that can be written");

    let stream = open(folder.path()).stream("cam").expect("it was kept");
    assert_eq!(stream.fragment_numbers(), [kept]);
    assert!(!file(torn).exists());
    for _ in 0..6 {
        append(&stream, 0).await;
    }
    assert!(!file(kept).exists(), "what memory gives up leaves the disk");
}

#[tokio::test]
async fn a_deleted_stream_leaves_no_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path());
    append(&store.stream_or_create("cam").expect("a good name"), 0).await;
    store.delete("cam", None).await.expect("it is there");
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let limits = StreamLimits { stream_bytes: 1, readers: 1, delivery: Delivery::Block };
    let error = Store::open(Clock::system(), limits, Some(file.path().to_owned())).expect_err("it is a file");
    assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
    assert!(error.to_string().contains("--data-dir"), "{error}");
}
