//! The facts about a model: its file, its input, and the loaded model as it runs.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::cpu_fallback::CpuFallback;
use super::device::Device;
use super::error::ModelFault;
use super::external_data::has_external_data;
use super::identify::LayoutSource;
use super::layout::Layout;
use super::node_placement::NodePlacement;
use super::spec::EngineInfo;
use crate::base::{MAX_MESSAGE_CHARS, clean_text, hex};
use crate::media::ModelId;

/// The longest side of an input, px.
const MAX_SIDE_PX: i64 = 4096;
/// The largest fixed batch.
const MAX_BATCH: i64 = 64;

/// A loaded model, as it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// Its name and content.
    pub id: ModelId,
    /// The meaning of its outputs.
    pub layout: Layout,
    /// The reason for the layout.
    pub layout_source: LayoutSource,
    /// Its input.
    pub input: InputShape,
    /// Its class names, in its own order.
    pub classes: Vec<Arc<str>>,
    /// The device that it runs on: never [`Device::Auto`].
    pub device: Device,
    /// The execution providers that compute its nodes, if ONNX Runtime says so.
    pub nodes: Option<NodePlacement>,
    /// The reason if CUDA was tried and it runs on the CPU.
    pub fallback: Option<CpuFallback>,
    /// The engine that computes it.
    pub engine: EngineInfo,
    /// Threads per inference on the CPU.
    pub threads: usize,
    /// The time of the first inferences, ms: on a GPU one of each size of a batch, with the choice of kernels.
    pub warmup_ms: f64,
    /// The time of a later inference of one batch, ms.
    pub infer_ms: f64,
}

/// A model's input: NCHW, RGB from 0 to 1 where the configuration says nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputShape {
    /// Frames of each inference; `None`: any number.
    pub batch: Option<usize>,
    /// Width, px.
    pub width_px: u32,
    /// Height, px.
    pub height_px: u32,
    /// `true` if its elements are `f16`, `false` if they are `f32`.
    pub half: bool,
}

impl InputShape {
    /// Width and height, px.
    #[must_use]
    pub fn side_px(&self) -> (u32, u32) {
        (self.width_px, self.height_px)
    }
}

impl fmt::Display for InputShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.batch {
            Some(batch) => write!(f, "{batch}x3")?,
            None => f.write_str("Nx3")?,
        }
        write!(f, "x{}x{} {}", self.height_px, self.width_px, if self.half { "f16" } else { "f32" })
    }
}

/// The content of a model's file.
pub(super) struct ModelBytes {
    /// Lower-case hex.
    pub(super) sha256: String,
    /// The very bytes of that digest; `None`: weights are in further files, which ONNX Runtime finds beside the file.
    pub(super) content: Option<Vec<u8>>,
}

/// Reads the model's file.
///
/// # Errors
/// The file is PyTorch's, cannot be read, does not have the digest `sha256`, or has weights in further files although a digest is
/// given: the digest would not cover them.
pub(super) fn read_file(path: &Path, sha256: Option<&str>) -> Result<ModelBytes, ModelFault> {
    if is_pytorch(path) {
        return Err(ModelFault::Weights);
    }
    // Read once: the file may be replaced between the digest and the load.
    let content = std::fs::read(path).map_err(|error| ModelFault::File(error.to_string()))?;
    let have = hex(Sha256::new_with_prefix(&content));
    if let Some(want) = sha256.filter(|want| !want.eq_ignore_ascii_case(&have)) {
        return Err(ModelFault::Digest { want: want.to_owned(), have });
    }
    let is_whole = !has_external_data(&content);
    if sha256.is_some() && !is_whole {
        return Err(ModelFault::ExternalData);
    }
    Ok(ModelBytes { sha256: have, content: is_whole.then_some(content) })
}

/// Returns whether the file has weights of PyTorch.
fn is_pytorch(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    // By the extension as well: before PyTorch 1.6 weights were a pickle and not a ZIP archive.
    extension.eq_ignore_ascii_case("pt") || extension.eq_ignore_ascii_case("pth") || is_zip(path)
}

/// Returns whether the file is a ZIP archive, as PyTorch's weights are under any name; no ONNX file is.
fn is_zip(path: &Path) -> bool {
    let mut head = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == *b"PK\x03\x04"
}

/// An input of the graph.
#[derive(Clone, Debug)]
pub(super) struct InputTensor {
    pub(super) name: String,
    /// `Some(true)` for `f16`, `Some(false)` for `f32`, `None` for another type.
    pub(super) half: Option<bool>,
    /// -1 where open.
    pub(super) dims: Vec<i64>,
    /// Type and shape in ONNX Runtime's words, for messages.
    pub(super) described: String,
}

/// Returns the model's input. `imgsz` is the entry of that name in its metadata, used for an input whose sides are open.
pub(super) fn read_input(inputs: &[InputTensor], imgsz: Option<&str>) -> Result<InputShape, ModelFault> {
    let (input, half, [batch, height, width]) = picture_input(inputs)?;
    let (tensor, shape) = (input.name.clone(), input.described.clone());
    // Ultralytics writes `imgsz` also where it exports open sides.
    let sides = if height > 0 && width > 0 { Some((height, width)) } else { imgsz.and_then(sides_in) };
    let Some((height, width)) = sides else { return Err(ModelFault::OpenSides { tensor, shape }) };
    let (Some(width_px), Some(height_px)) = (side_px(width), side_px(height)) else {
        return Err(ModelFault::Sides { tensor, width, height });
    };
    Ok(InputShape { batch: usize::try_from(batch).ok(), width_px, height_px, half })
}

