//! What a model's outputs mean.

use std::fmt;

use super::error::ModelFault;
use super::spec::LayoutChoice;

/// The meaning of a model's outputs; see [`LayoutChoice`] for the shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[batch, 4 + classes, anchors]`
    Yolov8,
    /// `[batch, anchors, 5 + classes]`
    Yolov5,
    /// `[batch, n, 6]`
    Nms,
    /// `[batch, n, 4]` and `[batch, n, classes]`
    Detr,
}

impl Layout {
    /// Its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yolov8 => "yolov8",
            Self::Yolov5 => "yolov5",
            Self::Nms => "nms",
            Self::Detr => "detr",
        }
    }

    fn shape(self) -> &'static str {
        match self {
            Self::Yolov8 => "one output [batch, 4 + classes, anchors]",
            Self::Yolov5 => "one output [batch, anchors, 5 + classes]",
            Self::Nms => "one output [batch, n, 6]",
            Self::Detr => "outputs [batch, n, 4] and [batch, n, classes]",
        }
    }

    fn chosen(choice: LayoutChoice) -> Option<Self> {
        match choice {
            LayoutChoice::Auto => None,
            LayoutChoice::Yolov8 => Some(Self::Yolov8),
            LayoutChoice::Yolov5 => Some(Self::Yolov5),
            LayoutChoice::Nms => Some(Self::Nms),
            LayoutChoice::Detr => Some(Self::Detr),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An output as an inference made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OutputShape {
    pub(super) name: String,
    /// Batch first.
    pub(super) dims: Vec<usize>,
    /// Whether it holds `f32` or `f16`.
    pub(super) float: bool,
}

impl OutputShape {
    /// The two dimensions after the batch, for a float output that has just these.
    fn plane(&self) -> Option<(usize, usize)> {
        match self.dims[..] {
            [_, rows, columns] if self.float => Some((rows, columns)),
            _ => None,
        }
    }
}

impl fmt::Display for OutputShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {:?}", self.name, self.dims)?;
        if self.float { Ok(()) } else { f.write_str(" not float") }
    }
}

/// Which outputs are read, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) layout: Layout,
    /// The output with the boxes.
    pub(super) boxes: usize,
    /// The output with the scores; that of the boxes except for [`Layout::Detr`].
    pub(super) scores: usize,
}

impl Head {
    /// The columns of the scores, where the outputs of an inference of `batch` frames are as they were at first.
    ///
    /// Errors: what differs.
    pub(super) fn columns(
        &self,
        outputs: &[OutputShape],
        batch: usize,
        classes: usize,
    ) -> Result<usize, String> {
        let changed = || format!("its outputs changed to {}", listed(outputs));
        let (head, model) = head(self.layout, outputs).ok_or_else(changed)?;
        let whole = [head.boxes, head.scores].iter().all(|i| outputs[*i].dims[0] == batch);
        if head != *self || model.is_some_and(|model| model != classes) || !whole {
            return Err(changed());
        }
        Ok(outputs[head.scores].dims[2])
    }
}

/// Tells the layout from `choice`, the outputs and the number of class names.
///
/// Errors: nothing fits, several layouts fit, or the number of classes is another.
pub(super) fn resolve(
    choice: LayoutChoice,
    outputs: &[OutputShape],
    classes: usize,
) -> Result<Head, ModelFault> {
    match Layout::chosen(choice) {
        Some(layout) => demand(layout, outputs, classes),
        None => recognise(outputs, classes),
    }
}

/// The head of `layout` in these outputs, and the number of classes that the outputs have (`None`: they do not say).
fn head(layout: Layout, outputs: &[OutputShape]) -> Option<(Head, Option<usize>)> {
    if layout == Layout::Detr {
        return detr(outputs);
    }
    let mut planes = outputs.iter().enumerate().filter_map(|(i, output)| Some((i, output.plane()?)));
    let (Some((i, (rows, columns))), None) = (planes.next(), planes.next()) else { return None };
    let classes = match layout {
        Layout::Yolov8 => Some(rows.checked_sub(4).filter(|classes| *classes > 0)?),
        Layout::Yolov5 => Some(columns.checked_sub(5).filter(|classes| *classes > 0)?),
        Layout::Nms | Layout::Detr => (columns == 6).then_some(None)?,
    };
    Some((Head { layout, boxes: i, scores: i }, classes))
}

