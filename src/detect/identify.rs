//! The layout of a model: as the configuration names it, else as metadata, shapes and numbers leave one and no other.

use std::fmt;

use super::claims::MetadataClaims;
use super::error::ModelFault;
use super::layout::{Head, Layout, OutputShape, head, listed, lists_finished_boxes};
use super::plausibility::LayoutVerdict;
use super::spec::LayoutChoice;

/// Strides of the grids of anchors: usual, and with a fourth for large inputs.
const GRIDS: [&[usize]; 2] = [&[8, 16, 32], &[8, 16, 32, 64]];
/// Anchors per cell of the grids.
const ANCHORS_PER_CELL: [usize; 2] = [1, 3];
/// Boxes that exporters leave after NMS.
const BOXES_AFTER_NMS: [usize; 3] = [100, 300, 1000];

/// The reason that a refusal gives for outputs of counts, or of few dimensions.
const LISTS: &str =
    "lists of boxes, as of NMS inside (TensorRT, `--end2end`), are not read: export it without NMS";

/// The reason for a model's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutSource {
    /// The configuration names it.
    Config,
    /// No other has these shapes.
    Shape,
    /// The metadata, or the name of an output, leave no other.
    Metadata,
    /// The numbers of the first inference leave no other.
    Values,
    /// The number of boxes leaves no other.
    Rows,
}

impl LayoutSource {
    /// Returns its name in `models`, `check --live` and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Shape => "shape",
            Self::Metadata => "metadata",
            Self::Values => "values",
            Self::Rows => "rows",
        }
    }
}

impl fmt::Display for LayoutSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The facts from which a layout is identified.
pub(super) struct LayoutEvidence<'a> {
    pub(super) outputs: &'a [OutputShape],
    /// Class names.
    pub(super) classes: usize,
    pub(super) claims: &'a MetadataClaims,
    /// Width and height of the input, px.
    pub(super) side_px: (u32, u32),
    /// Compares the numbers of the first inference with a head.
    pub(super) values: &'a dyn Fn(Head) -> LayoutVerdict,
}

/// Identifies the layout by `choice` and the evidence.
///
/// # Errors
/// Nothing fits, several layouts fit, the number of classes is another, or what is left contradicts the metadata or the
/// numbers.
pub(super) fn identify(
    choice: LayoutChoice,
    evidence: &LayoutEvidence<'_>,
) -> Result<(Head, LayoutSource), ModelFault> {
    // Before the shapes: masks and keypoints are further columns beside a box, and would pass for more classes.
    if let Some(task) = evidence.claims.other_task() {
        return Err(ModelFault::Task { task: task.to_owned() });
    }
    if lists_finished_boxes(evidence.outputs) {
        return Err(ModelFault::FinishedLists { outputs: listed(evidence.outputs) });
    }
    match Layout::chosen(choice) {
        Some(layout) => Ok((evidence.named(layout)?, LayoutSource::Config)),
        None => evidence.sole(),
    }
}

/// The result of comparing numbers with heads.
struct Valued {
    /// Those that fit.
    heads: Vec<Head>,
    /// `true` if the numbers show none of them.
    is_open: bool,
    /// Layouts whose boxes have another scale, with the setting by which they would be read.
    other_scales: Vec<String>,
}

