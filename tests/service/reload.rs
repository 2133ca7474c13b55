//! Another configuration while cameras are at work, and models that come from elsewhere.

use std::io::{BufRead, BufReader, Write};
use std::process::Command;

use kvs_infer::remote::{Address, RemoteClient};
use test_support::colours::{FRAMES, camera, film, model, sim, store};
use test_support::kvs_infer_command;
use test_support::moto::Moto;
use test_support::program::{Program, configure_run};

/// Clips that the camera has to catch up with while the others come and go.
const MANY: u64 = 6;

fn config(cameras: &[String]) -> String {
    format!("publishers:\n  local_dir: events\ndevice: cpu\ncameras:\n{}", cameras.concat())
}

fn every_second_frame(id: &str) -> String {
    camera(id).replace("    pipeline:", "    fps_target: 5\n    pipeline:")
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_come_change_and_go_and_the_others_lose_no_frame() {
    let clips = tempfile::tempdir().unwrap();
    let clip = film(clips.path(), 0);
    let sim = sim();
    for id in ["changed", "removed", "added"] {
        store(&sim, &format!("{id}-stream"), &clip).await;
    }
    for _ in 0..MANY {
        store(&sim, "steady-stream", &clip).await;
    }
    let before = config(&[camera("steady"), camera("changed"), camera("removed")]);
    let program = Program::start(kvs_infer_command!(), &before, &sim.endpoint(), None);
    let ten_broken = (0..10).map(|n| format!("{before}{}", "  - id: broken\n".repeat(n + 1)));
    for (n, broken) in ten_broken.enumerate() {
        program.rewrite(&broken);
        program.metric_when("kvs_infer_config_reload_failures_total", n + 1);
    }
    let health = program.get("/healthz");
    assert!(health.0 == 200 && health.1.contains("the configuration was rejected"), "{}", health.1);

    program.rewrite(&config(&[camera("steady"), every_second_frame("changed"), camera("added")]));
    program.metric_when("kvs_infer_config_reloads_total", 1);
    program.camera_after("added", FRAMES);
    let overview = program.overview();
    let ids: Vec<_> = overview["cameras"].as_array().unwrap().iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, ["steady", "changed", "added"]);
    let health = program.get("/healthz");
    assert!(!health.1.contains("configuration") && !health.1.contains("ended"), "{}", health.1);
    let steady = program.camera_after("steady", MANY * FRAMES);
    assert_eq!(steady["frames"]["dropped"], serde_json::json!({}), "{steady:#}");
    store(&sim, "steady-stream", &clip).await;
    let all = (MANY + 1) * FRAMES;
    let steady = program.camera_when("steady", |row| row["frames"]["read"].as_u64() >= Some(all));
    let whole = (&steady["frames"]["read"], &steady["reconnects"], &steady["skipped_ms"]);
    assert_eq!(whole, (&all.into(), &0.into(), &0.into()), "the connection of the start: {steady:#}");

    program.rewrite(&before.replace("device: cpu", "device: auto"));
    program.metric_when("kvs_infer_config_reload_failures_total", 11);
    let health = program.get("/healthz");
    assert!(health.1.contains("device has changed: restart kvs-infer"), "{}", health.1);
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    sim.stop().await;
}

