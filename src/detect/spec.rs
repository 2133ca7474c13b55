//! The settings of models and thresholds.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::encoding::InputEncoding;
use crate::base::hex;
pub use kvs_config::raw::{BoxUnits, EngineChoice, LayoutChoice};
use kvs_config::without_address_secrets;

/// A model to load.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct ModelSpec {
    /// Its name under `models`, or its file name.
    pub name: String,
    /// The ONNX file.
    #[serde(serialize_with = "path_digest")]
    pub path: PathBuf,
    /// The SHA-256 that the file must have, lower-case hex.
    pub sha256: Option<String>,
    /// The quantised twin of the ONNX file, which runs on the CPU in its place.
    #[serde(serialize_with = "twin_digest")]
    pub int8: Option<PathBuf>,
    /// The SHA-256 that the twin must have, lower-case hex.
    pub int8_sha256: Option<String>,
    /// The float16 twin of the ONNX file, which runs on CUDA in its place.
    // Absent from the digest of a camera where it is not used: digests are compared between versions.
    #[serde(serialize_with = "twin_digest", skip_serializing_if = "Option::is_none")]
    pub half: Option<PathBuf>,
    /// The SHA-256 that the float16 twin must have, lower-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_sha256: Option<String>,
    /// The engine on the CPU.
    pub engine: EngineChoice,
    /// The layout of its output.
    pub layout: LayoutChoice,
    /// The units of its boxes, where the layout has them in px.
    pub box_units: BoxUnits,
    /// The values of its input.
    pub input: InputEncoding,
    /// Class names that replace those in the model's metadata.
    pub classes: Option<Vec<String>>,
    /// Threads of one inference on the CPU; `None`: its share of the cores.
    pub threads: Option<usize>,
}

impl ModelSpec {
    /// Returns the paths of the model's file and of its twins.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [Some(&self.path), self.int8.as_ref(), self.half.as_ref()].into_iter().flatten()
    }
}

/// The path may be an address, which is shown without its secrets.
impl fmt::Debug for ModelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.to_string_lossy();
        let path = without_address_secrets(&path);
        f.debug_struct("ModelSpec").field("name", &self.name).field("path", &path).finish_non_exhaustive()
    }
}

/// Serializes a path as its SHA-256: it may be an address with secrets, and need not be UTF-8.
fn path_digest<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&digest_of(path))
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn twin_digest<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_deref().map(digest_of).serialize(serializer)
}

fn digest_of(path: &Path) -> String {
    hex(Sha256::new_with_prefix(path.as_os_str().as_encoded_bytes()))
}

/// The library whose kernels compute a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InferenceEngine {
    /// ONNX Runtime itself; on a GPU with CUDA.
    #[default]
    OnnxRuntime,
    /// OpenVINO, by way of its plugin for ONNX Runtime.
    OpenVino,
}

impl fmt::Display for InferenceEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnnxRuntime => "ONNX Runtime",
            Self::OpenVino => "OpenVINO",
        })
    }
}

/// The kind of a twin, which runs in place of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TwinKind {
    /// Quantised, for the CPU.
    Int8,
    /// Converted to float16, for CUDA.
    Half,
}

impl TwinKind {
    /// Returns the key of a model under `models` that names such a twin.
    pub(super) fn config_key(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Half => "half",
        }
    }

    /// Returns the metadata key of a twin that names the float32 file of which it was made, by its SHA-256.
    pub(super) fn source_key(self) -> &'static str {
        match self {
            Self::Int8 => "kvs_infer.quantized_from",
            Self::Half => "kvs_infer.half_from",
        }
    }

    /// Returns the name of the command that makes such a twin.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::Int8 => "models quantize",
            Self::Half => "models half",
        }
    }
}

impl fmt::Display for TwinKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Int8 => "int8",
            Self::Half => "float16",
        })
    }
}

/// The engine of a loaded model, and the reason if it is not the one that the configuration wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineInfo {
    /// The engine.
    pub engine: InferenceEngine,
    /// The twin that runs in place of the model.
    pub twin: Option<TwinKind>,
    /// The part of the work that a GPU does; `None` on the CPU.
    pub gpu: Option<GpuLevel>,
    /// The reason for which OpenVINO, a twin or a part of the GPU's work is not used, where it could be.
    pub note: Option<String>,
    /// The libraries of CUDA that were not found, with the remedy, for a model on a GPU.
    pub missing_libraries: Option<String>,
}

impl EngineInfo {
    /// Returns the note and the missing libraries as one text.
    #[must_use]
    pub fn notes(&self) -> Option<String> {
        let notes: Vec<&str> =
            [&self.note, &self.missing_libraries].into_iter().flatten().map(String::as_str).collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }

    /// Returns the engine that was opened, with the part of the work that a GPU does as known here, and both notes.
    pub(super) fn with(self, opened: Self) -> Self {
        let notes: Vec<String> = [self.note, opened.note].into_iter().flatten().collect();
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        Self { gpu: self.gpu, note, ..opened }
    }
}

impl fmt::Display for EngineInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.engine)?;
        self.twin.map_or(Ok(()), |twin| write!(f, " {twin}"))?;
        self.gpu.map_or(Ok(()), |level| write!(f, ", {level}"))
    }
}

/// The part of a detector's work that a GPU does; each level has those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GpuLevel {
    /// The inference alone: the CPU paints the pictures.
    Inference,
    /// The pictures are painted there, and stay there.
    Painting,
    /// The inference is one captured graph per size of a batch.
    Graphs,
}

impl fmt::Display for GpuLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inference => "input by CPU",
            Self::Painting => "no CUDA graphs",
            Self::Graphs => "CUDA graphs",
        })
    }
}

/// The purpose of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// It detects objects.
    Find,
    /// It reads the text in detected objects.
    Read,
}

/// The thresholds of a model's detections.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Thresholds {
    /// The minimum confidence, 0..=1.
    pub conf: f32,
    /// The IoU of two boxes of one class from which the weaker one is suppressed, 0..=1.
    pub nms_iou: f32,
}
