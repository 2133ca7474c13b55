//! Drawn zones and masks, checked as `kvs-infer check` checks them in a file.

use serde::Serialize;

use kvs_config::Problem;
use kvs_config::raw::MinBox;

use super::advice::zone_advice;
use super::diff::{DiffLine, line_diff};
use super::{CameraShapes, ShapeDrawing};
use crate::config::{ConfigErrors, Overrides, parse};

/// The path of the drawn camera in the text that is checked.
const CAMERA: &str = "cameras[0].";

/// A drawing as YAML, with its mistakes, and compared with the running configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShapeReport {
    /// The keys `roi` and `masks`, to paste under the camera; empty without zones and masks.
    pub yaml: String,
    /// The `min_box` of each entry, to change in the camera's `pipeline`; empty where they stay as they are.
    pub min_boxes_yaml: String,
    /// The mistakes that `kvs-infer check` would report, which keep the configuration from being applied.
    pub mistakes: Vec<ShapeProblem>,
    /// The warnings that it would print.
    pub warnings: Vec<ShapeProblem>,
    /// The lines of the running configuration and of the drawing, both in canonical form.
    pub diff: Vec<DiffLine>,
}

/// A mistake in a drawing, or a warning about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShapeProblem {
    /// The key path below the camera, such as `roi.polygons[1].points`; empty for the drawing as a whole.
    pub key: String,
    /// The mistake, with the value.
    pub message: String,
    /// The action that fixes it; empty if it is part of the message.
    pub remedy: String,
}

impl CameraShapes {
    /// Returns the keys `roi` and `masks` of the running configuration.
    #[must_use]
    pub fn yaml(&self) -> String {
        self.drawing().yaml(self.indent())
    }

    /// Checks a drawing, and compares it with the running configuration.
    #[must_use]
    pub fn report(&self, drawing: &ShapeDrawing) -> ShapeReport {
        let running = self.min_boxes();
        let min_boxes = if drawing.min_boxes.is_empty() { &running } else { &drawing.min_boxes };
        let yaml = drawing.yaml(self.indent());
        let (mut before, mut after) = (self.min_boxes_yaml(&running), self.min_boxes_yaml(min_boxes));
        if before == after {
            (before, after) = (String::new(), String::new());
        }
        ShapeReport {
            mistakes: self.mistakes(drawing, min_boxes),
            warnings: drawing.roi.iter().flat_map(zone_advice).map(ShapeProblem::of_zone).collect(),
            diff: line_diff(&(self.yaml() + &before), &(yaml.clone() + &after)),
            yaml,
            min_boxes_yaml: after,
        }
    }

    fn mistakes(&self, drawing: &ShapeDrawing, min_boxes: &[Option<MinBox>]) -> Vec<ShapeProblem> {
        let text = self.minimal_file(drawing, min_boxes);
        // Nothing is read from the environment: the text comes from a client.
        match parse("cameras.yaml", &text, &|_| None, &Overrides::default()) {
            Ok(_) => Vec::new(),
            Err(ConfigErrors::Invalid { problems, .. }) => {
                problems.into_iter().map(|problem| self.problem(problem)).collect()
            }
            Err(error) => {
                vec![ShapeProblem { key: String::new(), message: error.to_string(), remedy: String::new() }]
            }
        }
    }

    /// Returns a valid file around the drawing, with this camera alone and entries that have nothing but a `min_box`.
    fn minimal_file(&self, drawing: &ShapeDrawing, min_boxes: &[Option<MinBox>]) -> String {
        let entry = |min_box: &Option<MinBox>| {
            let min_box = min_box
                .map(|MinBox { width, height }| format!(", min_box: {{ width: {width}, height: {height} }}"));
            format!("{{ type: objects, objects: {{ yolo_weights: m.onnx{} }} }}", min_box.unwrap_or_default())
        };
        let entries: Vec<String> = min_boxes.iter().take(self.entries.len()).map(entry).collect();
        format!(
            "publishers: {{ local_dir: events }}\ncameras:\n  - id: {}\n    kvs_stream_name: stream\n{}    pipeline: [{}]\n",
            self.id,
            drawing.yaml(4),
            entries.join(", ")
        )
    }

