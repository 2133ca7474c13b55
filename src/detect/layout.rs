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
        ([], _) => Err(ModelFault::Unknown { outputs: listed(outputs), classes }),
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

fn listed(outputs: &[OutputShape]) -> String {
    let all: Vec<_> = outputs.iter().map(OutputShape::to_string).collect();
    all.join(", ")
}
