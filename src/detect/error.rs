//! The errors of detect, each with its consequence and remedy.

use std::path::PathBuf;

use super::cuda_fault::CudaFault;
use super::device::Device;
use super::resample::PictureFault;
use super::runtime::RuntimeFault;
use super::spec::TwinKind;
use crate::media::{CameraId, Frame};

/// A reason for which a model could not be loaded, or a frame not be inferred.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetectError {
    /// There is no usable ONNX Runtime: give up, nothing can be detected.
    #[error(transparent)]
    Runtime(#[from] RuntimeFault),
    /// The model cannot be used: give up on it.
    #[error("model {model} ({}): {fault}", path.display())]
    Model {
        /// The model's name.
        model: String,
        /// Its file.
        path: PathBuf,
        /// The fault.
        fault: Box<ModelFault>,
    },
    /// The configuration counts a class that the model does not know: correct one of them.
    #[error("camera {camera}: model {model} has no class {class:?}; {hint}")]
    NoSuchClass {
        /// The camera.
        camera: CameraId,
        /// The model's name.
        model: String,
        /// The class.
        class: String,
        /// The classes that it has.
        hint: String,
    },
    /// The CUDA device that was demanded does not work: give up on the model.
    #[error(
        "model {model}: cuda:{index} does not work: {reason}; install onnxruntime-gpu with its CUDA and cuDNN libraries \
         and a driver for them, or set device: auto or cpu"
    )]
    Cuda {
        /// The model's name.
        model: String,
        /// Index of the device.
        index: u32,
        /// ONNX Runtime's words.
        reason: String,
    },
    /// The model's thread could not be started: give up on the model.
    #[error("model {model}: cannot start its thread: {reason}; raise the limit of threads or memory")]
    Thread {
        /// The model's name.
        model: String,
        /// The system's words.
        reason: String,
    },
    /// The picture cannot be read: skip the frame.
    #[error("camera {camera}: fragment {fragment}, block {index}: {fault}")]
    Picture {
        /// The camera.
        camera: CameraId,
        /// The KVS fragment number.
        fragment: String,
        /// Index of the block in the fragment.
        index: u32,
        /// The fault.
        fault: PictureFault,
    },
    /// The inference failed: skip the frame. The worker continues.
    #[error("model {model}: inference failed: {reason}; the frame is skipped")]
    Inference {
        /// The model's name.
        model: String,
        /// The reason.
        reason: String,
    },
    /// CUDA works no more in this process: end it. No frame counts as inferred from here on.
    #[error("model {model}: GPU {device} is lost, and CUDA works again only in a new process: {reason}")]
    DeviceLost {
        /// The model's name.
        model: String,
        /// The device.
        device: Device,
        /// ONNX Runtime's words.
        reason: String,
    },
    /// The outputs cannot be of the model's layout: skip the frame, for its boxes would be false or missing.
    #[error(
        "model {model}: its output is not of layout {layout}: {reason}; set another under `models` ({others}); its frames are \
         skipped"
    )]
    Contradiction {
        /// The model's name.
        model: String,
        /// The layout that counts.
        layout: &'static str,
        /// The numbers that cannot be.
        reason: String,
        /// Layouts of the same shape.
        others: String,
    },
    /// The model's worker was stopped or died: give up on the model.
    #[error("model {model}: its worker has ended")]
    Ended {
        /// The model's name.
        model: String,
    },
}

impl DetectError {
    /// Returns the error of an inference that failed on the device, by ONNX Runtime's words.
    pub(super) fn inference(model: &str, device: Device, reason: &str) -> Self {
        let (model, reason) = (model.to_owned(), reason.to_owned());
        match (device, CudaFault::of(&reason)) {
            (Device::Cuda(_), Some(CudaFault::Sticky)) => Self::DeviceLost { model, device, reason },
            _ => Self::Inference { model, reason },
        }
    }

    /// Returns whether the error of a load or an inference says that CUDA works again only in a new process.
    #[must_use]
    pub fn needs_new_process(&self) -> bool {
        self.is_device_lost() || CudaFault::of(&self.to_string()) == Some(CudaFault::Sticky)
    }

    /// Returns whether the error of a load may be another one on another device, without a word about its own.
    pub(crate) fn depends_on_device(&self) -> bool {
        let is_of_device = |fault: &ModelFault| matches!(fault, ModelFault::Load(_) | ModelFault::WarmUp(_));
        matches!(self, Self::Model { fault, .. } if is_of_device(fault))
    }

    /// Returns whether CUDA works no more in this process.
    #[must_use]
    pub fn is_device_lost(&self) -> bool {
        match self {
            Self::DeviceLost { .. } => true,
            // The GPU that decoded the picture, wherever the model runs.
            Self::Picture { fault: PictureFault::Gpu(error), .. } => error.is_sticky(),
            _ => false,
        }
    }

