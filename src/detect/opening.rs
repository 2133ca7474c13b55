//! Opening a model: its file, the device and the engine it runs on, and the errors if that fails.

use std::path::Path;

use super::cpu_fallback::CpuFallback;
use super::cuda_libraries::{MissingLibraries, concerns_libraries};
use super::device::Device;
use super::error::{DetectError, ModelFault};
use super::model::{ModelBytes, read_file};
use super::onnx::{Net, Placement, Refusal, SessionStream, has_cuda};
use super::openvino::{self, PluginState};
use super::runtime;
use super::spec::{EngineChoice, EngineInfo, InferenceEngine, ModelSpec, TwinKind};
use crate::telemetry::detect::{CudaLibrariesMissing, FellBackToCpu, OpenVinoUnused};

/// The reason for which the quantised twin is not used on a GPU.
const NO_INT8_ON_CUDA: &str = "int8 is not used on CUDA, where the model of `path` runs";

/// The reason for which the float16 twin is not used on the CPU.
const NO_HALF_ON_CPU: &str = "half is not used on the CPU, where the model of `path` runs";

/// A model whose file is there and is the one that was asked for.
pub(super) struct Opening<'a> {
    spec: &'a ModelSpec,
    base: ModelBytes,
    /// Of an inference on the CPU: what the model asks for, else its share.
    threads: usize,
}

/// The file of a twin.
struct TwinFile<'a> {
    kind: TwinKind,
    path: &'a Path,
    file: ModelBytes,
}

