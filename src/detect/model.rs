//! What a model's file says of itself.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use ort::value::{Outlet, TensorElementType, ValueType};
use sha2::{Digest, Sha256};

use super::error::ModelFault;
use super::layout::Layout;
use super::spec::{Device, ModelSpec};
use crate::frame::ModelId;

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
    /// Its input.
    pub input: InputShape,
    /// Its class names, in its own order.
    pub classes: Vec<Arc<str>>,
    /// Where it runs: never [`Device::Auto`].
    pub device: Device,
    /// Why it runs on the CPU though CUDA was tried; ONNX Runtime's words.
    pub fallback: Option<String>,
    /// Threads of an inference on the CPU.
    pub threads: usize,
    /// The first inference, ms; on a GPU it includes the choice of kernels.
    pub warmup_ms: f64,
    /// A later inference of one batch, ms.
    pub infer_ms: f64,
}

/// A model's input: NCHW, RGB, 0..=1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputShape {
    /// Frames of each inference; `None`: any number.
    pub batch: Option<usize>,
    /// Width, px.
    pub width_px: u32,
    /// Height, px.
    pub height_px: u32,
    /// Whether its elements are `f16`, else `f32`.
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

/// The SHA-256 of the model's file, lower-case hex.
///
/// Errors: the file is PyTorch's, cannot be read, or is not the one that `spec.sha256` names.
pub(super) fn check_file(spec: &ModelSpec) -> Result<String, ModelFault> {
    let extension = spec.path.extension().unwrap_or_default();
    if extension.eq_ignore_ascii_case("pt") || extension.eq_ignore_ascii_case("pth") {
        return Err(ModelFault::Weights);
    }
    let have = sha256_of(&spec.path).map_err(|error| ModelFault::File(error.to_string()))?;
    match &spec.sha256 {
        Some(want) if !want.eq_ignore_ascii_case(&have) => {
            Err(ModelFault::Digest { want: want.clone(), have })
        }
        _ => Ok(have),
    }
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            length => hasher.update(&chunk[..length]),
        }
    }
}

/// The model's input; `imgsz` is what its metadata say under that name, for an input whose sides are open.
pub(super) fn read_input(inputs: &[Outlet], imgsz: Option<&str>) -> Result<InputShape, ModelFault> {
    let [input] = inputs else {
        let names: Vec<_> = inputs.iter().map(Outlet::name).collect();
        return Err(ModelFault::Inputs { count: inputs.len(), names: names.join(", ") });
    };
    let (tensor, shape) = (input.name().to_owned(), input.dtype().to_string());
    let Some((half, [batch, height, width])) = picture_input(input.dtype()) else {
        return Err(ModelFault::Input { tensor, shape });
    };
    let sides = if height > 0 && width > 0 { Some((height, width)) } else { imgsz.and_then(sides_in) };
    let Some((height, width)) = sides else { return Err(ModelFault::OpenSides { tensor, shape }) };
    let side = |px: i64| (1..=MAX_SIDE_PX).contains(&px).then(|| u32::try_from(px).ok())?;
    let (Some(width_px), Some(height_px)) = (side(width), side(height)) else {
        return Err(ModelFault::Sides { tensor, width, height });
    };
    Ok(InputShape { batch: usize::try_from(batch).ok(), width_px, height_px, half })
}

/// Whether the elements are `f16`; batch, height and width, -1 where open.
fn picture_input(input: &ValueType) -> Option<(bool, [i64; 3])> {
    let half = match input.tensor_type()? {
        TensorElementType::Float32 => false,
        TensorElementType::Float16 => true,
        _ => return None,
    };
    match input.tensor_shape()?[..] {
        [batch @ (-1 | 1..=MAX_BATCH), 3, height, width] => Some((half, [batch, height, width])),
        _ => None,
    }
}

/// Height and width in text such as `[384, 640]` or `640`.
fn sides_in(imgsz: &str) -> Option<(i64, i64)> {
    let numbers = imgsz.trim_matches(|c: char| c == '[' || c == ']').split(',');
    let numbers: Option<Vec<i64>> = numbers.map(|number| number.trim().parse().ok()).collect();
    match numbers?[..] {
        [side] => Some((side, side)),
        [height, width] => Some((height, width)),
        _ => None,
    }
}
