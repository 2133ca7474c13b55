//! Opening a model: its file, the device and the engine it runs on, and the errors if that fails.

use std::path::Path;

use super::cpu_fallback::CpuFallback;
use super::cuda_libraries::{MissingLibraries, concerns_libraries};
use super::error::{DetectError, ModelFault};
use super::model::{ModelBytes, read_file};
use super::onnx::{Net, Placement, Refusal, SessionStream, has_cuda};
use super::openvino::{self, PluginState};
use super::quantize::QUANTIZED_FROM;
use super::runtime;
use super::spec::{Device, EngineChoice, EngineInfo, InferenceEngine, ModelSpec};
use crate::telemetry::detect::{CudaLibrariesMissing, FellBackToCpu, OpenVinoUnused};

/// The reason for which the quantised twin is not used on a GPU.
const NO_INT8_ON_CUDA: &str = "int8 is not used on CUDA, where the model of `path` runs";

/// A model whose file is there and is the one that was asked for.
pub(super) struct Opening<'a> {
    spec: &'a ModelSpec,
    base: ModelBytes,
    /// Of an inference on the CPU: what the model asks for, else its share.
    threads: usize,
}

/// A file of the model and the place where it is to run.
pub(super) struct LoadCandidate<'a> {
    pub(super) spec: &'a ModelSpec,
    path: &'a Path,
    file: &'a ModelBytes,
    /// Digest of the float32 file, for a twin.
    source_sha256: Option<&'a str>,
    placement: Placement,
    pub(super) threads: usize,
}

impl<'a> Opening<'a> {
    /// Errors: the file; see [`read_file`].
    pub(super) fn new(spec: &'a ModelSpec, threads: usize) -> Result<Self, DetectError> {
        let base = read_file(&spec.path, spec.sha256.as_deref());
        let base = base.map_err(|fault| faulty(spec, &spec.path, fault))?;
        Ok(Self { spec, base, threads: spec.threads.unwrap_or(threads).max(1) })
    }

