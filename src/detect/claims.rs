//! The statements about its outputs in a model's metadata and in the names of its outputs.

use super::layout::{Layout, OutputShape};

/// Tasks of Ultralytics whose outputs are not boxes alone.
const OTHER_TASKS: [&str; 4] = ["segment", "pose", "obb", "classify"];

/// The statements about a model's outputs that its file makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MetadataClaims {
    task: Option<String>,
    /// `true` where NMS is done, with the key that says so; `None`: not said.
    nms: Option<(bool, &'static str)>,
    /// `true` for an RT-DETR, `false` for a YOLO of Ultralytics; `None`: not said.
    rtdetr: Option<bool>,
    ultralytics: bool,
}

impl MetadataClaims {
    /// The statements in the metadata that `value` returns by their key.
    ///
    /// Source: `ultralytics/engine/exporter.py` (2026-01): `task`, `description`, `author`, `args`, `end2end`.
    pub(super) fn read(value: impl Fn(&str) -> Option<String>) -> Self {
        let lower = |key: &str| value(key).map(|text| text.trim().to_lowercase());
        let description = lower("description").unwrap_or_default();
        let ultralytics = lower("author").is_some_and(|author| author == "ultralytics");
        let nms_inside =
            lower("args").as_deref().is_some_and(asks_for_nms) || is_true(lower("nms").as_deref());
        let end2end = lower("end2end");
        let nms = match (nms_inside, end2end.as_deref()) {
            (true, _) => Some((true, "nms")),
            (false, Some("true")) => Some((true, "end2end")),
            (false, Some("false")) => Some((false, "end2end")),
            (false, _) => None,
        };
        let rtdetr = claims_rtdetr(&description, ultralytics);
        Self { task: lower("task"), nms, rtdetr, ultralytics }
    }

    /// The task, where it is one whose outputs are not boxes alone.
    pub(super) fn other_task(&self) -> Option<&str> {
        self.task.as_deref().filter(|task| OTHER_TASKS.contains(task))
    }

    /// Returns `true` where no statement of the file excludes the layout.
    pub(super) fn allow(&self, layout: Layout, outputs: &[OutputShape]) -> bool {
        let is_rtdetr = self.rtdetr == Some(true);
        match (layout, self.nms) {
            (Layout::Nms, Some((done, _))) => done,
            (_, Some((true, _))) => false,
            (Layout::Nms, None) => !is_rtdetr,
            (Layout::Rtdetr, _) => self.rtdetr != Some(false),
            (Layout::Yolonas, _) => !outputs.iter().any(has_logits_in_name),
            // Models of Ultralytics have no objectness.
            (Layout::Yolov5, _) => !is_rtdetr && !self.ultralytics,
            (Layout::Yolov8, _) => !is_rtdetr,
            (Layout::Detr | Layout::DetrSoftmax | Layout::Yolox, _) => true,
        }
    }

    /// The statement about the layout, for messages.
    pub(super) fn statement(&self) -> String {
        match (self.nms, self.rtdetr) {
            (Some((true, key)), _) => format!("`{key}` says that NMS is done"),
            (_, Some(true)) => "`description` says RT-DETR".to_owned(),
            (Some((false, key)), _) => format!("`{key}` says that NMS is not done"),
            (None, Some(false)) => "`description` says YOLO".to_owned(),
            (None, None) if self.ultralytics => "`author` says Ultralytics".to_owned(),
            (None, None) => "an output's name says logits".to_owned(),
        }
    }
}

/// Returns `true` for an RT-DETR, `false` for a YOLO of Ultralytics; `None`: not said.
fn claims_rtdetr(description: &str, ultralytics: bool) -> Option<bool> {
    if description.contains("rtdetr") || description.contains("rt-detr") {
        return Some(true);
    }
    (ultralytics && description.contains("yolo")).then_some(false)
}

fn is_true(value: Option<&str>) -> bool {
    value == Some("true")
}

/// Returns `true` where the arguments of the export, a Python dictionary or JSON in lower case, have `nms` set.
fn asks_for_nms(arguments: &str) -> bool {
    // `{'nms': True}` in Python and `{"nms": true}` in JSON are alike without quotes and blanks.
    let plain: String = arguments.chars().filter(|c| !c.is_whitespace() && !"'\"".contains(*c)).collect();
    plain.split(['{', ',', '}']).any(|argument| argument == "nms:true")
}

fn has_logits_in_name(output: &OutputShape) -> bool {
    output.name.to_lowercase().contains("logit")
}

#[cfg(test)]
mod tests {
    use super::{Layout, MetadataClaims};

    type Pairs = &'static [(&'static str, &'static str)];

    fn claims(pairs: &[(&str, &str)]) -> MetadataClaims {
        MetadataClaims::read(|key| {
            pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned())
        })
    }

    const ULTRALYTICS: (&str, &str) = ("author", "Ultralytics");

    #[test]
    fn statements_leave_the_layouts_that_they_allow() {
        use Layout::{Nms, Rtdetr, Yolov5, Yolov8};
        let one_output = [Yolov8, Yolov5, Nms, Rtdetr];
        let cases: [(&str, Pairs, &[Layout]); 12] = [
            ("nothing", &[], &one_output),
            ("arguments", &[("args", "{'batch': 1, 'nms': True}")], &[Nms]),
            ("arguments in JSON", &[("args", "{\"nms\": true}")], &[Nms]),
            ("no NMS in the arguments", &[("args", "{'nms': False, 'xnms': True}")], &one_output),
            ("end2end", &[("end2end", "True"), ("args", "{'nms': False}")], &[Nms]),
            ("not end2end", &[("end2end", "False")], &[Yolov8, Yolov5, Rtdetr]),
            ("not end2end, NMS added", &[("end2end", "False"), ("args", "{'nms': True}")], &[Nms]),
            ("RT-DETR", &[ULTRALYTICS, ("description", "Ultralytics rtdetr-l model")], &[Rtdetr]),
            ("RT-DETR of another", &[("description", "RT-DETR R50")], &[Rtdetr]),
            ("YOLO", &[ULTRALYTICS, ("description", "Ultralytics YOLOv10n model")], &[Yolov8, Nms]),
            ("own name", &[ULTRALYTICS, ("description", "Ultralytics best model")], &[Yolov8, Nms, Rtdetr]),
            ("YOLO of another", &[("description", "yolo or so")], &one_output),
        ];
        for (name, pairs, want) in cases {
            let claims = claims(pairs);
            let allowed: Vec<_> =
                one_output.into_iter().filter(|layout| claims.allow(*layout, &[])).collect();
            assert_eq!(allowed, want, "{name}");
        }
    }

    #[test]
    fn other_tasks_are_named() {
        for (task, other) in
            [("detect", false), ("segment", true), ("OBB", true), ("object-detection", false)]
        {
            assert_eq!(claims(&[("task", task)]).other_task().is_some(), other, "{task}");
        }
        assert_eq!(claims(&[]).other_task(), None);
    }
}