impl LayoutEvidence<'_> {
    /// The head of the layout that the configuration names.
    fn named(&self, layout: Layout) -> Result<Head, ModelFault> {
        let (head, model) = head(layout, self.outputs).map_err(|why| self.misfit(layout, why))?;
        if let Some(model) = model.filter(|model| *model != self.classes) {
            return Err(self.class_count(head, model));
        }
        // YOLOv5 has the same shape with three anchors per cell, and decoded boxes.
        if layout == Layout::Yolox && !self.is_grid(head.rows(self.outputs), &[1]) {
            let why = format!("{} rows are not the cells of the strides 8, 16, 32", head.rows(self.outputs));
            return Err(self.misfit(layout, why));
        }
        match (self.values)(head) {
            LayoutVerdict::Shown | LayoutVerdict::Open => Ok(head),
            LayoutVerdict::OtherScale(fault) => Err(self.contradiction(layout, fault.to_string())),
            LayoutVerdict::Impossible(why) => Err(self.contradiction(layout, why)),
        }
    }

    /// The fault of a layout that does not have these shapes.
    fn misfit(&self, layout: Layout, why: String) -> ModelFault {
        let outputs = listed(self.outputs);
        ModelFault::Layout { outputs, layout: layout.as_str(), shape: layout.shape(), why }
    }

    /// The fault of a head with another number of classes.
    fn class_count(&self, head: Head, model: usize) -> ModelFault {
        let output = &self.outputs[head.scores];
        ModelFault::ClassCount {
            tensor: output.name.clone(),
            shape: format!("{:?}", output.dims),
            layout: head.layout.as_str(),
            model,
            given: self.classes,
        }
    }

    /// The only layout that shapes, metadata, numbers and the number of rows leave, in this order.
    fn sole(&self) -> Result<(Head, LayoutSource), ModelFault> {
        let (shaped, mut tried) = self.shaped();
        let (claimed, denied): (Vec<Head>, Vec<Head>) =
            shaped.iter().partition(|head| self.claims.allow(head.layout, self.outputs));
        if claimed.is_empty() && !shaped.is_empty() {
            let (statement, outputs, fits) = (self.claims.statement(), listed(self.outputs), names(&shaped));
            return Err(ModelFault::Conflict { statement, outputs, fits });
        }
        tried.extend(denied.iter().map(|head| (head.layout, self.claims.statement())));
        let Valued { heads: valued, is_open, other_scales } = self.valued(&claimed, &mut tried);
        // The weakest evidence comes last, and only decides where nothing else does.
        let left = self.by_rows(&valued);
        let outputs = listed(self.outputs);
        match left[..] {
            // Numbers that show nothing do not speak against a layout whose boxes have another scale.
            [head] if is_open && !other_scales.is_empty() => {
                let fits = [&[head.layout.to_string()], &other_scales[..]].concat();
                Err(ModelFault::Ambiguous { outputs, classes: self.classes, fits: fits.join(" and ") })
            }
            [head] => Ok((head, deciding_source([shaped.len(), claimed.len(), valued.len()]))),
            [] => Err(ModelFault::Unknown { outputs, classes: self.classes, tried: grouped(&tried) }),
            _ => Err(ModelFault::Ambiguous { outputs, classes: self.classes, fits: names(&left) }),
        }
    }

    /// The heads that the numbers leave; adds the reasons why the others are none to `tried`.
    fn valued(&self, heads: &[Head], tried: &mut Vec<(Layout, String)>) -> Valued {
        let mut valued = Valued { heads: Vec::new(), is_open: true, other_scales: Vec::new() };
        for head in heads {
            match (self.values)(*head) {
                LayoutVerdict::Shown => {
                    valued.is_open = false;
                    valued.heads.push(*head);
                }
                LayoutVerdict::Open => valued.heads.push(*head),
                LayoutVerdict::OtherScale(fault) => {
                    let setting = if fault.as_shares { " with `box_units: normalized`" } else { "" };
                    valued.other_scales.push(format!("{}{setting}", head.layout));
                    tried.push((head.layout, fault.to_string()));
                }
                LayoutVerdict::Impossible(why) => tried.push((head.layout, why)),
            }
        }
        valued
    }

    /// The heads whose shapes and number of classes fit, and why the others do not.
    fn shaped(&self) -> (Vec<Head>, Vec<(Layout, String)>) {
        let has_lists = self.outputs.iter().any(OutputShape::is_list);
        let (mut fitting, mut tried) = (Vec::new(), Vec::new());
        for layout in Layout::ALL {
            match self.fit(layout, has_lists) {
                Some(Ok(head)) => fitting.push(head),
                Some(Err(why)) => tried.push((layout, why)),
                None => {}
            }
        }
        if has_lists {
            tried.retain(|(layout, _)| !is_named_only(*layout));
            for (_, why) in tried.iter_mut().filter(|(_, why)| !why.contains("classes, not")) {
                LISTS.clone_into(why);
            }
        }
        (fitting, tried)
    }

    /// The head if its shapes and number of classes fit, or why they do not; `None` for a layout that is not mentioned.
    fn fit(&self, layout: Layout, has_lists: bool) -> Option<Result<Head, String>> {
        let why = match head(layout, self.outputs) {
            // Not even a mention: it would be tried only by name, and does not fit.
            Ok((_, Some(model))) if is_named_only(layout) && model != self.classes => return None,
            Ok(_) if is_named_only(layout) => "only where `layout` names it".to_owned(),
            Err(_) if is_named_only(layout) => return None,
            Ok((_, Some(model))) if model != self.classes => format!("{model} classes, not {}", self.classes),
            Ok(_) if has_lists => LISTS.to_owned(),
            Ok(_) if is_alone(layout) && self.outputs.len() > 1 => "it has no other output".to_owned(),
            Ok((head, _)) => return Some(Ok(head)),
            Err(why) => why,
        };
        Some(Err(why))
    }

    /// The heads that the number of rows leaves: a grid has anchors, and NMS leaves round numbers of boxes.
    fn by_rows(&self, heads: &[Head]) -> Vec<Head> {
        let has = |layout| heads.iter().any(|head| head.layout == layout);
        // A YOLOv5 of one class has rows of six numbers, as NMS has.
        let nms = heads.iter().find(|head| head.layout == Layout::Nms);
        let (Some(nms), true) = (nms, has(Layout::Yolov5)) else { return heads.to_vec() };
        let rows = nms.rows(self.outputs);
        let out = match (self.is_grid(rows, &ANCHORS_PER_CELL), BOXES_AFTER_NMS.contains(&rows)) {
            (true, false) => Layout::Nms,
            (false, true) => Layout::Yolov5,
            _ => return heads.to_vec(),
        };
        heads.iter().filter(|head| head.layout != out).copied().collect()
    }

    fn is_grid(&self, rows: usize, per_cell: &[usize]) -> bool {
        let (width, height) = (self.side_px.0 as usize, self.side_px.1 as usize);
        GRIDS.iter().any(|strides| {
            let cells: usize = strides.iter().map(|stride| (width / stride) * (height / stride)).sum();
            // An input below the smallest stride has no cells, and 0 rows would count as a grid.
            cells > 0 && per_cell.iter().any(|anchors| rows == cells * anchors)
        })
    }

    fn contradiction(&self, layout: Layout, why: String) -> ModelFault {
        ModelFault::Contradiction {
            layout: layout.as_str(),
            why,
            outputs: listed(self.outputs),
            others: self.others(layout),
        }
    }

    /// The other layouts that the shapes allow, for a remedy.
    pub(super) fn others(&self, layout: Layout) -> String {
        let fits = |other: &Layout| {
            let model = head(*other, self.outputs).map(|(_, model)| model);
            model.is_ok_and(|model| model.is_none_or(|model| model == self.classes))
        };
        let others = Layout::ALL.into_iter().filter(|other| *other != layout && fits(other));
        let named: Vec<_> = others.map(|other| format!("`layout: {other}`")).collect();
        if named.is_empty() {
            "another export".to_owned()
        } else {
            format!("{}, or another export", named.join(", "))
        }
    }
}

