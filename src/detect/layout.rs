//! The meaning of a model's outputs, and whether their shapes have it.

use std::fmt;

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
    /// `[batch, n, 4 + classes]`
    Rtdetr,
    /// `[batch, n, 4]` and logits `[batch, n, classes]`
    Detr,
    /// `[batch, n, 4]` and logits `[batch, n, classes + 1]`
    DetrSoftmax,
    /// `[batch, n, 4]` and probabilities `[batch, n, classes]`
    Yolonas,
    /// `[batch, anchors, 5 + classes]`, relative to the grid
    Yolox,
}

impl Layout {
    /// Every layout, in the order in which messages list them.
    pub(super) const ALL: [Self; 8] = [
        Self::Yolov8,
        Self::Yolov5,
        Self::Nms,
        Self::Rtdetr,
        Self::Detr,
        Self::DetrSoftmax,
        Self::Yolonas,
        Self::Yolox,
    ];

    /// Its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yolov8 => "yolov8",
            Self::Yolov5 => "yolov5",
            Self::Nms => "nms",
            Self::Rtdetr => "rtdetr",
            Self::Detr => "detr",
            Self::DetrSoftmax => "detr_softmax",
            Self::Yolonas => "yolonas",
            Self::Yolox => "yolox",
        }
    }

    /// Its outputs, for messages.
    pub(super) fn shape(self) -> &'static str {
        match self {
            Self::Yolov8 => "one output [batch, 4 + classes, anchors]",
            Self::Yolov5 => "one output [batch, anchors, 5 + classes]",
            Self::Nms => "one output [batch, n, 6]",
            Self::Rtdetr => "one output [batch, n, 4 + classes]",
            Self::Detr => "outputs [batch, n, 4] and logits [batch, n, classes]",
            Self::DetrSoftmax => "outputs [batch, n, 4] and logits [batch, n, classes + 1]",
            Self::Yolonas => "outputs [batch, n, 4] and probabilities [batch, n, classes]",
            Self::Yolox => {
                "one output [batch, anchors, 5 + classes], an anchor per cell of the strides 8, 16, 32"
            }
        }
    }

    /// The layout that is named; `None` for `auto`.
    pub(super) fn chosen(choice: LayoutChoice) -> Option<Self> {
        match choice {
            LayoutChoice::Auto => None,
            LayoutChoice::Yolov8 => Some(Self::Yolov8),
            LayoutChoice::Yolov5 => Some(Self::Yolov5),
            LayoutChoice::Nms => Some(Self::Nms),
            LayoutChoice::Rtdetr => Some(Self::Rtdetr),
            LayoutChoice::Detr => Some(Self::Detr),
            LayoutChoice::DetrSoftmax => Some(Self::DetrSoftmax),
            LayoutChoice::Yolonas => Some(Self::Yolonas),
            LayoutChoice::Yolox => Some(Self::Yolox),
        }
    }

    /// Returns `true` where boxes are in px of the input, if the configuration does not name other units.
    pub(super) fn has_boxes_in_px(self) -> bool {
        matches!(self, Self::Yolov8 | Self::Yolov5 | Self::Nms | Self::Yolonas)
    }

    /// Returns `true` where boxes and scores are two outputs.
    fn has_two_outputs(self) -> bool {
        matches!(self, Self::Detr | Self::DetrSoftmax | Self::Yolonas)
    }

    /// The classes of an output with these dimensions; `None` where it has none that the shape shows, an error where the
    /// layout has no such shape.
    fn classes_of(self, rows: usize, columns: usize) -> Result<Option<usize>, String> {
        let less = |length: usize, by: usize| match length.checked_sub(by) {
            Some(classes @ 1..) => Ok(Some(classes)),
            _ => Err(format!("{length} leaves no class beside {by}")),
        };
        match self {
            // Transposed: one column per anchor.
            Self::Yolov8 => less(rows, 4),
            Self::Yolov5 | Self::Yolox => less(columns, 5),
            Self::Rtdetr => less(columns, 4),
            Self::Nms if columns == 6 => Ok(None),
            Self::Nms => Err(format!("{columns} columns, not 6")),
            Self::Detr | Self::Yolonas => less(columns, 0),
            Self::DetrSoftmax => less(columns, 1),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The dimensions and type of an output of an inference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OutputShape {
    pub(super) name: String,
    /// Batch first.
    pub(super) dims: Vec<usize>,
    /// `true` if it holds `f32` or `f16`.
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

    /// Returns `true` for a list of counts, classes or scores, as beside the boxes of a model with NMS inside.
    pub(super) fn is_list(&self) -> bool {
        !self.float || self.dims.len() < 3
    }
}

impl fmt::Display for OutputShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {:?}", self.name, self.dims)?;
        if self.float { Ok(()) } else { f.write_str(" not float") }
    }
}

