//! The files of the page, compiled in. They hold no data, so they need no token.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::reply::error_body;

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The name, the content type and the text of each file that is served at `/page/NAME`.
const FILES: &[(&str, &str, &str)] = &[
    ("api.js", SCRIPT, include_str!("page/api.js")),
    ("camera.js", SCRIPT, include_str!("page/camera.js")),
    ("clipboard.js", SCRIPT, include_str!("page/clipboard.js")),
    ("closeup.js", SCRIPT, include_str!("page/closeup.js")),
    ("color.js", SCRIPT, include_str!("page/color.js")),
    ("dom.js", SCRIPT, include_str!("page/dom.js")),
    ("events.js", SCRIPT, include_str!("page/events.js")),
    ("feed.js", SCRIPT, include_str!("page/feed.js")),
    ("filter_form.js", SCRIPT, include_str!("page/filter_form.js")),
    ("filters.js", SCRIPT, include_str!("page/filters.js")),
    ("incident.js", SCRIPT, include_str!("page/incident.js")),
    ("incident_card.js", SCRIPT, include_str!("page/incident_card.js")),
    ("incident_text.js", SCRIPT, include_str!("page/incident_text.js")),
    ("incidents.css", CSS, include_str!("page/incidents.css")),
    ("incidents.js", SCRIPT, include_str!("page/incidents.js")),
    ("keys.js", SCRIPT, include_str!("page/keys.js")),
    ("listing.js", SCRIPT, include_str!("page/listing.js")),
    ("live.css", CSS, include_str!("page/live.css")),
    ("live.js", SCRIPT, include_str!("page/live.js")),
    ("main.js", SCRIPT, include_str!("page/main.js")),
    ("overview.js", SCRIPT, include_str!("page/overview.js")),
    ("page.css", CSS, include_str!("page/page.css")),
    ("picture.js", SCRIPT, include_str!("page/picture.js")),
    ("pictures.js", SCRIPT, include_str!("page/pictures.js")),
    ("pool.js", SCRIPT, include_str!("page/pool.js")),
    ("probes.js", SCRIPT, include_str!("page/probes.js")),
    ("records.js", SCRIPT, include_str!("page/records.js")),
    ("stage.js", SCRIPT, include_str!("page/stage.js")),
    ("system.css", CSS, include_str!("page/system.css")),
    ("system.js", SCRIPT, include_str!("page/system.js")),
    ("text.js", SCRIPT, include_str!("page/text.js")),
    ("timeline.js", SCRIPT, include_str!("page/timeline.js")),
    ("zone_boxes.js", SCRIPT, include_str!("page/zone_boxes.js")),
    ("zone_canvas.js", SCRIPT, include_str!("page/zone_canvas.js")),
    ("zone_drawing.js", SCRIPT, include_str!("page/zone_drawing.js")),
    ("zone_panels.js", SCRIPT, include_str!("page/zone_panels.js")),
    ("zone_rule.js", SCRIPT, include_str!("page/zone_rule.js")),
    ("zones.css", CSS, include_str!("page/zones.css")),
    ("zones.js", SCRIPT, include_str!("page/zones.js")),
];

/// Answers with a file of the page.
pub(super) async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => ([(CONTENT_TYPE, *kind)], *text).into_response(),
        None => (StatusCode::NOT_FOUND, error_body("not found")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use regex_lite::Regex;

    use super::*;

    #[test]
    fn every_script_and_style_sheet_of_the_folder_is_served() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/http/page");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.map(|name| name.into_string().unwrap());
        let there: BTreeSet<String> =
            names.filter(|name| name.ends_with(".js") || name.ends_with(".css")).collect();
        assert_eq!(there, FILES.iter().map(|(name, ..)| (*name).to_owned()).collect());
        for (name, kind, _) in FILES {
            assert_eq!(*kind, if name.ends_with(".css") { CSS } else { SCRIPT }, "{name}");
        }
    }

    #[test]
    fn every_file_that_is_named_is_served() {
        let import = Regex::new(r#"(?:from|import\() ?"\./([^"]+)""#).unwrap();
        let link = Regex::new(r#"(?:href|src)="/page/([^"]+)""#).unwrap();
        let pages = [
            ("page.html", include_str!("page/page.html")),
            ("sign_in.html", include_str!("page/sign_in.html")),
            ("refused.html", include_str!("page/refused.html")),
            ("follow.html", include_str!("page/follow.html")),
        ];
        let mut named = 0;
        for (name, text) in FILES.iter().map(|(name, _, text)| (*name, *text)).chain(pages) {
            for found in import.captures_iter(text).chain(link.captures_iter(text)) {
                assert!(FILES.iter().any(|(known, ..)| *known == &found[1]), "{name}: {}", &found[1]);
                named += 1;
            }
        }
        assert!(named > FILES.len(), "{named}");
    }

    #[test]
    fn no_script_makes_markup_of_text() {
        for (name, _, text) in FILES {
            for word in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser"]
            {
                assert!(!text.contains(word), "{name} contains {word}: use element() of dom.js");
            }
        }
    }
}
