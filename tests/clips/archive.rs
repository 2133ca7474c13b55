//! The archive of a stream: the fragments of a span, and their media.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kvs_infer::demux::{DemuxEvent, Demuxer};
use kvs_infer::source::{ArchiveError, MAX_FRAGMENTS_PER_CALL, SourceError};
use kvs_mkv::{Block, BlockKind, writer};
use kvs_sim::{
    Clock, Faults, FragmentHead, KvsStream, MediaHeader, Sim, SimConfig, StreamSettings, append_fragment,
    epoch_ms,
};

use super::kvs;

const STREAM: &str = "front-stream";

/// Starts a local KVS with a stream that keeps footage for this long, and returns the time of its clock, ms since the epoch.
fn start(retention_hours: u32) -> (Sim, Arc<KvsStream>, Clock, i64) {
    let now_ms = epoch_ms(SystemTime::now());
    let clock = Clock::standing_at(now_ms);
    let sim = Sim::start(SimConfig { clock: clock.clone(), ..SimConfig::default() }).unwrap();
    let settings = StreamSettings { retention_hours, ..StreamSettings::default() };
    let stream = sim.store().create(STREAM, settings).unwrap();
    (sim, stream, clock, now_ms)
}

/// Appends a fragment of two frames, 500 ms apart, with this producer timestamp.
async fn append(stream: &Arc<KvsStream>, producer_ms: i64) -> String {
    let tracks = [writer::video_track(1, "V_MPEG4/ISO/AVC", b"\x01avcC", 64, 48)];
    let header = MediaHeader::new(&tracks);
    let cluster_timestamp = u64::try_from(producer_ms).unwrap();
    let head = FragmentHead { header: Arc::new(header), cluster_timestamp, producer_ms };
    let frame = |relative: i16, key: bool| Block {
        track: 1,
        relative,
        key,
        data: Bytes::from(format!("{producer_ms}+{relative}")),
        flags: 0,
        kind: BlockKind::Simple,
    };
    append_fragment(stream, head, &[frame(0, true), frame(500, false)], Vec::new()).await.unwrap().to_string()
}

#[tokio::test]
async fn fragments_come_in_the_order_of_time_over_several_pages() {
    let (sim, stream, _clock, now_ms) = start(24);
    let start_ms = now_ms - 3_600_000;
    for number in 0..1_205 {
        append(&stream, start_ms + number * 1_000).await;
    }
    let archive = kvs(&sim).archive(STREAM);
    let listed = archive.list(start_ms + 1_000..=start_ms + 1_203_000).await.unwrap();
    let starts: Vec<i64> = listed.iter().map(|fragment| (fragment.start_ms() - start_ms) / 1_000).collect();
    assert_eq!(starts, (1..=1_203).collect::<Vec<i64>>(), "both ends included, each once");
    assert!(
        listed.iter().all(|fragment| fragment.duration_ms == 1_000 && fragment.bytes > 0),
        "{:?}",
        listed[0]
    );
    assert_eq!(archive.list(0..=start_ms - 1).await.unwrap(), []);
    sim.stop().await;
}

#[tokio::test]
async fn media_comes_in_the_order_asked_for() {
    let (sim, stream, _clock, now_ms) = start(24);
    for number in 0..3 {
        append(&stream, now_ms + number * 1_000).await;
    }
    let archive = kvs(&sim).archive(STREAM);
    let listed = archive.list(now_ms..=now_ms + 9_000).await.unwrap();
    let asked = [Arc::clone(&listed[2].number), Arc::clone(&listed[0].number)];
    let mut media = archive.media(&asked).await.unwrap();
    let (mut demuxer, mut read, mut ended) = (Demuxer::default(), Vec::new(), 0);
    while let Some(bytes) = media.next().await {
        demuxer.push(&bytes.unwrap());
        while let Some(event) = demuxer.next(std::time::Instant::now()).unwrap() {
            match event {
                DemuxEvent::Packet(packet) => read.push(packet.media.0 - now_ms),
                DemuxEvent::End { .. } => ended += 1,
                _ => {}
            }
        }
    }
    assert_eq!((read, ended), (vec![2_000, 2_500, 0, 500], 2));
    assert_eq!(MAX_FRAGMENTS_PER_CALL, 1_000);
    sim.stop().await;
}

#[tokio::test]
async fn footage_without_the_producers_time_is_found_by_the_servers() {
    let (sim, stream, clock, now_ms) = start(24);
    append(&stream, 0).await;
    clock.advance(Duration::from_secs(60));
    append(&stream, 0).await;
    let archive = kvs(&sim).archive(STREAM);
    let listed = archive.list(now_ms - 1_000..=now_ms + 30_000).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].producer_ms, listed[0].start_ms()), (None, now_ms));
    sim.stop().await;
}

#[tokio::test]
async fn the_absence_of_footage_is_explained() {
    let of = |error: ArchiveError| (error.reason(), error.to_string());
    let (sim, stream, _clock, now_ms) = start(24);
    append(&stream, now_ms).await;
    let archive = kvs(&sim).archive(STREAM);
    let day_ms = 24 * 3_600_000;
    let (reason, text) = of(archive.explain_absence(now_ms - 2 * day_ms..=now_ms - day_ms - 60_000).await);
    assert!(reason == "retention_over" && text.contains("keeps 24 h"), "{reason}: {text}");
    let (reason, text) = of(archive.explain_absence(now_ms - 60_000..=now_ms - 30_000).await);
    assert!(reason == "no_footage" && text.contains("sent none"), "{reason}: {text}");
    let gone = kvs(&sim).archive("gone").list(0..=now_ms).await.unwrap_err();
    assert!(matches!(gone, ArchiveError::Request(SourceError::NoSuchStream { .. })), "{gone}");
    sim.stop().await;
    let (sim, stream, _clock, now_ms) = start(0);
    append(&stream, now_ms).await;
    let archive = kvs(&sim).archive(STREAM);
    assert_eq!(archive.list(now_ms - 1_000..=now_ms + 1_000).await.unwrap(), []);
    let (reason, text) = of(archive.explain_absence(now_ms - 1_000..=now_ms).await);
    assert!(reason == "no_retention" && text.contains("UpdateDataRetention"), "{reason}: {text}");
    sim.stop().await;
}

#[tokio::test]
async fn throttled_calls_are_tried_again_and_refused_ones_are_not() {
    let (sim, stream, _clock, now_ms) = start(24);
    append(&stream, now_ms).await;
    let archive = kvs(&sim).archive(STREAM);
    let fault = |text: &str| stream.set_faults(text.parse::<Faults>().unwrap());
    fault("throttle,count=2");
    assert_eq!(archive.list(now_ms..=now_ms).await.unwrap().len(), 1);
    assert_eq!(stream.faults(), Faults::default(), "both were used up");
    fault("unauthorized,on=listFragments");
    let refused = archive.list(now_ms..=now_ms).await.unwrap_err().to_string();
    assert!(refused.contains("grant kinesisvideo:ListFragments"), "{refused}");
    fault("unauthorized,on=getMediaForFragmentList");
    let refused = archive.media(&[Arc::from("1")]).await.unwrap_err().to_string();
    assert!(refused.contains("grant kinesisvideo:GetMediaForFragmentList"), "{refused}");
    sim.stop().await;
}
