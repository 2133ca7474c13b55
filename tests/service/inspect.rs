//! `inspect` against an independent reading of real GetMedia output. The captures are no part of the project: where they
//! are absent, the test of them says so and passes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use kvs_mkv::{Tag, writer};
use serde_json::{Value, json};
use test_support::kvs_infer_command;

fn inspect(bytes: &[u8]) -> Output {
    let mut child = kvs_infer_command!()
        .args(["inspect", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn captures() -> Option<PathBuf> {
    let mut above =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("shared/captures"));
    above.find(|folder| folder.is_dir())
}

/// Returns the line that `inspect` should print for a segment of the oracle.
fn expected(segment: &Value) -> Value {
    let aws = |name: &str| segment["aws_tags"][format!("AWS_KINESISVIDEO_{name}")].as_str();
    let seconds = |name| aws(name).map(|text| text.parse::<f64>().unwrap());
    let frames: Vec<&Value> = segment["clusters"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|c| c["frames"].as_array().unwrap())
        .collect();
    let track = |track: &Value| {
        let (width, height) = (&track["PixelWidth"], &track["PixelHeight"]);
        json!({"number": track["TrackNumber"], "codec": track["CodecID"].as_str().unwrap().trim_end_matches('\0'), "width": width, "height": height})
    };
    json!({
        "fragment": aws("FRAGMENT_NUMBER"),
        "server_timestamp": seconds("SERVER_TIMESTAMP"),
        "producer_timestamp": seconds("PRODUCER_TIMESTAMP"),
        "millis_behind_now": aws("MILLIS_BEHIND_NOW").map(|ms| ms.parse::<u64>().unwrap()),
        "continuation_token": aws("CONTINUATION_TOKEN"),
        "complete": aws("MILLIS_BEHIND_NOW").is_some(),
        "tracks": segment["tracks"].as_array().unwrap().iter().map(track).collect::<Vec<_>>(),
        "frames": frames.iter().filter(|frame| !truncated(frame)).count(),
        "keyframes": frames.iter().filter(|frame| frame["key"] == true && !truncated(frame)).count(),
        "bytes": frames.iter().filter(|frame| !truncated(frame)).map(|f| f["size"].as_u64().unwrap()).sum::<u64>(),
    })
}

fn truncated(frame: &Value) -> bool {
    frame["truncated"] == true
}

#[test]
fn every_capture_is_printed_as_the_oracle_describes_it() {
    let Some(folder) = captures() else {
        println!("skipped: no shared/captures above the project");
        return;
    };
    let oracle: Value = serde_json::from_slice(&std::fs::read(folder.join("oracle.json")).unwrap()).unwrap();
    for (name, file) in oracle.as_object().unwrap() {
        let output = inspect(&std::fs::read(folder.join(name)).unwrap());
        assert!(output.status.success(), "{name}: {output:?}");
        let mut printed = lines(&output);
        printed.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("tags")));
        let expected: Vec<Value> = file["segments"].as_array().unwrap().iter().map(expected).collect();
        assert_eq!(printed, expected, "{name}");
    }
}

fn fragment(number: &str) -> Vec<u8> {
    let mut out = Vec::new();
    writer::document_header(&mut out);
    writer::tracks(&mut out, &[writer::video_track(1, "V_MPEG4/ISO/AVC", b"", 640, 360)]);
    writer::tags(
        &mut out,
        &[
            Tag::new("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number),
            Tag::new("AWS_KINESISVIDEO_SERVER_TIMESTAMP", "1.234"),
        ],
    );
    writer::cluster_start(&mut out, 0);
    writer::simple_block(&mut out, 1, 0, true, b"first");
    writer::simple_block(&mut out, 1, 40, false, b"second");
    writer::tags(&mut out, &[Tag::new("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", "7")]);
    out
}

#[test]
fn a_truncated_file_yields_its_whole_frames_and_is_not_complete() {
    let whole = fragment("11");
    let cut = whole.windows(6).position(|bytes| bytes == b"second").unwrap() + 3;
    let printed = lines(&inspect(&[whole.as_slice(), &whole[..cut]].concat()));
    assert_eq!(printed.len(), 2);
    assert_eq!((&printed[0]["frames"], &printed[0]["complete"]), (&json!(2), &json!(true)));
    assert_eq!((&printed[1]["frames"], &printed[1]["complete"]), (&json!(1), &json!(false)));
}

#[test]
fn error_records_are_printed_and_other_bytes_are_an_error() {
    let mut bytes = fragment("11");
    writer::document_header(&mut bytes);
    writer::tags(
        &mut bytes,
        &[
            Tag::new("AWS_KINESISVIDEO_ERROR_ID", "4000"),
            Tag::new("AWS_KINESISVIDEO_ERROR_CODE", "FRAGMENT_NOT_FOUND"),
        ],
    );
    assert_eq!(lines(&inspect(&bytes))[1]["error"], json!({"id": 4000, "code": "FRAGMENT_NOT_FOUND"}));
    let other = inspect(b"not Matroska");
    assert_eq!(other.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&other.stderr).contains("expected an EBML header"), "{other:?}");
}
