//! Independent clients against the local KVS: boto3, the AWS CLI and the ffmpeg command.
#![expect(clippy::expect_used, clippy::panic, reason = "a test stops where something is wrong")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kvs_infer::cli::sim_images::SimImages;
use kvs_mkv::{FragmentEvent, FragmentReader, MkvLimits};
use kvs_sim::{ClipPace, Clock, Fault, FaultKind, ImageMaker, KvsStream, Sim, SimConfig, append_clip};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::setup::python;

const REMEDY: &str = "run scripts/setup test";
const NOON_MS: i64 = 1_700_000_000_000;
/// Fragments of the clip below, and frames in each.
const FRAGMENTS: usize = 2;
const FRAMES: usize = 25;

/// Runs a command to its end.
async fn run(mut command: Command) -> Output {
    let shown = format!("{command:?}");
    let output =
        tokio::task::spawn_blocking(move || command.output()).await.expect("a command does not panic");
    let output = output.unwrap_or_else(|error| panic!("{shown}: {error}; {REMEDY}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}: {}\n{said}\nif something is missing: {REMEDY}", output.status);
    output
}

async fn clip(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("clip.mp4");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-t", "2"]);
    ffmpeg.args(["-c:v", "libx264", "-g", "25", "-bf", "2", "-pix_fmt", "yuv420p"]).arg(&path);
    run(ffmpeg).await;
    path
}

/// A stream that received the clip twice, ten minutes apart.
async fn stream_of_two_clips(sim: &Sim, clip: &Path) -> Arc<KvsStream> {
    let stream = sim.store().stream_or_create("cam").expect("a good name");
    for start_ms in [NOON_MS, NOON_MS + 600_000] {
        let start = SystemTime::UNIX_EPOCH + Duration::from_millis(start_ms.unsigned_abs());
        append_clip(&stream, clip, ClipPace::Asap, start).await.expect("a clip that can be played");
        stream.clock().advance(Duration::from_secs(600));
    }
    stream
}

/// Numbers of the whole fragments in a GetMedia answer.
fn whole_fragments(path: &Path) -> Vec<String> {
    let mut reader = FragmentReader::new(MkvLimits::default());
    reader.push(&std::fs::read(path).expect("boto3 wrote it"));
    let mut numbers = Vec::new();
    while let Some(event) = reader.next().expect("what GetMedia sends can be read") {
        if let FragmentEvent::End(end) = event {
            assert!(end.complete);
            assert_eq!(end.frames as usize, FRAMES);
            numbers.push(end.number);
        }
    }
    numbers
}

/// Frames that ffmpeg decodes of a file, without a complaint.
async fn decoded_frames(path: &Path) -> usize {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args([
        "-v",
        "fatal",
        "-count_frames",
        "-show_entries",
        "stream=nb_read_frames",
        "-of",
        "csv=p=0",
    ]);
    ffprobe.arg(path);
    let printed = run(ffprobe).await.stdout;
    String::from_utf8_lossy(&printed).trim().parse().expect("a count of frames")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_reads_from_every_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clip = clip(&folder).await;
    let config = SimConfig { clock: Clock::standing_at(NOON_MS), ..SimConfig::default() };
    let sim = Sim::start(config).expect("a free port");
    let stream = stream_of_two_clips(&sim, &clip).await;
    let numbers: Vec<String> = stream.fragment_numbers().iter().map(ToString::to_string).collect();
    assert_eq!(numbers.len(), 2 * FRAGMENTS);
    let later_s = (NOON_MS + 600_000) as f64 / 1000.0;
    let selectors = [
        (json!({ "StartSelectorType": "EARLIEST" }), 0),
        (json!({ "StartSelectorType": "NOW" }), 3),
        (json!({ "StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": numbers[0] }), 1),
        (json!({ "StartSelectorType": "CONTINUATION_TOKEN", "ContinuationToken": numbers[1] }), 2),
        (json!({ "StartSelectorType": "SERVER_TIMESTAMP", "StartTimestamp": later_s }), 2),
        (json!({ "StartSelectorType": "PRODUCER_TIMESTAMP", "StartTimestamp": later_s + 1.5 }), 3),
    ];
    let output = |read: usize| folder.path().join(format!("{read}.mkv"));
    let reads = selectors.iter().enumerate().map(|(read, (selector, first))| {
        json!({ "selector": selector, "fragments": numbers.len() - first, "output": output(read) })
    });
    let reads: Vec<Value> = reads.collect();
    let task = json!({ "endpoint": sim.endpoint(), "create": "made", "stream": "cam", "reads": reads });
    let answer = boto3(&task).await;
    for (read, (selector, first)) in selectors.iter().enumerate() {
        assert_eq!(whole_fragments(&output(read)), numbers[*first..], "{selector}");
        let frames = decoded_frames(&output(read)).await;
        assert_eq!(frames, FRAMES * (numbers.len() - first), "{selector}: frames that ffmpeg decodes");
    }
    assert_eq!((&answer["address"], &answer["refusal"]), (&json!(sim.endpoint()), &json!(404)));
    let made = sim.store().stream("made").expect("boto3 made it");
    assert_eq!(
        (&answer["arn"], &answer["described"]),
        (&json!(made.identity().arn), &json!(made.identity().arn))
    );
    assert_eq!(answer["hours"], 2);
    assert_eq!(answer["created"].as_f64(), Some(made.identity().created_ms as f64 / 1000.0));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_follows_a_clip_that_plays_now() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clip = clip(&folder).await;
    let sim = Sim::start(SimConfig::default()).expect("a free port");
    sim.play(format!("cam={},loop", clip.display()).parse().expect("a play")).await.expect("a clip");
    let output = folder.path().join("live.mkv");
    let read = json!({ "selector": { "StartSelectorType": "NOW" }, "fragments": 3, "output": output });
    boto3(&json!({ "endpoint": sim.endpoint(), "create": "made", "stream": "cam", "reads": [read] })).await;
    assert_eq!(whole_fragments(&output).len(), 3);
    assert_eq!(decoded_frames(&output).await, 3 * FRAMES);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_lists_the_archive_and_reads_what_it_listed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clip = clip(&folder).await;
    let config = SimConfig { clock: Clock::standing_at(NOON_MS), ..SimConfig::default() };
    let sim = Sim::start(config).expect("a free port");
    let stream = stream_of_two_clips(&sim, &clip).await;
    stream.set_faults(Fault::from(FaultKind::Throttle).times(1));
    let numbers: Vec<String> = stream.fragment_numbers().iter().map(ToString::to_string).collect();
    let output = folder.path().join("archive.mkv");
    let (first_s, last_s) = (NOON_MS / 1000 + 1, NOON_MS / 1000 + 601);
    let answer = client(
        "kvs_archive.py",
        &json!({
            "endpoint": sim.endpoint(), "stream": "cam", "output": output, "page": 2,
            "kind": "PRODUCER_TIMESTAMP", "first": first_s, "last": last_s,
        }),
    )
    .await;
    assert_eq!(answer["throttled"], json!(["ClientLimitExceededException", 400]));
    assert_eq!(answer["absent"], json!(["ResourceNotFoundException", 404]));
    let pages = answer["pages"].as_array().expect("a list of pages");
    let mut listed: Vec<&Value> = pages.iter().filter_map(Value::as_array).flatten().collect();
    assert_eq!((pages.len(), listed.len()), (2, 3), "all but the first fragment, two per page");
    listed.sort_by_key(|fragment| fragment["number"].to_string());
    let field = |name: &str| listed.iter().map(|fragment| fragment[name].clone()).collect::<Vec<_>>();
    assert_eq!(field("number"), numbers[1..]);
    assert_eq!(field("producer"), [first_s, last_s - 1, last_s].map(|seconds| json!(seconds as f64)));
    assert_eq!(field("server"), [first_s - 1, last_s - 1, last_s - 1].map(|seconds| json!(seconds as f64)));
    assert_eq!(field("length_ms"), [1000; 3]);
    let bytes: u64 = field("bytes").iter().filter_map(Value::as_u64).sum();
    assert_eq!(std::fs::metadata(&output).expect("boto3 wrote it").len(), bytes);
    assert_eq!(whole_fragments(&output), numbers[1..]);
    assert_eq!(decoded_frames(&output).await, 3 * FRAMES);
    sim.stop().await;
}

/// SHA-256 sums of the pictures in a file, as ffmpeg decodes them.
async fn pictures(path: &Path, options: &[&str]) -> Vec<String> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(path).args(options);
    let printed = run(ffmpeg).await.stdout;
    String::from_utf8_lossy(&printed)
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(ToOwned::to_owned)
        .collect()
}

