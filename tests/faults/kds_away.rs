//! KDS is away for two minutes under load while S3 works.

use std::time::{Duration, Instant};

use test_support::fault_proxy::{AwsService, Mishap};
use test_support::footage::{StoredFootage, camera, config, records_of};
use test_support::kvs_infer_command;
use test_support::program::Program;

use super::sinks::{Aws, PUBLISHERS, assert_delivered, delivered};
use super::watch::{events, figure, is_full, reason_of, reasons, sink, until, until_within};

const CAMERAS: [&str; 3] = ["front", "back", "side"];
const FRAGMENTS_PER_S: u32 = 4;

/// The time for which KDS is unreachable.
fn outage() -> Duration {
    Duration::from_secs(if is_full() { 120 } else { 8 })
}

#[tokio::test(flavor = "multi_thread")]
async fn all_events_arrive_in_order_when_kds_is_back_and_pictures_go_on_meanwhile() {
    let footage = StoredFootage::new(FRAGMENTS_PER_S);
    let films = u32::try_from(outage().as_secs()).unwrap() * FRAGMENTS_PER_S / 9 + 3;
    for camera in CAMERAS {
        footage.store(camera, films).await;
    }
    let aws = Aws::start().await;
    let cameras: String = CAMERAS.map(camera).concat();
    let program = Program::start(
        kvs_infer_command!(),
        &config(PUBLISHERS, &cameras),
        &footage.sim.endpoint(),
        Some(&aws.proxy.url),
    );
    program.camera_when(CAMERAS[0], |row| row["events"].as_u64() >= Some(1));
    aws.proxy.rule(AwsService::Kinesis, Mishap::Reset, None);
    let (kds, pictures) = away(&program).await;
    aws.proxy.clear();
    let (_, back) = until("delivery of all that waited", || {
        let all = records_of(films);
        let made = CAMERAS.iter().all(|camera| program.camera(camera)["events"] == all);
        let waits = sink(&program, "kds/events")["queued"].as_u64().unwrap();
        (made && waits == 0 && reasons(&program).is_empty()).then_some(())
    })
    .await;
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    let events = events(ended.dir.path());
    assert_eq!(events.len(), CAMERAS.len() * records_of(films) as usize);
    assert_delivered(&delivered(&aws).await, &events, &CAMERAS, false);
    figure(&format!(
        "KDS away for {} s: {kds} events waited, {pictures} pictures went on, all {} events arrived in order {:.1} s after its return",
        outage().as_secs(),
        events.len(),
        back.as_secs_f64()
    ));
    aws.proxy.stop().await;
    footage.sim.stop().await;
}

/// Watches the outage: events that wait at its end, and pictures that were taken during it.
async fn away(program: &Program) -> (u64, u64) {
    let began = Instant::now();
    let before = sink(program, "s3")["delivered"].as_u64().unwrap();
    until_within(outage() + Duration::from_secs(30), "end of the outage", || {
        (began.elapsed() >= outage()).then_some(())
    })
    .await;
    let shown = reasons(program);
    assert!(reason_of(&shown, "sink kds/events").is_some(), "{shown:?}");
    assert!(reason_of(&shown, "sink s3").is_none(), "{shown:?}");
    let waits = sink(program, "kds/events")["queued"].as_u64().unwrap();
    let pictures = sink(program, "s3")["delivered"].as_u64().unwrap() - before;
    // Each second record is an end, which has no picture of its own.
    assert!(2 * pictures + 8 >= waits && waits >= 3, "{pictures} pictures went while {waits} events waited");
    (waits, pictures)
}