    /// The picture of this frame cannot be read.
    pub(crate) fn picture(frame: &Frame, fault: PictureFault) -> Self {
        Self::Picture {
            camera: frame.camera.clone(),
            fragment: frame.fragment.number.to_string(),
            index: frame.index,
            fault,
        }
    }
}

/// A reason for which a model cannot be used. Its message names the tensor, the numbers and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelFault {
    /// The file cannot be read.
    #[error("cannot read the file: {0}; check `path`")]
    File(String),
    /// PyTorch weights.
    #[error(
        "PyTorch weights are not read; export them to ONNX: `yolo export model=FILE.pt format=onnx`, then give FILE.onnx"
    )]
    Weights,
    /// The content is not the one that was asked for.
    #[error("its SHA-256 is {have}, and `sha256` asks for {want}; fetch the file again or correct `sha256`")]
    Digest {
        /// As configured.
        want: String,
        /// As read.
        have: String,
    },
    /// Weights in further files, of which the digest says nothing.
    #[error(
        "`sha256` is given, and the model has weights in further files, of which that digest says nothing; save it as one file \
         (onnx.save_model with save_as_external_data=False), or leave `sha256` out"
    )]
    ExternalData,
    /// It is another one than when the model was loaded.
    #[error("it was replaced since it was loaded; restart kvs-infer to use the new file")]
    Replaced,
    /// A twin of another model.
    #[error(
        "it was made of another file than `path`; make it again of that one (kvs-infer {}), or correct `path` or `{}`",
        kind.command(),
        kind.config_key()
    )]
    OtherSource {
        /// The kind of the twin.
        kind: TwinKind,
    },
    /// ONNX Runtime refuses it.
    #[error(
        "ONNX Runtime cannot load it: {0}; check that it is a whole ONNX file, with its weights inside: a model with weights in \
         further files (`.onnx.data`) has to be saved as one file, or they have to lie beside it"
    )]
    Load(String),
    /// Its first inference failed.
    #[error("its first inference failed: {0}; export it again, or try it with onnxruntime in Python")]
    WarmUp(String),
    /// A GPU computes other numbers than the CPU.
    #[error(
        "the self-test of the GPU failed: for a built-in picture, {0}; update NVIDIA's driver, and try the GPU with another program"
    )]
    Differs(String),
    /// Not one input.
    #[error("it has {count} inputs ({names}); give a model with one, the picture")]
    Inputs {
        /// Their number.
        count: usize,
        /// Their names.
        names: String,
    },
    /// The input is no picture.
    #[error(
        "input `{tensor}` is {shape}; give a model whose input is float or float16 `[batch, 3, height, width]`"
    )]
    Input {
        /// The tensor.
        tensor: String,
        /// Its type and shape.
        shape: String,
    },
    /// The input has no fixed sides.
    #[error(
        "input `{tensor}` is {shape}, and its metadata have no `imgsz`; export it with fixed height and width \
         (`imgsz=640 dynamic=False`)"
    )]
    OpenSides {
        /// The tensor.
        tensor: String,
        /// Its type and shape.
        shape: String,
    },
    /// The input's sides are beyond reason.
    #[error("input `{tensor}` is {width}x{height} px; 1 to 4096 are allowed")]
    Sides {
        /// The tensor.
        tensor: String,
        /// Width, px.
        width: i64,
        /// Height, px.
        height: i64,
    },
    /// It has no class names, and the configuration gives none.
    #[error(
        "it has no class names (`names` in its metadata); give them under `classes`, in the order of the model"
    )]
    NoClasses,
    /// The class names in the metadata cannot be read.
    #[error(
        "the class names in its metadata cannot be read at character {at}: {why}; give them under `classes`"
    )]
    Classes {
        /// Index of the character, from 0.
        at: usize,
        /// The expected text.
        why: &'static str,
    },
    /// The class names do not fit the output.
    #[error(
        "its output `{tensor}` {shape} has {model} classes as {layout}, but {given} class names are given; correct `classes` or `layout`"
    )]
    ClassCount {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: String,
        /// The layout that counts.
        layout: &'static str,
        /// Classes in the output.
        model: usize,
        /// Class names.
        given: usize,
    },
    /// A class name has a character that cannot be seen.
    #[error(
        "class name {index} of the model, {name:?}, has {character}, which cannot be seen; give the names under `classes`, typed \
         as text"
    )]
    ClassName {
        /// Index of the class.
        index: usize,
        /// The name.
        name: String,
        /// Its code point, such as `U+200B`.
        character: String,
    },
    /// Two classes have one name.
    #[error(
        "class names {first} and {index} of the model are both {name:?}; give the names under `classes`, each once"
    )]
    ClassNameTwice {
        /// Index of the first.
        first: usize,
        /// Index of the second.
        index: usize,
        /// The name.
        name: String,
    },
    /// A class has no name.
    #[error("class name {index} of the model is empty; give the names under `classes`")]
    EmptyClassName {
        /// Index of the class.
        index: usize,
    },
    /// The metadata say that it does something else than find objects.
    #[error(
        "its metadata say `task: {task}`; give a model that detects objects, with boxes as its only output (`task=detect`)"
    )]
    Task {
        /// As in the metadata.
        task: String,
    },
    /// Boxes after NMS, with scores and classes in outputs of their own.
    #[error(
        "its outputs ({outputs}) are lists of boxes, scores and classes after NMS, as TensorRT's EfficientNMS gives them, and \
         these are not read; export it without NMS (no `--end2end`), or from Ultralytics with `nms=True`: one output [batch, n, 6]"
    )]
    FinishedLists {
        /// The outputs with shapes.
        outputs: String,
    },
    /// More than one layout fits.
    #[error("its outputs ({outputs}) with {classes} class names fit {fits}; say which by `layout`")]
    Ambiguous {
        /// The outputs with shapes.
        outputs: String,
        /// Class names.
        classes: usize,
        /// The layouts.
        fits: String,
    },
    /// The metadata and the shapes contradict one another.
    #[error(
        "in its metadata {statement}, but its outputs ({outputs}) fit {fits}; say which counts by `layout`"
    )]
    Conflict {
        /// The statement of the metadata.
        statement: String,
        /// The outputs with shapes.
        outputs: String,
        /// The layouts that fit.
        fits: String,
    },
    /// No layout fits.
    #[error(
        "its outputs ({outputs}) with {classes} class names fit no layout ({tried}); correct `classes`, set `layout`, or export it \
         otherwise (yolov8: [batch, 4 + classes, anchors])"
    )]
    Unknown {
        /// The outputs with shapes.
        outputs: String,
        /// Class names.
        classes: usize,
        /// Each layout with the reason why it is not that.
        tried: String,
    },
    /// The outputs are not of the layout that was set.
    #[error("its outputs ({outputs}) are not of layout {layout}, {shape}: {why}; correct `layout`")]
    Layout {
        /// The outputs with shapes.
        outputs: String,
        /// As configured.
        layout: &'static str,
        /// The shapes of the layout.
        shape: &'static str,
        /// The difference.
        why: String,
    },
    /// The numbers of the first inference are not of the layout that was set.
    #[error("its outputs ({outputs}) are not of layout {layout}: {why}; correct `layout`: {others}")]
    Contradiction {
        /// The outputs with shapes.
        outputs: String,
        /// As configured.
        layout: &'static str,
        /// The numbers that cannot be.
        why: String,
        /// Layouts of the same shape.
        others: String,
    },
    /// A recognition model without characters, in its metadata and in the configuration.
    #[error(
        "it has no characters (`character` in its metadata, one per line); name it under `models` and give them under \
         `classes`: a text file, one character per line, in the order of the model, without the blank"
    )]
    NoCharacters,
    /// Its output is no text.
    #[error(
        "its outputs ({outputs}) are no text; give a recognition model (CTC, as PP-OCR's) with one output \
         [batch, steps, classes], float, the blank first"
    )]
    TextOutput {
        /// The outputs with shapes.
        outputs: String,
    },
    /// The characters do not fit the output.
    #[error(
        "its output has {classes} classes, and {characters} characters are given; {characters} characters make \
         {} classes with the blank, or one more with a space at the end: correct the characters",
        characters + 1
    )]
    CharacterCount {
        /// Classes in the output.
        classes: usize,
        /// Characters.
        characters: usize,
    },
}

impl ModelFault {
    /// Returns `true` for a twin of another model.
    pub(super) fn is_other_source(&self) -> bool {
        matches!(self, Self::OtherSource { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_is_lost_with_a_picture_on_it_is_no_bad_picture() {
        let of = |fault| DetectError::Picture {
            camera: CameraId::new("gate"),
            fragment: "1".to_owned(),
            index: 0,
            fault,
        };
        let failed = |code| {
            let (name, text) = ("CUDA_ERROR_X".to_owned(), "as the driver says".to_owned());
            PictureFault::Gpu(gpu::GpuError::Call { call: "cuMemcpyDtoHAsync", code, name, text })
        };
        for (fault, lost) in [(failed(719), true), (failed(2), false), (PictureFault::Empty(0, 0), false)] {
            let error = of(fault);
            assert_eq!(error.is_device_lost(), lost, "{error}");
        }
    }
}
