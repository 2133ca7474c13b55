//! The section `models`, and the references to models.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::detect::{InputEncoding, ModelSpec};
use crate::remote::{Address, AddressError};
use kvs_config::raw::{BoxUnits, ChannelOrder, InputRange, LayoutChoice, ModelInput, ModelSection};
use kvs_config::{KeyPath, closest};

use super::roi::narrow;
use super::{SettingsBuilder, root_key};

/// The paths or addresses of a model and of its twins.
struct ModelFilePaths {
    path: PathBuf,
    int8: Option<PathBuf>,
    half: Option<PathBuf>,
}

impl SettingsBuilder<'_> {
    /// Resolves `models`. Each one is checked, used or not.
    pub(super) fn named_models(&mut self) {
        for (name, model) in &self.raw.models {
            let spec = self.named_model(name, model);
            self.named_models.insert(name, spec.map(Arc::new));
        }
    }

    fn named_model(&mut self, name: &str, model: &ModelSection) -> Option<ModelSpec> {
        let at = root_key("models").key(name);
        self.check_model_name(name, &at);
        let is_recognition = self.is_recognition_model(name);
        let classes = match &model.classes {
            None => None,
            Some(classes) => Some(self.classes(classes, is_recognition, &at.key("classes"))?),
        };
        let ModelFilePaths { path, int8, half } = self.model_files(model, &at)?;
        self.check_yolox(model, &at);
        Some(ModelSpec {
            name: name.to_owned(),
            path,
            sha256: lower_case(model.sha256.as_deref()),
            int8,
            int8_sha256: lower_case(model.int8_sha256.as_deref()),
            half,
            half_sha256: lower_case(model.half_sha256.as_deref()),
            engine: model.engine,
            layout: model.layout,
            box_units: model.box_units,
            input: model.input.as_ref().map(input_encoding).unwrap_or_default(),
            classes,
            threads: model.threads.map(usize::from),
        })
    }

    fn check_model_name(&mut self, name: &str, at: &KeyPath) {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
            let remedy = "use letters, digits, _ and - only, to distinguish the name from a path";
            self.problem(at, format!("{name:?} is not a valid model name"), remedy);
        }
    }

    fn model_files(&mut self, model: &ModelSection, at: &KeyPath) -> Option<ModelFilePaths> {
        let path = self.onnx_path(&model.path, &at.key("path"))?;
        let ModelSection { int8, int8_sha256, half, half_sha256, .. } = model;
        let int8 = self.twin_path(["int8", "int8_sha256"], (int8.as_deref(), int8_sha256.as_deref()), at)?;
        let half = self.twin_path(["half", "half_sha256"], (half.as_deref(), half_sha256.as_deref()), at)?;
        Some(ModelFilePaths { path: path.into(), int8, half })
    }

    /// Returns the path of a twin, which is given with its digest under these keys; `None`: the path is a mistake.
    #[expect(clippy::option_option, reason = "a twin that is a mistake is not one that is absent")]
    fn twin_path(
        &mut self,
        [key, digest_key]: [&str; 2],
        (twin, sha256): (Option<&str>, Option<&str>),
        at: &KeyPath,
    ) -> Option<Option<PathBuf>> {
        let Some(twin) = twin else {
            if sha256.is_some() {
                self.problem(
                    &at.key(digest_key),
                    format!("there is no `{key}`"),
                    format!("remove it, or name the twin under `{key}`"),
                );
            }
            return Some(None);
        };
        Some(Some(self.onnx_path(twin, &at.key(key))?.into()))
    }

    /// Reports the keys that do not fit the layout `yolox`.
    fn check_yolox(&mut self, model: &ModelSection, at: &KeyPath) {
        if model.layout != LayoutChoice::Yolox {
            return;
        }
        // YOLOX takes BGR from 0 to 255; a missing `input` would be RGB from 0 to 1, and find nothing.
        if model.input.is_none() {
            let message = "layout yolox requires an `input`: YOLOX does not take RGB from 0 to 1";
            let remedy = "add `input: { range: 0..255, order: bgr }`, or the encoding of your export";
            self.problem(&at.key("layout"), message, remedy);
        }
        if model.box_units == BoxUnits::Normalized {
            let message = "layout yolox does not support `box_units: normalized`: its boxes are relative to the cells of its grid";
            self.problem(&at.key("box_units"), message, "remove `box_units`");
        }
    }

    /// Returns `true` if a camera recognizes text with the model.
    fn is_recognition_model(&self, name: &str) -> bool {
        let entries = self.raw.cameras.iter().flat_map(|camera| &camera.pipeline);
        entries.filter_map(|entry| entry.alpr.as_deref()).any(|alpr| alpr.ocr_weights == name)
    }

    /// Returns the model that `given` names, shared by all entries that name it.
    pub(super) fn model(&mut self, given: &str, at: &KeyPath, needed: bool) -> Option<Arc<ModelSpec>> {
        // A name under `models` precedes a path: model names cannot contain `/` or `.`.
        if let Some(model) = self.named_models.get(given) {
            let model = model.clone();
            // The mistake is in the file name under `models`, not in the entry that uses it.
            if let Some(section) = self.raw.models.get(given) {
                let at = root_key("models").key(given);
                self.require_file(&section.path, at.key("path"), needed);
                for (key, twin) in [("int8", &section.int8), ("half", &section.half)] {
                    twin.iter().for_each(|twin| self.require_file(twin, at.key(key), needed));
                }
            }
            return model;
        }
        if !looks_like_path(given) {
            self.report_unknown_model(given, at);
            return None;
        }
        let path = self.onnx_path(given, at)?.to_owned();
        self.require_file(&path, at.clone(), needed);
        let model = self.inline_models.entry(path).or_insert_with_key(|path| Arc::new(inline_model(path)));
        Some(Arc::clone(model))
    }

    /// Records a file that must exist. Remote files are fetched later, and not recorded.
    fn require_file(&mut self, path: &str, key: KeyPath, needed: bool) {
        let needed = needed && Address::parse(path).is_none();
        // Reported once, at the key that names the file first.
        if needed && !self.needed_files.contains_key(path) {
            self.needed_files.insert(path.to_owned(), key);
        }
    }

    fn report_unknown_model(&mut self, given: &str, at: &KeyPath) {
        let names: Vec<&str> = self.named_models.keys().copied().collect();
        let remedy = match closest(given, &names) {
            Some(name) => format!("did you mean `{name}`?"),
            None if names.is_empty() => {
                "add it under `models`, or write the path of an .onnx file".to_owned()
            }
            None => format!("the models are {}; or write the path of an .onnx file", names.join(", ")),
        };
        self.problem(at, format!("there is no model {given:?} under `models`"), remedy);
    }

    fn onnx_path<'p>(&mut self, path: &'p str, at: &KeyPath) -> Option<&'p str> {
        let (message, remedy) = match refusal(path) {
            None => return Some(path),
            Some(refusal) => refusal,
        };
        self.problem(at, message, remedy);
        None
    }
}