/// The configuration is a pipe at first, which the program opens and then waits for.
/// A read of a pipe would wait for a writer for ever, and the cameras with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_becomes_a_pipe_is_rejected_and_stops_no_camera() {
    let clips = tempfile::tempdir().unwrap();
    let clip = film(clips.path(), 0);
    let sim = sim();
    store(&sim, "steady-stream", &clip).await;
    let program = Program::start(kvs_infer_command!(), &config(&[camera("steady")]), &sim.endpoint(), None);
    program.camera_after("steady", FRAMES);
    let file = program.dir().join("cameras.yaml");
    std::fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    program.metric_when("kvs_infer_config_reload_failures_total", 1);
    let health = program.get("/healthz");
    assert!(health.0 == 200 && health.1.contains("not a regular file"), "{}", health.1);
    store(&sim, "steady-stream", &clip).await;
    program.camera_after("steady", 2 * FRAMES);

    std::fs::remove_file(&file).unwrap();
    program.rewrite(&config(&[camera("steady"), camera("added")]));
    program.metric_when("kvs_infer_config_reloads_total", 1);
    let ended = program.stop();
    assert!(ended.status.success(), "{:?}", ended.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_in_the_first_moments_ends_nothing_and_is_not_lost() {
    let (sim, dir) = (sim(), tempfile::tempdir().unwrap());
    let mut command = kvs_infer_command!();
    let long = camera("front").replace("max_disappeared_seconds: 30", "cooldown_seconds: 30");
    configure_run(&mut command, dir.path(), &config(&[long]), &sim.endpoint(), None);
    let (pipe, whole) = (dir.path().join("cameras.yaml"), dir.path().join("whole.yaml"));
    std::fs::rename(&pipe, &whole).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut child = command.spawn().unwrap();
    let mut opened = std::fs::File::options().write(true).open(&pipe).unwrap();
    let pid = child.id().to_string();
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    };
    signal("-HUP");
    let text = std::fs::read(&whole).unwrap();
    std::fs::rename(&whole, &pipe).unwrap();
    opened.write_all(&text).unwrap();
    drop(opened);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut log = Vec::new();
    for line in lines {
        if line.contains("configuration applied") {
            signal("-TERM");
        }
        log.push(line);
    }
    let status = child.wait().unwrap();
    assert!(status.success(), "{status:?} {log:#?}");
    let warned =
        |line: &&String| line.contains("\"WARN\"") && line.contains("`cooldown_seconds: 30` suppresses");
    assert_eq!(log.iter().filter(warned).count(), 2, "at the start, and when it was taken over: {log:#?}");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_in_s3_is_fetched_once_by_its_processes_and_checked() {
    let moto = Moto::start();
    let s3 = moto.bucket("models").await;
    let weights = std::fs::read(model()).unwrap();
    s3.put_object().bucket("models").key("colours/v1.onnx").body(weights.into()).send().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, key: &str, sha256: &str| {
        let camera = camera("front").replace(&model().display().to_string(), "colours");
        let model =
            format!("models: {{ colours: {{ path: 's3://models/colours/{key}', sha256: {sha256} }} }}\n");
        std::fs::write(dir.path().join(name), format!("{model}{}", config(&[camera]))).unwrap();
        dir.path().join(name)
    };
    let command = |config: &std::path::Path| {
        let mut command = kvs_infer_command!();
        command.arg("models").arg("--config").arg(config).arg("--cache-dir").arg(dir.path().join("cache"));
        let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
        command.envs(keys).env("AWS_REGION", "us-east-1").env("AWS_ENDPOINT_URL", &moto.url);
        command
    };
    let good = file("good.yaml", "v1.onnx", "null");
    let two: Vec<_> = (0..2)
        .map(|_| {
            let mut command = command(&good);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for child in two {
        let ended = child.wait_with_output().unwrap();
        let output = String::from_utf8_lossy(&ended.stdout);
        assert!(
            ended.status.success() && output.contains("yolov8"),
            "{output}\n{}",
            String::from_utf8_lossy(&ended.stderr)
        );
    }
    let kept = std::fs::read_dir(dir.path().join("cache/models")).unwrap();
    assert_eq!(kept.filter(|entry| entry.as_ref().unwrap().path().is_file()).count(), 1);
    let table = [
        (file("digest.yaml", "v1.onnx", &format!("'{}'", "0".repeat(64))), "`sha256` asks for 0000"),
        (file("key.yaml", "v2.onnx", "null"), "there is no such object"),
    ];
    for (config, words) in table {
        let ended = command(&config).output().unwrap();
        let output = String::from_utf8_lossy(&ended.stdout);
        assert_eq!(ended.status.code(), Some(78), "{output}");
        assert!(output.contains(words), "{output}");
    }
    let text = std::fs::read(&good).unwrap();
    s3.put_object().bucket("models").key("cameras.yaml").body(text.into()).send().await.unwrap();
    let ended = command(std::path::Path::new("s3://models/cameras.yaml")).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_share_cameras_accept_what_has_a_time_of_its_store() {
    let moto = Moto::start();
    let s3 = moto.bucket("configs").await;
    let sharing = "state: { dir: state, ddb_table: positions }\nsharing: { table: workers }\n";
    let text = format!("{sharing}{}", config(&[camera("front")]));
    s3.put_object()
        .bucket("configs")
        .key("cameras.yaml")
        .body(text.clone().into_bytes().into())
        .send()
        .await
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let check = |config: &str| {
        let mut command = kvs_infer_command!();
        command.args(["check", "--config", config]).current_dir(dir.path());
        let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
        command.envs(keys).env("AWS_REGION", "us-east-1").env("AWS_ENDPOINT_URL", &moto.url);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let ended = child.wait_with_output().unwrap();
        let output = [ended.stdout, ended.stderr].concat();
        (ended.status.code(), String::from_utf8(output).unwrap())
    };
    let (code, output) = check("s3://configs/cameras.yaml");
    assert!(code == Some(0) && output.contains("sharing: pool default in table workers"), "{output}");
    let object = s3.head_object().bucket("configs").key("cameras.yaml").send().await.unwrap();
    let client = RemoteClient::new(Some(&moto.config())).unwrap();
    let address = Address::parse("s3://configs/cameras.yaml").unwrap().unwrap();
    let fetched = client.text(&address, None, 1 << 20).await.unwrap().unwrap();
    let modified_ms = object.last_modified.unwrap().to_millis().unwrap();
    assert_eq!(fetched.modified_ms, u64::try_from(modified_ms).ok());
    let (code, output) = check("-");
    assert_eq!(code, Some(78), "{output}");
    assert!(output.contains("not from a file") && output.contains("--config s3://bucket/key"), "{output}");
}