/// Returns the only input, which is a picture: `true` for `f16`, and batch, height and width, -1 where open.
///
/// # Errors
/// There is none or more than one, or it is no picture.
pub(super) fn picture_input(inputs: &[InputTensor]) -> Result<(&InputTensor, bool, [i64; 3]), ModelFault> {
    let [input] = inputs else {
        let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
        // The names come from the file, and go into the log.
        let names = clean_text(&names.join(", "), MAX_MESSAGE_CHARS);
        return Err(ModelFault::Inputs { count: inputs.len(), names });
    };
    match (input.half, &input.dims[..]) {
        (Some(half), [batch @ (-1 | 1..=MAX_BATCH), 3, height, width]) => {
            Ok((input, half, [*batch, *height, *width]))
        }
        _ => Err(ModelFault::Input { tensor: input.name.clone(), shape: input.described.clone() }),
    }
}

/// Returns a side as px if it is 1 to [`MAX_SIDE_PX`].
pub(super) fn side_px(px: i64) -> Option<u32> {
    (1..=MAX_SIDE_PX).contains(&px).then(|| u32::try_from(px).ok())?
}

/// Returns height and width from a text such as `[384, 640]` or `640`.
fn sides_in(imgsz: &str) -> Option<(i64, i64)> {
    let numbers = imgsz.trim_matches(|c: char| c == '[' || c == ']').split(',');
    let numbers: Option<Vec<i64>> = numbers.map(|number| number.trim().parse().ok()).collect();
    match numbers?[..] {
        [side] => Some((side, side)),
        [height, width] => Some((height, width)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{InputShape, InputTensor, read_input};

    const F32: Option<bool> = Some(false);
    const F16: Option<bool> = Some(true);

    fn tensor(half: Option<bool>, dims: &[i64]) -> InputTensor {
        InputTensor { name: "images".to_owned(), half, dims: dims.to_vec(), described: format!("{dims:?}") }
    }

    #[test]
    fn inputs_are_read_from_the_graph() {
        let shape = |batch, height_px, width_px, half| InputShape { batch, width_px, height_px, half };
        let cases: [(&str, _, &[i64], Option<&str>, _, &str); 6] = [
            ("fixed", F32, &[1, 3, 640, 640], None, shape(Some(1), 640, 640, false), "1x3x640x640 f32"),
            ("batch", F32, &[8, 3, 384, 640], None, shape(Some(8), 384, 640, false), "8x3x384x640 f32"),
            (
                "any batch",
                F32,
                &[-1, 3, 320, 320],
                Some("[9, 9]"),
                shape(None, 320, 320, false),
                "Nx3x320x320 f32",
            ),
            ("half", F16, &[1, 3, 64, 64], None, shape(Some(1), 64, 64, true), "1x3x64x64 f16"),
            (
                "open",
                F32,
                &[-1, 3, -1, -1],
                Some("[384, 640]"),
                shape(None, 384, 640, false),
                "Nx3x384x640 f32",
            ),
            (
                "open square",
                F32,
                &[1, 3, -1, -1],
                Some("640"),
                shape(Some(1), 640, 640, false),
                "1x3x640x640 f32",
            ),
        ];
        for (name, ty, dims, imgsz, want, text) in cases {
            assert_eq!(read_input(&[tensor(ty, dims)], imgsz), Ok(want), "{name}");
            assert_eq!(want.to_string(), text, "{name}");
        }
    }

    #[test]
    fn an_input_that_is_no_picture_is_reported_with_its_shape() {
        let two = vec![tensor(F32, &[1, 3, 64, 64]), tensor(None, &[1, 2])];
        let one = |half, dims: &[i64]| vec![tensor(half, dims)];
        let picture = "float or float16 `[batch, 3, height, width]`";
        let cases = [
            ("rank", one(F32, &[3, 64, 64]), None, picture),
            ("channels last", one(F32, &[1, 64, 64, 3]), None, picture),
            ("grey", one(F32, &[1, 1, 64, 64]), None, picture),
            ("bytes", one(None, &[1, 3, 64, 64]), None, picture),
            ("huge batch", one(F32, &[65, 3, 64, 64]), None, picture),
            ("two", two, None, "has 2 inputs (images, images)"),
            ("none", vec![], None, "has 0 inputs"),
            ("open", one(F32, &[1, 3, -1, -1]), None, "no `imgsz`"),
            ("open, nonsense", one(F32, &[1, 3, -1, -1]), Some("large"), "no `imgsz`"),
            ("open, three", one(F32, &[1, 3, -1, -1]), Some("[1, 2, 3]"), "no `imgsz`"),
            ("huge", one(F32, &[1, 3, 64, 5000]), None, "`images` is 5000x64 px; 1 to 4096"),
            ("open, nothing", one(F32, &[1, 3, -1, 64]), Some("[0, 64]"), "64x0 px; 1 to 4096"),
        ];
        for (name, inputs, imgsz, word) in cases {
            let error = read_input(&inputs, imgsz).unwrap_err().to_string();
            assert!(error.contains(word), "{name}: {error}");
        }
    }
}