/// Returns a digest in lower case, in which the cache names files.
fn lower_case(digest: Option<&str>) -> Option<String> {
    digest.map(str::to_ascii_lowercase)
}

fn input_encoding(input: &ModelInput) -> InputEncoding {
    let default = InputEncoding::default();
    let white = match input.range {
        InputRange::Unit => 1.0,
        InputRange::Bytes => 255.0,
    };
    // The schema admits three numbers or none.
    let three = |given: &Option<Vec<f64>>, default: [f32; 3]| match given.as_deref() {
        Some([a, b, c]) => [*a, *b, *c].map(narrow),
        _ => default,
    };
    let (mean, std) = (three(&input.mean, default.mean), three(&input.std, default.std));
    InputEncoding { white, mean, std, bgr: input.order == ChannelOrder::Bgr }
}

/// Returns a model that is named by its file, for messages and metrics.
fn inline_model(path: &str) -> ModelSpec {
    let name = match Address::parse(path) {
        Some(Ok(address)) => address.file_name().to_owned(),
        _ => {
            Path::new(path).file_name().map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into())
        }
    };
    ModelSpec { name, path: path.into(), ..ModelSpec::default() }
}

/// Returns `true` for a path: names under `models` have neither separators nor an extension.
fn looks_like_path(given: &str) -> bool {
    given.contains(['/', '\\']) || Path::new(given).extension().is_some()
}

/// Returns the message and remedy for a path that does not name a usable model file.
fn refusal(path: &str) -> Option<(String, String)> {
    // `None`: a local path. An address is checked for its scheme, bucket and key as well.
    let address = match Address::parse(path) {
        Some(Err(AddressError { message, remedy })) => return Some((message, remedy.to_owned())),
        Some(Ok(address)) => Some(address),
        None => None,
    };
    let file = address.as_ref().map_or(path, Address::file_name);
    let extension =
        Path::new(file).extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    match extension.as_str() {
        "pt" | "pth" => Some(pytorch_refusal(path)),
        // The name of a remote file need not have an extension.
        _ if address.is_some() => None,
        "onnx" => None,
        _ => Some((
            format!("{path:?} is not an .onnx file"),
            "export the model to ONNX and write the path of the .onnx file".to_owned(),
        )),
    }
}

/// Returns the message and remedy for the weights of PyTorch.
fn pytorch_refusal(path: &str) -> (String, String) {
    (
        format!("{path:?} contains PyTorch weights, which only Python can read"),
        "export them to ONNX where they were trained: `torch.onnx.export(model, images, \"model.onnx\")`, \
         or `yolo export model=model.pt format=onnx`; then write the path of the .onnx file"
            .to_owned(),
    )
}