    /// Returns the model that `load` makes on the device, its engine, and the reason if CUDA was tried and does not work.
    ///
    /// Errors: those of `load`. A model that fails on both devices has the fault of the CPU.
    pub(super) fn on<T>(
        &self,
        device: Device,
        load: impl Fn(&LoadCandidate<'_>) -> Result<T, DetectError>,
    ) -> Result<(T, EngineInfo, Option<CpuFallback>), DetectError> {
        let (loaded, engine) = match device {
            Device::Cpu => self.on_cpu(&load)?,
            Device::Cuda(index) => self.on_cuda(index, &load)?,
            Device::Auto => return self.on_cuda_or_cpu(&load),
        };
        Ok((loaded, engine, None))
    }

    /// Loads the model on CUDA, else on the CPU; returns also the reason if CUDA does not work.
    fn on_cuda_or_cpu<T>(
        &self,
        load: &impl Fn(&LoadCandidate<'_>) -> Result<T, DetectError>,
    ) -> Result<(T, EngineInfo, Option<CpuFallback>), DetectError> {
        let reason = match self.on_cuda(0, load) {
            Ok((loaded, engine)) => return Ok((loaded, engine, None)),
            // Without ONNX Runtime the CPU cannot work either.
            Err(error @ DetectError::Runtime(_)) => return Err(error),
            Err(DetectError::Cuda { reason, .. }) => reason,
            Err(error) => error.to_string(),
        };
        // Only a model that works on the CPU has fallen back: otherwise its own fault is the message.
        let (loaded, engine) = self.on_cpu(load)?;
        let has_cuda = has_cuda();
        FellBackToCpu { model: &self.spec.name, reason: &reason, has_cuda }.emit();
        let fallback = CpuFallback { reason, sha256: self.base.sha256.clone(), has_cuda };
        Ok((loaded, engine, Some(fallback)))
    }

    fn on_cuda<T>(
        &self,
        index: u32,
        load: &impl Fn(&LoadCandidate<'_>) -> Result<T, DetectError>,
    ) -> Result<(T, EngineInfo), DetectError> {
        // After the load, when those that are there are loaded as well.
        let missing =
            || MissingLibraries::find(runtime::library().as_deref()).map(|missing| missing.report());
        let loaded = load(&self.candidate(Placement::Cuda(index)));
        let loaded = loaded.map_err(|error| with_libraries(error, missing))?;
        let missing_libraries = missing();
        if let Some(reason) = &missing_libraries {
            CudaLibrariesMissing { model: &self.spec.name, reason }.emit();
        }
        let note = self.spec.int8.as_ref().map(|_| NO_INT8_ON_CUDA.to_owned());
        Ok((loaded, EngineInfo { note, missing_libraries, ..EngineInfo::default() }))
    }

    /// Loads the twin where there is one, else the model, with OpenVINO where that is wanted and works.
    fn on_cpu<T>(
        &self,
        load: &impl Fn(&LoadCandidate<'_>) -> Result<T, DetectError>,
    ) -> Result<(T, EngineInfo), DetectError> {
        let twin = self.twin()?;
        let int8 = twin.is_some();
        let mut note = None;
        if self.wants_openvino(int8) {
            let candidate = self.cpu_candidate(twin.as_ref(), InferenceEngine::OpenVino);
            match self.on_openvino(&candidate, load)? {
                Ok(loaded) => {
                    return Ok((
                        loaded,
                        EngineInfo { engine: InferenceEngine::OpenVino, int8, note, ..EngineInfo::default() },
                    ));
                }
                Err(why) => note = why,
            }
        }
        let loaded = load(&self.cpu_candidate(twin.as_ref(), InferenceEngine::OnnxRuntime))?;
        Ok((loaded, EngineInfo { engine: InferenceEngine::OnnxRuntime, int8, note, ..EngineInfo::default() }))
    }

    fn wants_openvino(&self, int8: bool) -> bool {
        match self.spec.engine {
            // Measured by `make bench`: OpenVINO gains with int8 and hardly without, and it takes 50 MB more per model.
            EngineChoice::Auto => int8,
            EngineChoice::Onnxruntime => false,
            EngineChoice::Openvino => true,
        }
    }

    /// Returns the model on OpenVINO, or the reason, if there is one to show, for which it is not used.
    fn on_openvino<T>(
        &self,
        candidate: &LoadCandidate<'_>,
        load: &impl Fn(&LoadCandidate<'_>) -> Result<T, DetectError>,
    ) -> Result<Result<T, Option<String>>, DetectError> {
        let demanded = self.spec.engine == EngineChoice::Openvino;
        let (reason, severe) = match openvino::plugin()? {
            PluginState::Usable => match load(candidate) {
                Ok(loaded) => return Ok(Ok(loaded)),
                // A fault of the twin is reported by ONNX Runtime's own kernels as well, so that no valid model is lost.
                Err(DetectError::Model { fault, .. }) => (fault.to_string(), true),
                Err(error) => return Err(error),
            },
            // An installation without the plugin is a choice, as long as no model demands it.
            PluginState::Absent(_) if !demanded => return Ok(Err(None)),
            PluginState::Absent(reason) | PluginState::NoDevice(reason) => (reason, demanded),
            PluginState::Broken(reason) => (reason, true),
        };
        OpenVinoUnused { model: &self.spec.name, reason: &reason, severe }.emit();
        Ok(Err(Some(format!("OpenVINO is not used: {reason}"))))
    }

    fn twin(&self) -> Result<Option<(&'a Path, ModelBytes)>, DetectError> {
        let Some(path) = self.spec.int8.as_deref() else { return Ok(None) };
        let file = read_file(path, self.spec.int8_sha256.as_deref());
        Ok(Some((path, file.map_err(|fault| faulty(self.spec, path, fault))?)))
    }

    fn candidate(&self, placement: Placement) -> LoadCandidate<'_> {
        let Self { spec, base, threads } = self;
        LoadCandidate {
            spec,
            path: &spec.path,
            file: base,
            source_sha256: None,
            placement,
            threads: *threads,
        }
    }

    /// Returns the twin where there is one, else the model, for the CPU.
    fn cpu_candidate<'b>(
        &'b self,
        twin: Option<&'b (&Path, ModelBytes)>,
        engine: InferenceEngine,
    ) -> LoadCandidate<'b> {
        let model = self.candidate(Placement::Cpu(engine));
        match twin {
            Some((path, file)) => {
                LoadCandidate { path, file, source_sha256: Some(&self.base.sha256), ..model }
            }
            None => model,
        }
    }
}

impl LoadCandidate<'_> {
    /// The model in ONNX Runtime.
    pub(super) fn net(&self) -> Result<Net, DetectError> {
        self.net_on(SessionStream::Own)
    }

    /// The model in ONNX Runtime, on this stream of its GPU.
    pub(super) fn net_on(&self, stream: SessionStream) -> Result<Net, DetectError> {
        let content = self.file.content.as_deref();
        let net = Net::open(self.path, content, (self.placement, stream), self.threads);
        let net = net.map_err(|refusal| self.refused(refusal))?;
        let made_of = self.source_sha256.and_then(|source| Some((source, net.metadata(QUANTIZED_FROM)?)));
        match made_of {
            Some((source, made_of)) if made_of != source => Err(self.faulty(ModelFault::OtherSource)),
            _ => Ok(net),
        }
    }

    /// Returns the digest of the file that runs, lower-case hex.
    pub(super) fn sha256(&self) -> &str {
        &self.file.sha256
    }

    pub(super) fn device(&self) -> Device {
        match self.placement {
            Placement::Cuda(index) => Device::Cuda(index),
            Placement::Cpu(_) => Device::Cpu,
        }
    }

    fn refused(&self, refusal: Refusal) -> DetectError {
        let model = self.spec.name.clone();
        match (refusal, self.placement) {
            (Refusal::Runtime(fault), _) => DetectError::Runtime(fault),
            (Refusal::Cuda(reason), Placement::Cuda(index)) => DetectError::Cuda { model, index, reason },
            (Refusal::Cuda(reason) | Refusal::Model(reason), _) => self.faulty(ModelFault::Load(reason)),
        }
    }

    /// A fault of this model.
    pub(super) fn faulty(&self, fault: ModelFault) -> DetectError {
        faulty(self.spec, self.path, fault)
    }
}

fn faulty(spec: &ModelSpec, path: &Path, fault: ModelFault) -> DetectError {
    DetectError::Model { model: spec.name.clone(), path: path.to_owned(), fault: Box::new(fault) }
}

/// Returns the error of a load on CUDA with the libraries that are `missing`, where they may be its cause.
fn with_libraries(error: DetectError, missing: impl Fn() -> Option<String>) -> DetectError {
    let with = |reason: String| match missing() {
        Some(missing) if concerns_libraries(&reason) => format!("{reason}; {missing}"),
        _ => reason,
    };
    match error {
        DetectError::Cuda { model, index, reason } => {
            DetectError::Cuda { model, index, reason: with(reason) }
        }
        DetectError::Model { model, path, fault } => {
            let fault = match *fault {
                ModelFault::WarmUp(reason) => ModelFault::WarmUp(with(reason)),
                other => other,
            };
            DetectError::Model { model, path, fault: Box::new(fault) }
        }
        other => other,
    }
}