/// The boxes are the output of width 4; where the classes are 4 too, the one that is called so.
fn detr(outputs: &[OutputShape]) -> Option<(Head, Option<usize>)> {
    let planes: Vec<_> =
        outputs.iter().enumerate().filter_map(|(i, output)| Some((i, output.plane()?))).collect();
    let [first, second] = planes[..] else { return None };
    let fits = |(_, boxes): (usize, (usize, usize)), (_, scores): (usize, (usize, usize))| {
        boxes.1 == 4 && boxes.0 == scores.0 && scores.1 > 0
    };
    let called_boxes = |i: usize| outputs[i].name.to_lowercase().contains("box");
    let (boxes, scores) = match (fits(first, second), fits(second, first)) {
        (true, false) => (first, second),
        (false, true) => (second, first),
        (true, true) if called_boxes(first.0) => (first, second),
        (true, true) if called_boxes(second.0) => (second, first),
        _ => return None,
    };
    let head = Head { layout: Layout::Detr, boxes: boxes.0, scores: scores.0 };
    Some((head, Some(scores.1.1)))
}

fn demand(layout: Layout, outputs: &[OutputShape], classes: usize) -> Result<Head, ModelFault> {
    let (head, model) = head(layout, outputs).ok_or_else(|| ModelFault::Layout {
        outputs: listed(outputs),
        layout: layout.as_str(),
        shape: layout.shape(),
    })?;
    match model {
        Some(model) if model != classes => Err(class_count(head, outputs, model, classes)),
        _ => Ok(head),
    }
}

fn recognise(outputs: &[OutputShape], classes: usize) -> Result<Head, ModelFault> {
    let all = [Layout::Yolov8, Layout::Yolov5, Layout::Nms, Layout::Detr];
    let heads: Vec<_> = all.into_iter().filter_map(|layout| head(layout, outputs)).collect();
    let fits = |(_, model): &&(Head, Option<usize>)| model.is_none_or(|model| model == classes);
    let fitting: Vec<Head> = heads.iter().filter(fits).map(|(head, _)| *head).collect();
    match (&fitting[..], &heads[..]) {
        ([head], _) => Ok(*head),
        ([], [(head, Some(model))]) => Err(class_count(*head, outputs, *model, classes)),
        ([], _) => {
            let count =
                |(head, model): &(Head, Option<usize>)| Some(format!("{} as {}", (*model)?, head.layout));
            let counts: Vec<_> = heads.iter().filter_map(count).collect();
            let counts =
                if counts.is_empty() { String::new() } else { format!(" (they have {})", counts.join(", ")) };
            Err(ModelFault::Unknown { outputs: listed(outputs), classes, counts })
        }
        (several, _) => {
            let names: Vec<_> = several.iter().map(|head| head.layout.as_str()).collect();
            Err(ModelFault::Ambiguous { outputs: listed(outputs), classes, fits: names.join(" and ") })
        }
    }
}

fn class_count(head: Head, outputs: &[OutputShape], model: usize, given: usize) -> ModelFault {
    let output = &outputs[head.scores];
    ModelFault::ClassCount {
        tensor: output.name.clone(),
        shape: format!("{:?}", output.dims),
        layout: head.layout.as_str(),
        model,
        given,
    }
}

