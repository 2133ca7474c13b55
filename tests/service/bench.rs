//! `kvs-infer bench` as a program: both sides see the same frames, and the numbers are those of the clip.

use std::process::Output;

use serde_json::Value;
use test_support::kvs_infer_command;
use test_support::setup::cached;

fn bench(model: &str, further: &[&str]) -> Output {
    kvs_infer_command!()
        .args(["bench", "--loops", "1"])
        .arg("--model")
        .arg(cached(&format!("models/{model}.onnx")))
        .arg("--clip")
        .arg(cached("clips/street.mp4"))
        .args(further)
        .output()
        .expect("the program runs")
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one object")
}

#[test]
fn both_sides_decode_and_infer_the_same_frames_in_any_precision() {
    for model in ["tiny/yolov8", "tiny/yolov8_dynamic", "tiny/yolov8_fp16"] {
        let measured = json(&bench(model, &["--fragments", "2", "--json"]));
        for side in ["ours", "alone"] {
            assert_eq!(measured[side]["frames"], 50, "{model}: {measured}");
            assert_eq!(measured[side]["inferences"], 10, "{model}: {measured}");
            for stage in ["decode", "infer"] {
                let cpu_ms = measured[side]["stages"][stage].as_f64().expect("a number");
                assert!(cpu_ms > 0.0, "{model}, {side}, {stage}: {measured}");
            }
        }
        assert!(measured["ratio"]["median"].as_f64().expect("a number") > 0.0);
    }
}

#[test]
fn a_side_can_be_left_out_and_the_table_is_for_people() {
    let alone = json(&bench("tiny/yolov8", &["--fragments", "1", "--only", "alone", "--json"]));
    assert_eq!(
        (&alone["ours"], &alone["ratio"], &alone["alone"]["frames"]),
        (&Value::Null, &Value::Null, &25.into())
    );
    let ours = bench("tiny/yolov8", &["--fragments", "1", "--fps", "25", "--only", "ours"]);
    let table = String::from_utf8(ours.stdout).expect("text");
    assert!(table.contains("ours: 25 frames, 25 inferences"), "{table}");
    for stage in ["demux", "decode", "preprocess", "infer", "post-process", "between them", "total"] {
        assert!(table.contains(&format!("\n  {stage} ")), "{stage}: {table}");
    }
}

#[test]
fn a_clip_that_cannot_be_measured_is_an_error() {
    for (further, word) in [
        (["--fps", "0"], "give a number above 0"),
        (["--fragments", "0"], "street.mp4: the requested part has no frame"),
    ] {
        let output = bench("tiny/yolov8", &further);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(word), "{error}");
    }
}
