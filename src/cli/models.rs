//! `models`: loads the models of a configuration and prints what they are.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use super::config_args::ConfigArgs;
use super::exit;
use crate::config::Settings;
use crate::detect::ocr::{Reader, ReaderInfo};
use crate::detect::{DetectError, Detector, Device, ModelInfo, ModelSpec, usual_threads};

/// Class names that are shown; of more, the number is.
const SHOWN_CLASSES: usize = 4;

/// Loads the models of a configuration and shows their layout, input, classes, device and measured time.
///
/// Exit codes: 0 all can be used; 78 the configuration is wrong or a model cannot be used.
#[derive(Clone, Debug, clap::Args)]
pub struct ModelsArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

impl ModelsArgs {
    /// Prints the table.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.config.load()?;
        let (finding, reading) = specs(&settings);
        let failed = print_models(&mut io::stdout().lock(), &finding, &reading, settings.device)?;
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::CONFIG) })
    }
}

/// The models that the cameras find with and then those that they read with, each once, in the order of the file.
pub(super) fn specs(settings: &Settings) -> (Vec<ModelSpec>, Vec<ModelSpec>) {
    let entries = || settings.cameras.iter().flat_map(|camera| &camera.pipeline);
    let reading = entries().filter_map(|entry| Some(&entry.reading.as_ref()?.model));
    (each_once(entries().map(|entry| &entry.model)), each_once(reading))
}

fn each_once<'a>(models: impl Iterator<Item = &'a Arc<ModelSpec>>) -> Vec<ModelSpec> {
    let mut specs: Vec<ModelSpec> = Vec::new();
    for model in models {
        if !specs.contains(model) {
            specs.push(ModelSpec::clone(model));
        }
    }
    specs
}

/// Loads each model, measures it and writes a table; a model that cannot be used has its error instead of its row.
/// Gives the number of those.
///
/// Errors: `out` cannot be written.
pub fn print_models(
    out: &mut impl Write,
    finding: &[ModelSpec],
    reading: &[ModelSpec],
    device: Device,
) -> io::Result<usize> {
    let threads = usual_threads(finding.len() + reading.len());
    let specs = || finding.iter().chain(reading);
    let width = specs().map(|spec| spec.name.chars().count()).chain(["MODEL".len()]).max().unwrap_or(0);
    write_row(out, width, ["MODEL", "LAYOUT", "INPUT", "DEVICE", "INFER MS", "CLASSES"])?;
    let mut failed = 0;
    for (index, spec) in specs().enumerate() {
        let printed = if index < finding.len() {
            let detector = Detector::start(spec, device, threads);
            detector.map(|detector| print_model(out, width, detector.info()))
        } else {
            Reader::start(spec, device, threads).map(|reader| print_reader(out, width, reader.info()))
        };
        match printed {
            Ok(printed) => printed?,
            Err(error) => {
                failed += 1;
                print_error(out, width, spec, &error)?;
            }
        }
        out.flush()?;
    }
    Ok(failed)
}

fn print_model(out: &mut impl Write, width: usize, info: &ModelInfo) -> io::Result<()> {
    let (layout, input) = (info.layout.as_str(), info.input.to_string());
    let (device, infer_ms, classes) =
        (info.device.to_string(), format!("{:.1}", info.infer_ms), classes(&info.classes));
    write_row(out, width, [&info.id.name, layout, &input, &device, &infer_ms, &classes])?;
    print_fallback(out, width, info.fallback.as_deref())
}

fn print_reader(out: &mut impl Write, width: usize, info: &ReaderInfo) -> io::Result<()> {
    let (input, device) = (info.input.to_string(), info.device.to_string());
    let (infer_ms, characters) = (format!("{:.1}", info.infer_ms), format!("{} characters", info.characters));
    write_row(out, width, [&info.id.name, "ctc", &input, &device, &infer_ms, &characters])?;
    print_fallback(out, width, info.fallback.as_deref())
}

fn print_fallback(out: &mut impl Write, width: usize, why: Option<&str>) -> io::Result<()> {
    match why {
        Some(why) => writeln!(out, "{:width$}  CUDA was tried: {why}", ""),
        None => Ok(()),
    }
}

fn print_error(out: &mut impl Write, width: usize, spec: &ModelSpec, error: &DetectError) -> io::Result<()> {
    writeln!(out, "{:width$}  cannot be used: {error}", spec.name)
}

fn write_row(
    out: &mut impl Write,
    width: usize,
    [model, layout, input, device, ms, classes]: [&str; 6],
) -> io::Result<()> {
    writeln!(out, "{model:width$}  {layout:6}  {input:18}  {device:7}  {ms:>8}  {classes}")
}

fn classes(names: &[Arc<str>]) -> String {
    let shown: Vec<&str> = names.iter().take(SHOWN_CLASSES).map(|name| &**name).collect();
    let more = if names.len() > SHOWN_CLASSES { ", ..." } else { "" };
    format!("{}: {}{more}", names.len(), shown.join(", "))
}