/// The outputs for a message.
pub(super) fn listed(outputs: &[OutputShape]) -> String {
    let all: Vec<_> = outputs.iter().map(OutputShape::to_string).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::spec::LayoutChoice;
    use super::{Head, Layout, OutputShape, resolve};

    type Shapes = &'static [(&'static str, &'static [usize])];

    fn outputs(shapes: &[(&str, &[usize])]) -> Vec<OutputShape> {
        let output = |(name, dims): &(&str, &[usize])| OutputShape {
            name: (*name).to_owned(),
            dims: dims.to_vec(),
            float: !name.starts_with("int"),
        };
        shapes.iter().map(output).collect()
    }

    const V8: Shapes = &[("output0", &[1, 84, 8400])];
    const V5: Shapes = &[("output0", &[1, 25200, 85])];
    const END: Shapes = &[("output0", &[1, 300, 6])];
    const DETR: Shapes = &[("logits", &[1, 300, 80]), ("pred_boxes", &[1, 300, 4])];
    const DETR_OF_4: Shapes = &[("logits", &[1, 300, 4]), ("pred_boxes", &[1, 300, 4])];
    const V5_WITH_HEADS: Shapes =
        &[("output", &[1, 25200, 85]), ("h1", &[1, 3, 80, 80, 85]), ("h2", &[1, 3, 40, 40, 85])];
    const MASKS: Shapes = &[("output0", &[1, 116, 8400]), ("output1", &[1, 32, 160, 160])];
    const UNNAMED_TWINS: Shapes = &[("a", &[1, 300, 4]), ("b", &[1, 300, 4])];

    #[test]
    fn layouts_are_told_from_shapes_and_classes() {
        let one = |layout| Head { layout, boxes: 0, scores: 0 };
        let detr = Head { layout: Layout::Detr, boxes: 1, scores: 0 };
        let auto = LayoutChoice::Auto;
        let cases = [
            ("yolov8", auto, V8, 80, one(Layout::Yolov8)),
            ("yolov5", auto, V5, 80, one(Layout::Yolov5)),
            ("end to end", auto, END, 80, one(Layout::Nms)),
            ("detr", auto, DETR, 80, detr),
            ("detr of 4 classes, by name", auto, DETR_OF_4, 4, detr),
            ("yolov5 with raw heads", auto, V5_WITH_HEADS, 80, one(Layout::Yolov5)),
            ("one class, as nms", LayoutChoice::Nms, END, 1, one(Layout::Nms)),
            ("one class, as yolov5", LayoutChoice::Yolov5, END, 1, one(Layout::Yolov5)),
            ("batch", auto, &[("output0", &[4, 7, 64])], 3, one(Layout::Yolov8)),
            ("nothing found", auto, &[("output0", &[1, 0, 6])], 3, one(Layout::Nms)),
        ];
        for (name, choice, shapes, classes, want) in cases {
            assert_eq!(resolve(choice, &outputs(shapes), classes), Ok(want), "{name}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_numbers() {
        let auto = LayoutChoice::Auto;
        let cases: [(&str, _, Shapes, usize, &[&str]); 11] = [
            (
                "ambiguous",
                auto,
                END,
                1,
                &["fit yolov5 and nms", "say which by `layout`", "`output0` [1, 300, 6]"],
            ),
            ("both ways", auto, &[("o", &[1, 7, 8])], 3, &["fit yolov8 and yolov5"]),
            ("count", LayoutChoice::Yolov8, V8, 3, &["has 80 classes as yolov8", "but 3 class names"]),
            (
                "count of v5",
                LayoutChoice::Yolov5,
                V5,
                81,
                &["has 80 classes as yolov5", "but 81 class names"],
            ),
            (
                "count of logits",
                auto,
                DETR,
                91,
                &["`logits` [1, 300, 80] has 80 classes as detr", "but 91 class names"],
            ),
            (
                "count, untold",
                auto,
                V8,
                3,
                &["3 class names fit no layout (they have 80 as yolov8, 8395 as yolov5): ", "[1, 84, 8400]"],
            ),
            ("masks", auto, MASKS, 80, &["`output1` [1, 32, 160, 160]", "fit no layout"]),
            ("rank", auto, &[("output0", &[1, 3])], 3, &["`output0` [1, 3]", "fit no layout"]),
            ("not that", LayoutChoice::Detr, V8, 80, &["are not of layout detr", "correct `layout`"]),
            ("whole numbers", auto, &[("int0", &[1, 300, 6])], 80, &["`int0` [1, 300, 6] not float"]),
            ("unnamed twins", auto, UNNAMED_TWINS, 4, &["`a` [1, 300, 4], `b` [1, 300, 4]", "fit no layout"]),
        ];
        for (name, choice, shapes, classes, words) in cases {
            let error = resolve(choice, &outputs(shapes), classes).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{name}: {word:?} is not in: {error}");
            }
        }
    }

    #[test]
    fn outputs_that_change_are_an_error() {
        let head = resolve(LayoutChoice::Auto, &outputs(V8), 80).unwrap();
        let cases: [(&str, &[usize], bool); 4] = [
            ("as before", &[1, 84, 8400], true),
            ("other anchors", &[1, 84, 2100], true),
            ("other classes", &[1, 85, 8400], false),
            ("other batch", &[2, 84, 8400], false),
        ];
        for (name, dims, fits) in cases {
            let columns = head.columns(&outputs(&[("output0", dims)]), 1, 80);
            assert_eq!(columns.is_ok(), fits, "{name}: {columns:?}");
        }
    }
}
