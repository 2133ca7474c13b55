//! Changed rules show in the report as what they are.

use serde_json::Value;
use test_support::colours::model;
use test_support::footage::config;

use super::{Workplace, footage};

const PUBLISH: &str = "publishers: { local_dir: events }\n";

/// Returns the configuration of a camera with more keys of `objects`, and more of the camera.
fn rules(objects: &str, more: &str) -> String {
    let model = model();
    config(
        PUBLISH,
        &format!(
            "  - id: front\n    kvs_stream_name: front-stream\n{more}    pipeline:\n      - type: objects\n        \
             objects: {{ yolo_weights: {}, max_disappeared_seconds: 1{objects} }}\n",
            model.display()
        ),
    )
}

/// Returns the report of a replay with these rules, compared with that of the usual ones.
fn compared(place: &Workplace, name: &str, changed: &str) -> super::Replayed {
    place.replay(changed, 9, name, &["--compare", "usual"], 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threshold_a_removed_class_and_a_new_zone_show_as_what_they_are() {
    let (footage, place) = footage(&["front"], 1).await;
    let usual = place.replay(&rules("", ""), 9, "usual", &[], 0);
    assert_eq!(usual.changes(), ["new red", "new green", "new blue"]);
    let conf = usual.data()["incidents"][0]["now"]["conf"].as_f64().unwrap();

    let stricter = rules(&format!(", conf_threshold: {}", (conf + 0.01).min(0.999)), "");
    let stricter = compared(&place, "stricter", &stricter);
    assert!(stricter.changes().contains(&"gone red".to_owned()), "{:#?}", stricter.changes());

    let classes = compared(&place, "classes", &rules(", classes: [red, green]", ""));
    assert_eq!(classes.changes(), ["same red", "same green", "gone blue"]);

    let roi = "    roi: { polygons: [{ name: corner, points: [[0, 0], [60, 0], [60, 60], [0, 60]] }] }\n";
    let zone = compared(&place, "zone", &rules("", roi));
    // Boxes outside all zones are no detections, so the other two are gone.
    assert_eq!(zone.changes(), ["changed red zones", "gone green", "gone blue"]);
    let totals = zone.data()["totals"].clone();
    let row = totals.as_array().unwrap().iter().find(|row| row["zone"] == "corner").unwrap().clone();
    assert_eq!((&row["label"], &row["changed"]), (&Value::from("red"), &Value::from(1)), "{totals:#}");
    footage.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_has_the_pictures_of_both_runs_and_needs_nothing_else() {
    let (footage, place) = footage(&["front"], 1).await;
    place.replay(&rules("", ""), 9, "usual", &[], 0);
    let classes = compared(&place, "classes", &rules(", classes: [red, green]", ""));
    let data = classes.data();
    for incident in data["incidents"].as_array().unwrap() {
        for side in ["now", "before"] {
            let has_picture = !incident[format!("{side}_picture")].is_null();
            assert_eq!(has_picture, !incident[side].is_null(), "{side} of {incident:#}");
        }
    }
    assert_eq!(data["pictures"].as_array().unwrap().len(), 5);
    let report = classes.report();
    assert!(!report.contains("://") && !report.contains("src=\"/"), "nothing is loaded from elsewhere");
    footage.sim.stop().await;
}