/// The outputs that are read, and their layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) layout: Layout,
    /// The output with the boxes.
    pub(super) boxes: usize,
    /// The output with the scores; that of the boxes where a layout has one output.
    pub(super) scores: usize,
}

impl Head {
    /// The columns of the scores, where the outputs of an inference of `batch` frames are as they were at first.
    ///
    /// # Errors
    /// The outputs have changed.
    pub(super) fn columns(
        &self,
        outputs: &[OutputShape],
        batch: usize,
        classes: usize,
    ) -> Result<usize, String> {
        let changed = || format!("its outputs changed to {}", listed(outputs));
        let (head, model) = head(self.layout, outputs).map_err(|_| changed())?;
        // An output of another batch would give its boxes to the wrong frames.
        let whole = [head.boxes, head.scores].iter().all(|i| outputs[*i].dims[0] == batch);
        if head != *self || model.is_some_and(|model| model != classes) || !whole {
            return Err(changed());
        }
        Ok(outputs[head.scores].dims[2])
    }

    /// The rows of the scores: anchors or queries, except for [`Layout::Yolov8`].
    pub(super) fn rows(&self, outputs: &[OutputShape]) -> usize {
        outputs[self.scores].plane().map_or(0, |(rows, _)| rows)
    }
}

/// The head of `layout` in these outputs, and the number of classes that the outputs have (`None`: they do not say).
///
/// # Errors
/// The outputs do not have this layout, with the reason.
pub(super) fn head(layout: Layout, outputs: &[OutputShape]) -> Result<(Head, Option<usize>), String> {
    let planes: Vec<(usize, (usize, usize))> =
        outputs.iter().enumerate().filter_map(|(i, output)| Some((i, output.plane()?))).collect();
    if layout.has_two_outputs() {
        let (boxes, scores, columns) = two_outputs(&planes, outputs)?;
        return Ok((Head { layout, boxes, scores }, layout.classes_of(0, columns)?));
    }
    let [(i, (rows, columns))] = planes[..] else {
        return Err(format!("it has 1 float output [batch, n, m], not {}", planes.len()));
    };
    Ok((Head { layout, boxes: i, scores: i }, layout.classes_of(rows, columns)?))
}

/// The boxes, the scores and the columns of these. The boxes are the output of width 4; where the scores have 4 columns
/// too, the one with `box` in its name.
fn two_outputs(
    planes: &[(usize, (usize, usize))],
    outputs: &[OutputShape],
) -> Result<(usize, usize, usize), String> {
    let [first, second] = planes[..] else {
        return Err(format!("it has 2 float outputs [batch, n, m], not {}", planes.len()));
    };
    let fits = |(_, boxes): (usize, (usize, usize)), (_, scores): (usize, (usize, usize))| {
        boxes.1 == 4 && boxes.0 == scores.0 && scores.1 > 0
    };
    let has_box_name = |i: usize| outputs[i].name.to_lowercase().contains("box");
    let (boxes, scores) = match (fits(first, second), fits(second, first)) {
        (true, false) => (first, second),
        (false, true) => (second, first),
        // Of a model with four classes both outputs have four columns.
        (true, true) if has_box_name(first.0) => (first, second),
        (true, true) if has_box_name(second.0) => (second, first),
        (true, true) => return Err("two outputs of 4 columns, none with `box` in its name".to_owned()),
        (false, false) => return Err("no output of 4 columns beside one with as many rows".to_owned()),
    };
    Ok((boxes.0, scores.0, scores.1.1))
}