/// The first evidence of shapes, metadata and values that left one layout; `left` are the numbers that they left, in this order.
fn deciding_source(left: [usize; 3]) -> LayoutSource {
    let sources = [LayoutSource::Shape, LayoutSource::Metadata, LayoutSource::Values];
    let source = left.into_iter().zip(sources).find(|(length, _)| *length == 1);
    source.map_or(LayoutSource::Rows, |(_, source)| source)
}

/// Returns `true` for a layout that has to be named: a more common one has the same shape, or has it with one class less.
fn is_named_only(layout: Layout) -> bool {
    matches!(layout, Layout::DetrSoftmax | Layout::Yolox)
}

/// Returns `true` for a layout that is identified only where it is all that the model puts out: its shape is a common one.
fn is_alone(layout: Layout) -> bool {
    matches!(layout, Layout::Nms | Layout::Rtdetr)
}

/// The reasons, each with the layouts that it is for.
fn grouped(tried: &[(Layout, String)]) -> String {
    let mut groups: Vec<(Vec<&str>, &str)> = Vec::new();
    for (layout, why) in tried {
        match groups.iter_mut().find(|(_, other)| other == why) {
            Some((layouts, _)) => layouts.push(layout.as_str()),
            None => groups.push((vec![layout.as_str()], why)),
        }
    }
    let groups: Vec<_> =
        groups.iter().map(|(layouts, why)| format!("{}: {why}", layouts.join(", "))).collect();
    groups.join("; ")
}

