//! `models`, and what a MODEL names.

use std::path::Path;
use std::sync::Arc;

use crate::detect::{InputEncoding, ModelSpec};
use crate::remote::{Address, AddressError};
use kvs_config::written::{ChannelOrder, ClassList, InputRange, LayoutChoice, Model, ModelInput};
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
            Some(ClassList::Inline(names)) => Some(names.clone()),
            Some(ClassList::File(path)) => Some(self.class_file(path, &at.key("classes"))?),
        };
        let path = self.onnx_path(&model.path, &at.key("path"))?;
        let sha256 = model.sha256.as_ref().map(|digest| digest.to_ascii_lowercase());
        if model.layout == LayoutChoice::Yolox && model.input.is_none() {
            let message = "layout yolox without an `input`: YOLOX does not take RGB from 0 to 1";
            let remedy = "add `input: { range: 0..255, order: bgr }`, or what your export takes";
            self.problem(&at.key("layout"), message, remedy);
        }
        let input = model.input.as_ref().map(input_encoding).unwrap_or_default();
        Some(ModelSpec {
            name: name.to_owned(),
            path: path.into(),
            sha256,
            layout: model.layout,
            input,
            classes,
            threads: model.threads.map(usize::from),
        })
    }

    /// The names in a file, one a line; empty lines at its end do not count.
    fn class_file(&mut self, path: &str, at: &KeyPath) -> Option<Vec<String>> {
        if path.contains("://") {
            let remedy =
                "write the names in place: classes: [name, name]; or the path of a file of this machine";
            self.problem(at, format!("{path:?}: class names are not fetched from elsewhere"), remedy);
            return None;
        }
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(why) => {
                let remedy = "correct the path, or write the names in place: classes: [name, name]";
                self.problem(at, format!("the class file {path} cannot be read: {why}"), remedy);
                return None;
            }
        };
        let text = match plain_text(bytes) {
            Ok(text) => text,
            Err(why) => {
                let message = format!("the class file {path} is not UTF-8 text: {why}");
                self.problem(at, message, "save it as UTF-8, one name a line");
                return None;
            }
        };
        // A line of blanks is a character: a recognition model may write the wide space of Chinese.
        let name = |line: &str| if line.trim().is_empty() { line } else { line.trim() }.to_owned();
        let names: Vec<String> = text.trim_end_matches('\n').lines().map(name).collect();
        if let Some(empty) = names.iter().position(String::is_empty) {
            let message = format!("line {} of the class file {path} is empty", empty + 1);
            self.problem(at, message, "write one class name a line, in the order of the model");
            return None;
        }
        Some(names)
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

/// The text of a file without a byte order mark and with `\n` at the ends of its lines; UTF-16 with its mark is read too.
///
/// # Errors
/// The text is of another encoding, or has a NUL.
fn plain_text(bytes: Vec<u8>) -> Result<String, String> {
    let units =
        |order: fn([u8; 2]) -> u16| bytes[2..].chunks_exact(2).map(move |pair| order([pair[0], pair[1]]));
    let text = match bytes.get(..2) {
        Some([0xff, 0xfe]) => char::decode_utf16(units(u16::from_le_bytes)).collect::<Result<String, _>>(),
        Some([0xfe, 0xff]) => char::decode_utf16(units(u16::from_be_bytes)).collect::<Result<String, _>>(),
        _ => return utf8(bytes),
    };
    lines_of(&text.map_err(|error| error.to_string())?)
}

fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} has bytes of another encoding")
    })?;
    lines_of(text.trim_start_matches('\u{feff}'))
}

fn lines_of(text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err("it has U+0000 (NUL), as UTF-16 without its mark does".to_owned());
    }
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
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
