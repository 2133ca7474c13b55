//! Configurations that the program refuses at its start: the exit code and the words.

use std::process::Output;

use test_support::colours::camera;
use test_support::kvs_infer_command;

type Variables<'a> = &'a [(&'a str, &'a str)];

fn run(config: &str, env: Variables<'_>) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cameras.yaml");
    std::fs::write(&file, config).unwrap();
    kvs_infer_command!()
        .args(["run", "--http-host", "127.0.0.1", "--http-port", "0", "--config"])
        .arg(&file)
        .current_dir(dir.path())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env_remove("AWS_REGION")
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

#[test]
fn what_makes_no_sense_is_refused_with_its_code_and_its_remedy() {
    let good = format!("publishers: {{ local_dir: events }}\ncameras:\n{}", camera("front"));
    let misspelt = good.replace("yolov8.onnx }", "yolov8.onnx, classes: [gren] }");
    let region = [("AWS_REGION", "us-east-1")];
    let table: [(&str, &str, Variables<'_>, i32, &str); 4] = [
        ("a class that the model does not know", &misspelt, &region, 78, "did you mean \"green\"?"),
        ("no region", &good, &[], 78, "set AWS_REGION"),
        ("a level that is none", &good, &[("LOG_LEVEL", "verbose")], 64, "LOG_LEVEL \"verbose\""),
        (
            "a key that is none",
            &good.replace("local_dir", "local_dri"),
            &region,
            78,
            "did you mean `local_dir`?",
        ),
    ];
    for (name, config, env, code, words) in table {
        let ended = run(config, env);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{name}: {said}");
        assert!(said.contains(words), "{name}: {said}");
        assert_eq!(said.matches(words).count(), 1, "{name}: said once: {said}");
    }
}