/// Width and height of the first picture in a file, and its mean luma.
async fn shape(path: &Path) -> (String, f64) {
    let mut ffprobe = Command::new("ffprobe");
    let source = format!("movie={},signalstats", path.display());
    let entries = "frame=width,height:frame_tags=lavfi.signalstats.YAVG";
    ffprobe.args(["-v", "error", "-f", "lavfi", "-i", &source, "-show_entries", entries, "-of", "csv=p=0"]);
    let printed = String::from_utf8_lossy(&run(ffprobe).await.stdout).into_owned();
    let (size, luma) = printed.trim().rsplit_once(',').unwrap_or_else(|| panic!("three values: {printed}"));
    (size.to_owned(), luma.parse().unwrap_or_else(|error| panic!("{error}: {printed}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_gets_clips_and_images_and_changes_streams() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clip = clip(&folder).await;
    let images: Option<Arc<dyn ImageMaker>> = Some(Arc::new(SimImages));
    let config = SimConfig { clock: Clock::standing_at(NOON_MS), images, ..SimConfig::default() };
    let sim = Sim::start(config).expect("a free port");
    stream_of_two_clips(&sim, &clip).await;
    let output = folder.path().join("got.mp4");
    let (first_s, last_s) = (NOON_MS / 1000, NOON_MS / 1000 + 3);
    let answer = client(
        "kvs_archive_media.py",
        &json!({
            "endpoint": sim.endpoint(), "stream": "cam", "clip": output, "images": folder.path(),
            "first": first_s, "last": last_s,
        }),
    )
    .await;
    assert_eq!(answer["tags"], json!({ "door": "north" }));
    assert_eq!((&answer["hours"], &answer["stale"]), (&json!(48), &json!(["VersionMismatchException", 400])));
    assert_eq!(answer["elsewhere"], json!(["ResourceNotFoundException", 404]));
    assert_eq!(answer["token"], json!(["InvalidArgumentException", 400]));
    assert_eq!(answer["kind"], "video/mp4");
    let frames = ["-f", "framemd5", "-"];
    assert_eq!(
        pictures(&output, &frames).await,
        pictures(&clip, &frames).await,
        "times and pictures of the clip"
    );

    let seen = |at_ms: i64| {
        if at_ms < 2500 { json!([NOON_MS + at_ms, null]) } else { json!([NOON_MS + at_ms, "NO_MEDIA"]) }
    };
    let page = |times: &[i64]| times.iter().map(|at_ms| seen(*at_ms)).collect::<Vec<_>>();
    let pages = json!([page(&[0, 500, 1000]), page(&[1500, 2000, 2500]), page(&[3000])]);
    assert_eq!((&answer["png"], &answer["jpeg"]), (&pages, &pages));
    for (at_ms, frame) in [(0, 0), (500, 12), (1000, 25), (1500, 37), (2000, 49)] {
        let file = |kind: &str| folder.path().join(format!("{}.{kind}", NOON_MS + at_ms));
        let expected = folder.path().join("expected.png");
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-y", "-i"]).arg(&clip);
        ffmpeg.args(["-vf", &format!("select=eq(n\\,{frame})"), "-frames:v", "1"]).arg(&expected);
        run(ffmpeg).await;
        let db = likeness_db(&file("png"), &expected).await;
        assert!(db > 30.0, "the frame {frame} at {at_ms} ms: {db} dB");
        let (size, luma) = shape(&file("jpeg")).await;
        assert_eq!(size, "64,64");
        assert!((luma - shape(&expected).await.1).abs() < 24.0, "{luma}");
    }
    sim.stop().await;
}

/// The peak signal-to-noise ratio of two pictures of one size.
async fn likeness_db(one: &Path, other: &Path) -> f64 {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "info", "-i"]).arg(one).arg("-i").arg(other);
    ffmpeg.args(["-lavfi", "[0]format=rgb24[a];[1]format=rgb24[b];[a][b]psnr", "-f", "null", "-"]);
    let said = String::from_utf8_lossy(&run(ffmpeg).await.stderr).into_owned();
    let average = said.split_once("average:").and_then(|(_, rest)| rest.split(' ').next());
    average.unwrap_or_else(|| panic!("{said}")).parse().unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// AWS's producer SDK in C sends Host without the port, whatever the port of the address is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_c_sdk_gets_an_endpoint_that_it_can_upload_to() {
    let sim = Sim::start(SimConfig { tls: true, ..SimConfig::default() }).expect("a free port");
    let pem = sim.certificate_pem().expect("with TLS there is one");
    let certificate = reqwest::Certificate::from_pem(pem.as_bytes()).expect("a certificate");
    let http = reqwest::Client::builder().tls_certs_only([certificate]).build().expect("a client");
    let scope = "20231114/us-west-2/kinesisvideo/aws4_request";
    let post = |path: &str, body: &'static str| {
        let request = http.post(format!("{}/{path}", sim.endpoint())).header("host", "127.0.0.1").body(body);
        request.header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders=host, Signature=ab"),
        )
    };
    let created = post("createStream", "{\n\t\"StreamName\": \"csdk\"\n}").send().await.expect("an answer");
    assert_eq!(created.status(), 200);
    let asked = "{\n\t\"StreamName\": \"csdk\",\n\t\"APIName\": \"PUT_MEDIA\"\n}";
    let answer =
        post("getDataEndpoint", asked).send().await.expect("an answer").text().await.expect("a text");
    assert_eq!(answer, json!({ "DataEndpoint": sim.endpoint() }).to_string());
    assert_eq!(sim.endpoint(), format!("https://127.0.0.1:{}", sim.address().port()));
    assert_ne!(sim.address().port(), 443);
    let uploaded = post("putMedia", "")
        .header("x-amzn-stream-name", "csdk")
        .header("x-amzn-fragment-timecode-type", "ABSOLUTE")
        .send()
        .await
        .expect("an answer");
    assert_eq!(uploaded.status(), 200);
    sim.stop().await;
}