fn names(heads: &[Head]) -> String {
    let names: Vec<_> = heads.iter().map(|head| head.layout.as_str()).collect();
    names.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::super::claims::MetadataClaims;
    use super::super::plausibility::{LayoutVerdict, ScaleFault};
    use super::super::spec::LayoutChoice;
    use super::{Head, Layout, LayoutEvidence, LayoutSource, ModelFault, OutputShape, identify};

    type Shapes = &'static [(&'static str, &'static [usize])];

    const V8: Shapes = &[("output0", &[1, 84, 8400])];
    const DENSE: Shapes = &[("output0", &[1, 25200, 6])];
    const CELLS: Shapes = &[("output0", &[1, 8400, 85])];
    const NONE: Shapes = &[("output0", &[1, 0, 6])];
    const V5: Shapes = &[("output0", &[1, 25200, 85])];
    const END: Shapes = &[("output0", &[1, 300, 6])];
    const ODD: Shapes = &[("output0", &[1, 64, 6])];
    const QUERIES: Shapes = &[("output0", &[1, 300, 7])];
    const DETR: Shapes = &[("logits", &[1, 300, 80]), ("pred_boxes", &[1, 300, 4])];
    const TWO: Shapes = &[("boxes", &[1, 8400, 4]), ("scores", &[1, 8400, 2])];
    const BOXES_OF_RANK_4: Shapes = &[("boxes", &[1, 2535, 1, 4]), ("confs", &[1, 2535, 6])];
    const V5_WITH_HEADS: Shapes =
        &[("output", &[1, 25200, 85]), ("h1", &[1, 3, 80, 80, 85]), ("h2", &[1, 3, 40, 40, 85])];
    const TRT: Shapes = &[
        ("int num_dets", &[1, 1]),
        ("det_boxes", &[1, 100, 4]),
        ("det_scores", &[1, 100]),
        ("int det_classes", &[1, 100]),
    ];

    #[derive(Clone, Copy)]
    struct Case {
        choice: LayoutChoice,
        shapes: Shapes,
        classes: usize,
        metadata: &'static [(&'static str, &'static str)],
        /// Layouts that the numbers contradict.
        refuted: &'static [Layout],
        /// Layouts whose boxes have another scale.
        scaled: &'static [Layout],
        /// Layouts that the numbers show.
        shown: &'static [Layout],
    }

    const AUTO: Case = Case {
        choice: LayoutChoice::Auto,
        shapes: V8,
        classes: 80,
        metadata: &[],
        refuted: &[],
        scaled: &[],
        shown: &[],
    };

    impl Case {
        fn identified(&self) -> Result<(Layout, LayoutSource), ModelFault> {
            let output = |(name, dims): &(&str, &[usize])| OutputShape {
                name: (*name).to_owned(),
                dims: dims.to_vec(),
                float: !name.starts_with("int"),
            };
            let outputs: Vec<_> = self.shapes.iter().map(output).collect();
            let claims = MetadataClaims::read(|key| {
                self.metadata.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned())
            });
            let values = |head: Head| {
                let layout = head.layout;
                if self.refuted.contains(&layout) {
                    return LayoutVerdict::Impossible("the numbers say no".to_owned());
                }
                if self.scaled.contains(&layout) {
                    let as_shares = layout.has_boxes_in_px();
                    return LayoutVerdict::OtherScale(ScaleFault {
                        why: "another scale".to_owned(),
                        as_shares,
                    });
                }
                if self.shown.contains(&layout) { LayoutVerdict::Shown } else { LayoutVerdict::Open }
            };
            let (classes, side_px) = (self.classes, (640, 640));
            let evidence =
                LayoutEvidence { outputs: &outputs, classes, claims: &claims, side_px, values: &values };
            identify(self.choice, &evidence).map(|(head, source)| (head.layout, source))
        }
    }

    #[test]
    fn one_layout_is_left_and_the_reason_is_known() {
        use Layout::{Detr, DetrSoftmax, Nms, Rtdetr, Yolonas, Yolov5, Yolov8, Yolox};
        use LayoutSource::{Config, Metadata, Rows, Shape, Values};
        let end2end = &[("end2end", "True")][..];
        let rtdetr = &[("author", "Ultralytics"), ("description", "Ultralytics rtdetr-l model")][..];
        let v10 = &[("author", "Ultralytics"), ("description", "Ultralytics YOLOv10n model")][..];
        let two = Case { shapes: END, classes: 2, ..AUTO };
        let one = Case { shapes: END, classes: 1, ..AUTO };
        let pair = Case { shapes: TWO, classes: 2, ..AUTO };
        let cases = [
            ("yolov8", AUTO, (Yolov8, Shape)),
            ("yolov5", Case { shapes: V5, ..AUTO }, (Yolov5, Shape)),
            ("end to end", Case { shapes: END, ..AUTO }, (Nms, Shape)),
            ("nothing found", Case { shapes: NONE, classes: 3, ..AUTO }, (Nms, Shape)),
            ("raw heads beside", Case { shapes: V5_WITH_HEADS, ..AUTO }, (Yolov5, Shape)),
            ("queries", Case { shapes: QUERIES, classes: 3, ..AUTO }, (Rtdetr, Shape)),
            ("logits by name", Case { shapes: DETR, ..AUTO }, (Detr, Metadata)),
            ("two classes, end2end", Case { metadata: end2end, ..two }, (Nms, Metadata)),
            ("two classes, RT-DETR", Case { metadata: rtdetr, ..two }, (Rtdetr, Metadata)),
            ("two classes, YOLO", Case { metadata: v10, ..two }, (Nms, Metadata)),
            ("two classes, by values", Case { refuted: &[Nms], ..two }, (Rtdetr, Values)),
            ("two classes, shown", Case { scaled: &[Nms], shown: &[Rtdetr], ..two }, (Rtdetr, Values)),
            ("two classes in px", Case { scaled: &[Rtdetr], shown: &[Nms], ..two }, (Nms, Values)),
            ("one class, end2end", Case { metadata: end2end, ..one }, (Nms, Metadata)),
            ("one class, 300 boxes", one, (Nms, Rows)),
            ("one class, a grid", Case { shapes: DENSE, classes: 1, ..AUTO }, (Yolov5, Rows)),
            ("one class, by values", Case { refuted: &[Nms], classes: 1, ..two }, (Yolov5, Values)),
            ("boxes in px", Case { refuted: &[Detr], ..pair }, (Yolonas, Values)),
            ("logits", Case { refuted: &[Yolonas], ..pair }, (Detr, Values)),
            (
                "named",
                Case { choice: LayoutChoice::Yolov5, shapes: END, classes: 1, ..AUTO },
                (Yolov5, Config),
            ),
            (
                "named over metadata",
                Case { choice: LayoutChoice::Rtdetr, metadata: end2end, ..two },
                (Rtdetr, Config),
            ),
            (
                "no object",
                Case { choice: LayoutChoice::DetrSoftmax, shapes: DETR, classes: 79, ..AUTO },
                (DetrSoftmax, Config),
            ),
            ("yolox", Case { choice: LayoutChoice::Yolox, shapes: CELLS, ..AUTO }, (Yolox, Config)),
        ];
        for (name, case, want) in cases {
            assert_eq!(case.identified(), Ok(want), "{name}");
        }
    }

    type Refusals = &'static [(&'static str, Case, &'static [&'static str])];

    #[rustfmt::skip]
    const TWO_READINGS: Refusals = &[
        ("of one class", Case { shapes: ODD, classes: 1, ..AUTO }, &["fit yolov5 and nms", "say which by `layout`", "`output0` [1, 64, 6]"]),
        ("of two classes", Case { shapes: END, classes: 2, ..AUTO }, &["fit nms and rtdetr"]),
        ("of two outputs", Case { shapes: TWO, classes: 2, ..AUTO }, &["fit detr and yolonas"]),
        ("NMS of shares", Case { shapes: END, classes: 2, scaled: &[Layout::Nms], ..AUTO }, &["fit rtdetr and nms with `box_units: normalized`;"]),
        ("queries in px", Case { shapes: END, classes: 2, scaled: &[Layout::Rtdetr], ..AUTO }, &["fit nms and rtdetr;"]),
        ("empty scores", Case { shapes: TWO, classes: 2, scaled: &[Layout::Detr], ..AUTO }, &["fit yolonas and detr;"]),
        ("both ways", Case { shapes: &[("o", &[1, 7, 8])], classes: 3, ..AUTO }, &["fit yolov8 and yolov5"]),
    ];
    #[rustfmt::skip]
    const CONTRADICTIONS: Refusals = &[
        ("another task", Case { metadata: &[("task", "segment")], ..AUTO }, &["`task: segment`", "`task=detect`"]),
        ("metadata against shapes", Case { metadata: &[("end2end", "True")], ..AUTO }, &["`end2end` says that NMS is done", "fit yolov8", "say which counts"]),
        ("RT-DETR of another shape", Case { metadata: &[("description", "RT-DETR")], ..AUTO }, &["`description` says RT-DETR"]),
        ("numbers against shapes", Case { shapes: QUERIES, classes: 3, refuted: &[Layout::Rtdetr], ..AUTO }, &["fit no layout", "rtdetr: the numbers say no", "yolov5: 2 classes, not 3"]),
        ("named, of another scale", Case { choice: LayoutChoice::Nms, shapes: END, classes: 2, scaled: &[Layout::Nms], ..AUTO }, &["not of layout nms: another scale (`box_units: normalized` reads them"]),
        ("claimed, of another scale", Case { shapes: END, classes: 2, metadata: &[("end2end", "True")], scaled: &[Layout::Nms], ..AUTO }, &["nms: another scale (`box_units: normalized` reads them"]),
        ("no reading of two outputs", Case { shapes: TWO, classes: 2, refuted: &[Layout::Detr, Layout::Yolonas], ..AUTO }, &["detr, yolonas: the numbers say no"]),
        ("numbers against the configuration", Case { choice: LayoutChoice::Nms, shapes: END, classes: 2, refuted: &[Layout::Nms], ..AUTO }, &["are not of layout nms: the numbers say no", "correct `layout`: `layout: rtdetr`"]),
    ];
    #[rustfmt::skip]
    const COUNTS: Refusals = &[
        ("named", Case { choice: LayoutChoice::Yolov8, classes: 3, ..AUTO }, &["has 80 classes as yolov8", "but 3 class names"]),
        ("logits", Case { choice: LayoutChoice::Detr, shapes: DETR, classes: 91, ..AUTO }, &["`logits` [1, 300, 80] has 80 classes as detr", "but 91 class names"]),
        ("identified", Case { classes: 3, ..AUTO }, &["3 class names fit no layout", "yolov8: 80 classes, not 3", "yolov5: 8395 classes", "[1, 84, 8400]"]),
        ("no object", Case { shapes: DETR, classes: 79, ..AUTO }, &["detr, yolonas: 80 classes, not 79", "detr_softmax: only where `layout` names it"]),
        ("TensorRT's NMS", Case { shapes: TRT, classes: 3, ..AUTO }, &["`det_scores` [1, 100]", "`int num_dets` [1, 1] not float", "TensorRT's EfficientNMS", "export it without NMS"]),
        ("TensorRT's NMS, named", Case { shapes: TRT, classes: 96, choice: LayoutChoice::Yolov8, ..AUTO }, &["TensorRT's EfficientNMS"]),
        ("boxes of torchvision", Case { shapes: &[("boxes", &[0, 4]), ("int labels", &[0]), ("scores", &[0])], classes: 3, ..AUTO }, &["TensorRT's EfficientNMS"]),
        ("rank", Case { shapes: &[("output0", &[1, 3])], classes: 3, ..AUTO }, &["`output0` [1, 3]", "lists of boxes"]),
        ("probabilities beside boxes of rank 4", Case { shapes: BOXES_OF_RANK_4, classes: 6, ..AUTO }, &["nms: it has no other output"]),
        ("not a grid", Case { choice: LayoutChoice::Yolox, shapes: V5, ..AUTO }, &["are not of layout yolox", "25200 rows are not the cells"]),
    ];

    #[test]
    fn what_is_not_one_layout_is_refused_with_its_numbers() {
        for (name, case, words) in [TWO_READINGS, CONTRADICTIONS, COUNTS].concat() {
            let error = case.identified().unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{name}: {word:?} is not in: {error}");
            }
        }
    }
}
