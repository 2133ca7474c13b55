//! `models`, and what a MODEL names.

use std::path::Path;
use std::sync::Arc;

use crate::detect::{InputEncoding, ModelSpec};
use crate::remote::{Address, AddressError};
use kvs_config::written::{BoxUnits, ChannelOrder, InputRange, LayoutChoice, Model, ModelInput};
use kvs_config::{KeyPath, closest};

use super::roi::narrow;
use super::{Lowering, root_key};

impl Lowering<'_> {
    /// Reads `models`; each is checked, whether it is used or not.
    pub(super) fn named_models(&mut self) {
        for (name, model) in &self.written.models {
            let spec = self.named_model(name, model);
            self.named_models.insert(name, spec.map(Arc::new));
        }
    }

    fn named_model(&mut self, name: &str, model: &Model) -> Option<ModelSpec> {
        let at = root_key("models").key(name);
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
            let remedy = "name it with letters, digits, _ and - only, so that it cannot be taken for a path";
            self.problem(&at, format!("{name:?} cannot be the name of a model"), remedy);
        }
        let classes = match &model.classes {
            None => None,
            Some(classes) => Some(self.classes(classes, self.is_reader(name), &at.key("classes"))?),
        };
        let path = self.onnx_path(&model.path, &at.key("path"))?;
        let sha256 = model.sha256.as_ref().map(|digest| digest.to_ascii_lowercase());
        if model.layout == LayoutChoice::Yolox && model.input.is_none() {
            let message = "layout yolox without an `input`: YOLOX does not take RGB from 0 to 1";
            let remedy = "add `input: { range: 0..255, order: bgr }`, or what your export takes";
            self.problem(&at.key("layout"), message, remedy);
        }
        if model.layout == LayoutChoice::Yolox && model.box_units == BoxUnits::Normalized {
            let message =
                "layout yolox with `box_units: normalized`: its boxes are relative to the cells of its grid";
            self.problem(&at.key("box_units"), message, "leave `box_units` out");
        }
        let input = model.input.as_ref().map(input_encoding).unwrap_or_default();
        Some(ModelSpec {
            name: name.to_owned(),
            path: path.into(),
            sha256,
            layout: model.layout,
            box_units: model.box_units,
            input,
            classes,
            threads: model.threads.map(usize::from),
        })
    }

    /// Returns `true` where a camera reads text by the model.
    fn is_reader(&self, name: &str) -> bool {
        let entries = self.written.cameras.iter().flat_map(|camera| &camera.pipeline);
        entries.filter_map(|entry| entry.alpr.as_deref()).any(|alpr| alpr.ocr_weights == name)
    }

    /// The model that a MODEL names, shared with all who name the same.
    pub(super) fn model(&mut self, given: &str, at: &KeyPath, needed: bool) -> Option<Arc<ModelSpec>> {
        if let Some(model) = self.named_models.get(given) {
            let model = model.clone();
            let path = self.written.models.get(given).map_or("", |model| &model.path);
            self.note_needed(path, root_key("models").key(given).key("path"), needed);
            return model;
        }
        if !looks_like_path(given) {
            self.unknown_model(given, at);
            return None;
        }
        let path = self.onnx_path(given, at)?.to_owned();
        self.note_needed(&path, at.clone(), needed);
        let model =
            self.models_in_place.entry(path).or_insert_with_key(|path| Arc::new(model_in_place(path)));
        Some(Arc::clone(model))
    }

    /// Notes a file that must be there; those that are elsewhere are fetched when they are needed.
    fn note_needed(&mut self, path: &str, key: KeyPath, needed: bool) {
        let needed = needed && Address::parse(path).is_none();
        if needed && !self.needed_files.contains_key(path) {
            self.needed_files.insert(path.to_owned(), key);
        }
    }

    fn unknown_model(&mut self, given: &str, at: &KeyPath) {
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

fn input_encoding(input: &ModelInput) -> InputEncoding {
    let usual = InputEncoding::default();
    let white = match input.range {
        InputRange::Unit => 1.0,
        InputRange::Bytes => 255.0,
    };
    let three = |given: &Option<Vec<f64>>, usual: [f32; 3]| match given.as_deref() {
        Some([a, b, c]) => [*a, *b, *c].map(narrow),
        _ => usual,
    };
    let (mean, std) = (three(&input.mean, usual.mean), three(&input.std, usual.std));
    InputEncoding { white, mean, std, bgr: input.order == ChannelOrder::Bgr }
}

fn model_in_place(path: &str) -> ModelSpec {
    let name = match Address::parse(path) {
        Some(Ok(address)) => address.file_name().to_owned(),
        _ => {
            Path::new(path).file_name().map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into())
        }
    };
    ModelSpec { name, path: path.into(), ..ModelSpec::default() }
}

fn looks_like_path(given: &str) -> bool {
    given.contains(['/', '\\']) || Path::new(given).extension().is_some()
}

/// Why `path` names no model file that can be used, and what to do.
fn refusal(path: &str) -> Option<(String, String)> {
    let address = match Address::parse(path) {
        Some(Err(AddressError { message, remedy })) => return Some((message, remedy.to_owned())),
        Some(Ok(address)) => Some(address),
        None => None,
    };
    let file = address.as_ref().map_or(path, Address::file_name);
    let extension =
        Path::new(file).extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    match extension.as_str() {
        "pt" | "pth" => Some((
            format!("{path:?} holds PyTorch weights, which only Python can read"),
            "export them once to ONNX where they were trained: `torch.onnx.export(model, images, \"model.onnx\")`, \
             or `yolo export model=model.pt format=onnx`; then write the path of the .onnx file"
                .to_owned(),
        )),
        // What a server sends need not be named by its form.
        _ if address.is_some() => None,
        "onnx" => None,
        _ => Some((
            format!("{path:?} is no .onnx file"),
            "export the model to ONNX and write the path of the .onnx file".to_owned(),
        )),
    }
}
