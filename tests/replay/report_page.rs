//! The report in a browser: its script fills the page, filters work, and no text of the data becomes markup.

use std::path::Path;
use std::process::Command;

use super::footage;
use test_support::colours::model;
use test_support::footage::config;

const HOSTILE: &str = "<img src=x onerror=document.title='owned'>";

/// Returns the page after its script has run, from a copy of the report to which `script` is appended.
fn page_after(report: &Path, script: &str) -> String {
    let page = std::fs::read_to_string(report).unwrap();
    let copy = report.with_file_name("copy.html");
    std::fs::write(&copy, page.replace("</body>", &format!("<script>{script}</script></body>"))).unwrap();
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", copy.display()))
        .output()
        .expect("chromium is needed: run scripts/setup test");
    String::from_utf8(output.stdout).unwrap()
}

fn shown(page: &str) -> usize {
    page.matches("<article class=\"incident").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_fills_the_page_and_hostile_texts_stay_texts() {
    let (footage, place) = footage(&["front"], 1).await;
    let camera = format!(
        "  - id: front\n    kvs_stream_name: front-stream\n    roi: {{ polygons: [{{ name: {HOSTILE:?}, points: [[0, 0], [128, 0], [128, 128], [0, 128]] }}] }}\n    \
         pipeline:\n      - type: objects\n        objects: {{ yolo_weights: {}, max_disappeared_seconds: 1 }}\n",
        model().display()
    );
    let config = config("publishers: { local_dir: events }\n", &camera);
    let replay = place.replay(&config, 9, "out", &[], 0);
    let report = replay.folder.join("report.html");
    let page = page_after(&report, "");
    assert_eq!(shown(&page), 3, "{page}");
    assert!(page.contains("&lt;img src=x onerror="), "the zone is shown as it is");
    assert!(page.contains("<title>kvs-infer replay</title>") && !page.contains("<img src=\"x\""));
    assert_eq!(page.matches("src=\"data:image/jpeg;base64,").count(), 3);
    let search = "const box = document.getElementById('search'); box.value = 'gre en'; box.dispatchEvent(new Event('input'));";
    let found = page_after(&report, search);
    assert_eq!(shown(&found), 1, "{found}");
    assert!(found.contains("1 of 3 incidents"));
    let tile = "document.querySelector('#tiles button').click();";
    assert_eq!(shown(&page_after(&report, tile)), 0, "its only result is switched off");
    footage.sim.stop().await;
}