async fn boto3(task: &Value) -> Value {
    client("kvs_reader.py", task).await
}

/// Returns the output of a script of tests/clients.
async fn client(script: &str, task: &Value) -> Value {
    let mut python = Command::new(python());
    python.arg(Path::new("tests/clients").join(script)).arg(task.to_string());
    let output = run(python).await;
    serde_json::from_slice(&output.stdout).expect("the script prints JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_aws_command_lists_and_describes_over_http_and_https() {
    for tls in [false, true] {
        let sim = Sim::start(SimConfig { tls, ..SimConfig::default() }).expect("a free port");
        for name in ["front", "gate"] {
            sim.store().stream_or_create(name).expect("a good name");
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let certificate = sim.certificate_pem().map(|pem| {
            let path = folder.path().join("certificate.pem");
            std::fs::write(&path, pem).expect("a folder that can be written");
            path
        });
        let certificate = certificate.as_deref();
        let list = aws(&sim, certificate, &["list-streams"]).await;
        let names: Vec<&Value> = list["StreamInfoList"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|info| &info["StreamName"])
            .collect();
        assert_eq!(names, [&json!("front"), &json!("gate")], "tls: {tls}");
        let described = aws(&sim, certificate, &["describe-stream", "--stream-name", "gate"]).await;
        assert_eq!(described["StreamInfo"]["Status"], "ACTIVE", "tls: {tls}");
        let endpoint = ["get-data-endpoint", "--stream-name", "gate", "--api-name", "GET_MEDIA"];
        assert_eq!(aws(&sim, certificate, &endpoint).await["DataEndpoint"], sim.endpoint(), "tls: {tls}");
        sim.stop().await;
    }
}

async fn aws(sim: &Sim, certificate: Option<&Path>, arguments: &[&str]) -> Value {
    let mut aws = Command::new("aws");
    aws.args(["--endpoint-url", &sim.endpoint(), "--output", "json", "kinesisvideo"]).args(arguments);
    aws.env("AWS_ACCESS_KEY_ID", "local").env("AWS_SECRET_ACCESS_KEY", "local");
    aws.env("AWS_DEFAULT_REGION", "us-east-1").env_remove("AWS_PROFILE");
    if let Some(certificate) = certificate {
        aws.env("AWS_CA_BUNDLE", certificate);
    }
    let output = run(aws).await;
    serde_json::from_slice(&output.stdout).expect("the command prints JSON")
}