/// A file of the model and the place where it is to run.
pub(super) struct LoadCandidate<'a> {
    pub(super) spec: &'a ModelSpec,
    path: &'a Path,
    file: &'a ModelBytes,
    /// The kind of a twin, and the digest of the float32 file that it must be made of.
    twin: Option<(TwinKind, &'a str)>,
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
            Device::Cuda(index) => self.on_cuda(index, self.twin(TwinKind::Half)?.as_ref(), &load)?,
            Device::Auto(index) => return self.on_cuda_or_cpu(index, &load),
        };
        Ok((loaded, engine, None))
    }

    /// Loads the model on this GPU, else on the CPU; returns also the reason if CUDA does not work.
    fn on_cuda_or_cpu<T>(
        &self,
        gpu: u32,
        load: &impl Fn(&LoadCandidate<'_>) -> Result<T, DetectError>,
    ) -> Result<(T, EngineInfo, Option<CpuFallback>), DetectError> {
        let half = self.twin(TwinKind::Half)?;
        let reason = match self.on_cuda(gpu, half.as_ref(), load) {
            Ok((loaded, engine)) => return Ok((loaded, engine, None)),
            // Without ONNX Runtime the CPU cannot work either.
            Err(error @ DetectError::Runtime(_)) => return Err(error),
            // A mistake in the configuration, which would be hidden if the model ran on the CPU.
            Err(DetectError::Model { model, path, fault }) if fault.is_other_source() => {
                return Err(DetectError::Model { model, path, fault });
            }
            Err(DetectError::Cuda { reason, .. }) => reason,
            Err(error) => error.to_string(),
        };
        // Only a model that works on the CPU has fallen back: otherwise its own fault is the message.
        let (loaded, engine) = self.on_cpu(load)?;
        let has_cuda = has_cuda();
        FellBackToCpu { model: &self.spec.name, gpu, reason: &reason, has_cuda }.emit();
        let tried = half.as_ref().map_or(&self.base, |twin| &twin.file);
        let fallback = CpuFallback { gpu, reason, sha256: tried.sha256.clone(), has_cuda };
        Ok((loaded, engine, Some(fallback)))
    }

    /// Loads the float16 twin where there is one, else the model.
    fn on_cuda<T>(
        &self,
        index: u32,
        half: Option<&TwinFile<'a>>,
        load: &impl Fn(&LoadCandidate<'_>) -> Result<T, DetectError>,
    ) -> Result<(T, EngineInfo), DetectError> {
        // After the load, when those that are there are loaded as well.
        let missing =
            || MissingLibraries::find(runtime::library().as_deref()).map(|missing| missing.report());
        let loaded = load(&self.candidate(Placement::Cuda(index), half));
        let loaded = loaded.map_err(|error| with_libraries(error, missing))?;
        let missing_libraries = missing();
        if let Some(reason) = &missing_libraries {
            CudaLibrariesMissing { model: &self.spec.name, reason }.emit();
        }
        let twin = half.map(|twin| twin.kind);
        let note = (twin.is_none() && self.spec.int8.is_some()).then(|| NO_INT8_ON_CUDA.to_owned());
        Ok((loaded, EngineInfo { twin, note, missing_libraries, ..EngineInfo::default() }))
    }

    /// Loads the int8 twin where there is one, else the model, with OpenVINO where that is wanted and works.
    fn on_cpu<T>(
        &self,
        load: &impl Fn(&LoadCandidate<'_>) -> Result<T, DetectError>,
    ) -> Result<(T, EngineInfo), DetectError> {
        let file = self.twin(TwinKind::Int8)?;
        let twin = file.as_ref().map(|twin| twin.kind);
        let mut note = (twin.is_none() && self.spec.half.is_some()).then(|| NO_HALF_ON_CPU.to_owned());
        if self.wants_openvino(twin.is_some()) {
            let engine = InferenceEngine::OpenVino;
            match self.on_openvino(&self.candidate(Placement::Cpu(engine), file.as_ref()), load)? {
                Ok(loaded) => {
                    return Ok((loaded, EngineInfo { engine, twin, note, ..EngineInfo::default() }));
                }
                Err(why) => note = why.or(note),
            }
        }
        let engine = InferenceEngine::OnnxRuntime;
        let loaded = load(&self.candidate(Placement::Cpu(engine), file.as_ref()))?;
        Ok((loaded, EngineInfo { engine, twin, note, ..EngineInfo::default() }))
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

    fn twin(&self, kind: TwinKind) -> Result<Option<TwinFile<'a>>, DetectError> {
        let (path, sha256) = match kind {
            TwinKind::Int8 => (&self.spec.int8, &self.spec.int8_sha256),
            TwinKind::Half => (&self.spec.half, &self.spec.half_sha256),
        };
        let Some(path) = path.as_deref() else { return Ok(None) };
        let file = read_file(path, sha256.as_deref()).map_err(|fault| faulty(self.spec, path, fault))?;
        Ok(Some(TwinFile { kind, path, file }))
    }

    /// Returns the twin where there is one, else the model.
    fn candidate<'b>(&'b self, placement: Placement, twin: Option<&'b TwinFile<'_>>) -> LoadCandidate<'b> {
        let Self { spec, base, threads } = self;
        let (path, file) = twin.map_or((spec.path.as_path(), base), |twin| (twin.path, &twin.file));
        let twin = twin.map(|twin| (twin.kind, base.sha256.as_str()));
        LoadCandidate { spec, path, file, twin, placement, threads: *threads }
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
        let Some((kind, source)) = self.twin else { return Ok(net) };
        match net.metadata(kind.source_key()) {
            Some(made_of) if made_of != source => Err(self.faulty(ModelFault::OtherSource { kind })),
            _ => Ok(net),
        }
    }

    /// Returns the same file on the CPU, with ONNX Runtime's own kernels.
    pub(super) fn on_cpu(&self) -> Self {
        Self { placement: Placement::Cpu(InferenceEngine::OnnxRuntime), ..*self }
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// The file that was loaded and its twin's kind and source, in place of a model.
    type LoadedFile = (String, Option<(TwinKind, String)>);

    /// Loads nothing; `cuda`: `true` if CUDA works.
    fn load(cuda: Result<(), ModelFault>) -> impl Fn(&LoadCandidate<'_>) -> Result<LoadedFile, DetectError> {
        move |candidate| {
            if let (Placement::Cuda(_), Err(fault)) = (candidate.placement, &cuda) {
                return Err(candidate.faulty(fault.clone()));
            }
            let name = candidate.path.file_name().unwrap().to_string_lossy().into_owned();
            Ok((name, candidate.twin.map(|(kind, source)| (kind, source.to_owned()))))
        }
    }

    /// A model of three files in a folder.
    fn spec(folder: &Path, twins: [bool; 2]) -> ModelSpec {
        let file = |name: &str| -> PathBuf {
            let path = folder.join(name);
            std::fs::write(&path, name).unwrap();
            path
        };
        let (path, [int8, half]) = (file("m.onnx"), twins);
        ModelSpec {
            name: "m".to_owned(),
            path,
            int8: int8.then(|| file("m.int8.onnx")),
            half: half.then(|| file("m.half.onnx")),
            engine: EngineChoice::Onnxruntime,
            ..ModelSpec::default()
        }
    }

    #[test]
    fn each_device_has_its_twin() {
        let folder = tempfile::tempdir().unwrap();
        let (cuda, cpu) = (Device::Cuda(0), Device::Cpu);
        for (device, twins, file, note) in [
            (cuda, [false, false], "m.onnx", None),
            (cuda, [true, false], "m.onnx", Some(NO_INT8_ON_CUDA)),
            (cuda, [false, true], "m.half.onnx", None),
            (cuda, [true, true], "m.half.onnx", None),
            (Device::Auto(0), [true, true], "m.half.onnx", None),
            (cpu, [false, false], "m.onnx", None),
            (cpu, [true, false], "m.int8.onnx", None),
            (cpu, [false, true], "m.onnx", Some(NO_HALF_ON_CPU)),
            (cpu, [true, true], "m.int8.onnx", None),
        ] {
            let spec = spec(folder.path(), twins);
            let opening = Opening::new(&spec, 1).unwrap();
            let ((loaded, twin), engine, fallback) = opening.on(device, load(Ok(()))).unwrap();
            assert_eq!((loaded.as_str(), engine.note.as_deref()), (file, note), "{device} {twins:?}");
            assert_eq!((twin.as_ref().map(|(kind, _)| *kind), fallback), (engine.twin, None));
            assert!(twin.is_none_or(|(_, source)| source == opening.base.sha256), "{device} {twins:?}");
        }
    }

    #[test]
    fn without_cuda_the_float16_twin_is_left_and_a_wrong_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = spec(folder.path(), [true, true]);
        let opening = Opening::new(&spec, 1).unwrap();
        let broken = load(Err(ModelFault::WarmUp("no driver".to_owned())));
        let ((loaded, _), engine, fallback) = opening.on(Device::Auto(1), broken).unwrap();
        assert_eq!((loaded.as_str(), engine.to_string().as_str()), ("m.int8.onnx", "ONNX Runtime int8"));
        let fallback = fallback.unwrap();
        assert!(fallback.gpu == 1 && fallback.reason.contains("no driver"), "{fallback:?}");

        let other = load(Err(ModelFault::OtherSource { kind: TwinKind::Half }));
        let error = opening.on(Device::Auto(0), other).unwrap_err().to_string();
        for word in ["m.half.onnx", "kvs-infer models half", "correct `path` or `half`"] {
            assert!(error.contains(word), "{error}");
        }
        spec.half = Some(folder.path().join("none.onnx"));
        let opening = Opening::new(&spec, 1).unwrap();
        for device in [Device::Auto(0), Device::Cuda(0)] {
            let error = opening.on(device, load(Ok(()))).unwrap_err().to_string();
            assert!(error.contains("none.onnx): cannot read the file"), "{device}: {error}");
        }
        assert_eq!(opening.on(Device::Cpu, load(Ok(()))).unwrap().0.0, "m.int8.onnx");
    }
}