/// Returns `true` where one output has the boxes of NMS and another a number for each, its score or its class.
///
/// Source: `EfficientNMS_TRT` of TensorRT 10 (`num_dets` [batch, 1], `det_boxes` [batch, n, 4], `det_scores` and `det_classes`
/// [batch, n]); torchvision has the same without the batch.
pub(super) fn lists_finished_boxes(outputs: &[OutputShape]) -> bool {
    let boxes = outputs.iter().filter(|output| output.dims.len() > 1 && output.dims.ends_with(&[4]));
    boxes.map(|boxes| &boxes.dims[..boxes.dims.len() - 1]).any(|rows| outputs.iter().any(|o| o.dims == rows))
}

/// The outputs for a message.
pub(super) fn listed(outputs: &[OutputShape]) -> String {
    let all: Vec<_> = outputs.iter().map(OutputShape::to_string).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Head, Layout, OutputShape, head};

    type Shape = (&'static str, &'static [usize]);

    fn output(name: &str, dims: &[usize]) -> OutputShape {
        OutputShape { name: name.to_owned(), dims: dims.to_vec(), float: true }
    }

    #[test]
    fn outputs_that_change_are_an_error() {
        let (head, classes) = head(Layout::Yolov8, &[output("output0", &[1, 84, 8400])]).unwrap();
        assert_eq!(classes, Some(80));
        let cases: [(&str, &[usize], bool); 4] = [
            ("as before", &[1, 84, 8400], true),
            ("other anchors", &[1, 84, 2100], true),
            ("other classes", &[1, 85, 8400], false),
            ("other batch", &[2, 84, 8400], false),
        ];
        for (name, dims, fits) in cases {
            let columns = head.columns(&[output("output0", dims)], 1, 80);
            assert_eq!(columns.is_ok(), fits, "{name}: {columns:?}");
        }
    }

    #[test]
    fn boxes_are_the_output_of_four_columns_or_the_one_with_that_name() {
        let detr = |boxes, scores| Ok(Head { layout: Layout::Detr, boxes, scores });
        let cases: [(&str, [Shape; 2], Result<Head, &str>); 6] = [
            ("second", [("logits", &[1, 300, 80]), ("pred_boxes", &[1, 300, 4])], detr(1, 0)),
            ("first", [("a", &[1, 300, 4]), ("b", &[1, 300, 1])], detr(0, 1)),
            ("four classes", [("logits", &[1, 300, 4]), ("pred_BOXES", &[1, 300, 4])], detr(1, 0)),
            ("without a name", [("a", &[1, 300, 4]), ("b", &[1, 300, 4])], Err("two outputs of 4 columns")),
            ("other rows", [("a", &[1, 300, 4]), ("b", &[1, 30, 8])], Err("no output of 4 columns")),
            (
                "one of rank 4",
                [("a", &[1, 300, 1, 4]), ("b", &[1, 300, 8])],
                Err("2 float outputs [batch, n, m], not 1"),
            ),
        ];
        for (name, shapes, want) in cases {
            let outputs = shapes.map(|(name, dims)| output(name, dims));
            match (head(Layout::Detr, &outputs), want) {
                (Ok((head, _)), Ok(want)) => assert_eq!(head, want, "{name}"),
                (Err(why), Err(word)) => assert!(why.contains(word), "{name}: {why}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