    /// Returns the problem with its path in the file of the camera, where entries have types of their own.
    fn problem(&self, Problem { key, message, remedy, .. }: Problem) -> ShapeProblem {
        let below = key.strip_prefix(CAMERA).unwrap_or(&key);
        let own_path = self.entries.iter().enumerate().find_map(|(i, entry)| {
            let rest = below.strip_prefix(&format!("pipeline[{i}].objects"))?;
            Some(format!("pipeline[{i}].{}{rest}", entry.kind.as_str()))
        });
        ShapeProblem { key: own_path.unwrap_or_else(|| below.to_owned()), message, remedy }
    }
}

impl ShapeProblem {
    fn of_zone((index, message): (usize, String)) -> Self {
        Self { key: format!("roi.polygons[{index}]"), message, remedy: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LineChange, Settings};

    const FILE: &str = "publishers: { local_dir: events }
cameras:
- id: other
  kvs_stream_name: other
  pipeline: [{ type: objects, objects: { yolo_weights: m.onnx } }]
- id: gate
  kvs_stream_name: gate
  roi:
    polygons: [{ points: [[0, 0], [200, 0], [200, 100]] }, { name: '${SITE}', points: [[0, 0], [7, 0], [7, 7]] }]
  masks: [{ points: [[0, 0], [9, 0], [9, 9]] }]
  pipeline:
  - { type: weapon, enabled: false, weapon: { yolo_weights: m.onnx } }
  - type: objects
    objects: { yolo_weights: m.onnx, classes: [person], conf_threshold: 0.3, min_box: { width: 24, height: 24 } }
  - { type: objects, objects: { yolo_weights: m.onnx, agnostic_nms: true } }
- { id: short, kvs_stream_name: short, pipeline: [{ type: objects, objects: { yolo_weights: m.onnx } }] }
";

    fn settings(text: &str) -> Settings {
        let site = |name: &str| (name == "SITE").then(|| "north: 1".to_owned());
        parse("cameras.yaml", text, &site, &Overrides::default()).unwrap()
    }

    fn gate() -> CameraShapes {
        settings(FILE).shapes[1].clone()
    }

    fn drawing(json: &str) -> ShapeDrawing {
        serde_json::from_str(json).unwrap()
    }

    fn changed(report: &ShapeReport) -> Vec<String> {
        let marked = |line: &DiffLine| match line.change {
            LineChange::Same => None,
            LineChange::Removed => Some(format!("-{}", line.text)),
            LineChange::Added => Some(format!("+{}", line.text)),
        };
        report.diff.iter().filter_map(marked).collect()
    }

    #[test]
    fn the_running_configuration_is_known_with_its_place() {
        let shapes = settings(FILE).shapes;
        let places: Vec<_> = shapes
            .iter()
            .map(|camera| (camera.id.as_str(), camera.place.line, camera.place.indent))
            .collect();
        assert_eq!(places, [("other", 3, None), ("gate", 6, Some(2)), ("short", 16, None)]);
        let entries: Vec<_> = shapes[1]
            .entries
            .iter()
            .map(|e| (e.name.as_str(), e.enabled, e.conf_threshold, e.agnostic_nms))
            .collect();
        assert_eq!(
            entries,
            [("weapon", false, 0.4, false), ("objects", true, 0.3, false), ("objects#2", true, 0.4, true)]
        );
        let yaml = "  roi:
    units: pixels
    filter: center
    polygons:
      - points: [[0, 0], [200, 0], [200, 100]]
      - name: \"north: 1\"
        points: [[0, 0], [7, 0], [7, 7]]
  masks:
    - points: [[0, 0], [9, 0], [9, 9]]
";
        assert_eq!(shapes[1].yaml(), yaml);
    }

    #[test]
    fn the_running_drawing_has_no_mistake_and_no_difference() {
        let gate = gate();
        let report = gate.report(&gate.drawing());
        assert_eq!((report.mistakes, changed(&gate.report(&gate.drawing()))), (vec![], vec![]));
        assert_eq!((report.min_boxes_yaml.as_str(), report.yaml), ("", gate.yaml()));
        assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
        assert_eq!(report.warnings[0].key, "roi.polygons[1]");
    }

    #[test]
    fn a_drawing_has_the_mistakes_that_check_reports() {
        let square = "[[0,0],[50,0],[50,50]]";
        let table = [
            (r#"{"roi": null}"#.to_owned(), None),
            (
                format!(r#"{{"roi": {{"polygons": [{{"points": {square}}}], "filter": "overlap"}}}}"#),
                Some(("roi.filter", "`filter: overlap` requires `min_overlap`")),
            ),
            (
                r#"{"roi": {"polygons": [{"name": "a", "points": [[0,0],[50,50]]}]}}"#.to_owned(),
                Some(("roi.polygons[0].points", "2")),
            ),
            (
                r#"{"roi": {"polygons": [{"points": [[0,0],[50,50],[90,90]]}]}}"#.to_owned(),
                Some(("roi.polygons[0].points", "the polygon has no area")),
            ),
            (
                format!(r#"{{"roi": {{"polygons": [{{"name": "a", "points": {square}}}, {{"name": "a", "points": {square}}}]}}}}"#),
                Some(("roi.polygons[1].name", "is used by an earlier polygon")),
            ),
            (
                format!(r#"{{"roi": {{"units": "normalized", "polygons": [{{"points": {square}}}]}}}}"#),
                Some(("roi.polygons[0].points[1]", "outside the frame")),
            ),
            (
                r#"{"roi": {"units": "normalized", "polygons": [{"points": [[0,0],[0.5,0],[0.5,0.5]]}]}}"#.to_owned(),
                Some(("pipeline[1].objects.min_box", "larger than the frame")),
            ),
            (
                r#"{"roi": {"enabled": false, "units": "normalized"}, "masks": [{"points": [[0,0],[0.5,0],[0.5,2]]}]}"#.to_owned(),
                Some(("masks[0].points[2]", "outside the frame")),
            ),
        ];
        for (json, expected) in table {
            let mistakes = gate().report(&drawing(&json)).mistakes;
            let found = mistakes.first().map(|it| (it.key.as_str(), it.message.as_str()));
            match expected {
                None => assert_eq!(found, None, "{json}"),
                Some((key, part)) => {
                    let (found_key, message) = found.unwrap();
                    assert_eq!(found_key, key, "{json}: {message}");
                    assert!(message.contains(part), "{json}: {message}");
                }
            }
        }
    }

    #[test]
    fn other_units_change_the_minimum_sizes_too() {
        let json = r#"{"roi": {"units": "normalized", "polygons": [{"name": "door", "points": [[0,0],[0.5,0],[0.5,0.5]]}]},
            "min_boxes": [null, {"width": 0.02, "height": 0.04}, null]}"#;
        let report = gate().report(&drawing(json));
        assert_eq!(report.mistakes, []);
        let min_boxes = "  pipeline:
    - type: objects  # objects
      objects:
        min_box: { width: 0.02, height: 0.04 }
";
        assert_eq!(report.min_boxes_yaml, min_boxes);
        let changed = changed(&report);
        assert!(changed.contains(&"-        min_box: { width: 24, height: 24 }".to_owned()), "{changed:?}");
        assert!(changed.contains(&"+      - name: door".to_owned()), "{changed:?}");
    }

    #[test]
    fn what_is_drawn_is_what_a_file_with_its_yaml_has() {
        let hostile = r#"a: \"b\" # ${HOME} $$ ' <img src=x> \\ - x, [y] &z *z !t | %"#;
        let json = format!(
            r#"{{"roi": {{"polygons": [{{"name": "{hostile}", "points": [[0,0],[200.5,0],[200,100]]}}]}}, "masks": [{{"points": [[0,0],[9,0],[9,9]]}}]}}"#
        );
        let (gate, drawn) = (gate(), drawing(&json));
        let report = gate.report(&drawn);
        let until_roi = FILE.split("  roi:").next().unwrap();
        let pasted = format!(
            "{until_roi}{}  pipeline: [{{ type: objects, objects: {{ yolo_weights: m.onnx }} }}]\n",
            report.yaml
        );
        let read = settings(&pasted).shapes[1].clone();
        assert_eq!((read.roi, read.masks), (drawn.roi, drawn.masks));
    }

    #[test]
    fn a_name_with_a_line_break_stays_within_its_quotes_and_is_a_mistake() {
        let name =
            r#"{"roi": {"polygons": [{"name": "a\n  masks: []", "points": [[0,0],[200,0],[200,100]]}]}}"#;
        let report = gate().report(&drawing(name));
        assert!(report.yaml.contains(r#"- name: "a\U0000000a  masks: []""#), "{}", report.yaml);
        let [mistake] = &report.mistakes[..] else { panic!("{:?}", report.mistakes) };
        assert_eq!(mistake.key, "roi.polygons[0].name");
        assert!(mistake.message.contains("U+000A (line feed)"), "{}", mistake.message);
    }
}
