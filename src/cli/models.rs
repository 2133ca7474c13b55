//! `models`: loads the models of a configuration and prints a table of them, or makes a twin of one.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use super::config_args::ConfigArgs;
use super::fetching::{FetchedModel, fetch_all};
use super::twins::{HalfArgs, QuantizeArgs};
use super::{exit, run_on_runtime};
use crate::base::escaped;
use crate::config::{CameraSpec, Settings};
use crate::detect::ocr::{TextModelInfo, TextReader};
use crate::detect::{
    CpuFallback, DetectError, Detector, Device, EngineInfo, ModelInfo, ModelSpec, Purpose, usual_threads,
};

/// Maximum number of class names in a row.
const MAX_SHOWN_CLASSES: usize = 4;

/// Loads the models of a configuration and prints their layout, input, device, engine, inference time and classes.
///
/// BY is the reason for the layout: config (`layout` names it), shape (only this layout has these shapes), metadata, values
/// (the numbers of the first inference), or rows (the number of boxes).
///
/// Models from s3:// and https:// are first fetched into the cache folder, with their progress on standard error.
///
/// Exit codes: 0 all models can be used; 78 the configuration is invalid or a model cannot be used.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ModelsArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Option<ModelsCommand>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum ModelsCommand {
    Quantize(Box<QuantizeArgs>),
    Half(Box<HalfArgs>),
}

impl ModelsArgs {
    /// Prints the table, or makes a twin of a model.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Some(ModelsCommand::Quantize(quantize)) => return quantize.run(),
            Some(ModelsCommand::Half(half)) => return half.run(),
            None => {}
        }
        let settings = self.config.load()?;
        run_on_runtime(async {
            let specs = specs(&settings);
            let models = self.config.models_of(&settings, &specs).await?;
            let fetched = fetch_all(&models, specs).await;
            tokio::task::block_in_place(|| print_fetched(&fetched, settings.device.first()))
        })
    }
}

/// Prints the table, and below it the models that were not fetched.
fn print_fetched(fetched: &[FetchedModel], device: Device) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let local_specs: Vec<(Purpose, ModelSpec)> =
        fetched.iter().filter_map(|(purpose, _, local)| Some((*purpose, local.clone().ok()?))).collect();
    let mut failed = print_models(&mut out, &local_specs, device)?;
    for (_, spec, local) in fetched {
        if let Err(error) = local {
            failed += 1;
            writeln!(out, "{}  cannot be used: {}", spec.name, escaped(&error.to_string()))?;
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::CONFIG) })
}

/// Returns the models that the cameras use, each once, in the order of the file.
pub(super) fn specs(settings: &Settings) -> Vec<(Purpose, ModelSpec)> {
    let mut specs = Vec::new();
    for (purpose, model) in settings.cameras.iter().flat_map(CameraSpec::models) {
        let spec = (purpose, ModelSpec::clone(model));
        // Specs have no order and few models exist, so a search is enough.
        if !specs.contains(&spec) {
            specs.push(spec);
        }
    }
    specs
}

/// Loads and measures each model, and writes a table. The row of a model that cannot be used is its error.
///
/// Returns the number of models that cannot be used.
///
/// Errors: `out` cannot be written.
pub fn print_models(
    out: &mut impl Write,
    specs: &[(Purpose, ModelSpec)],
    device: Device,
) -> io::Result<usize> {
    let threads = usual_threads(specs.len());
    let names = specs.iter().map(|(_, spec)| spec.name.chars().count());
    let width = names.chain(["MODEL".len()]).max().unwrap_or(0);
    write_row(out, width, ["MODEL", "LAYOUT", "BY", "INPUT", "DEVICE", "ENGINE", "INFER MS", "CLASSES"])?;
    let mut failed = 0;
    for (purpose, spec) in specs {
        match MeasuredModel::start(*purpose, spec, device, threads) {
            Ok(model) => model.print(out, width)?,
            Err(error) => {
                failed += 1;
                print_error(out, width, spec, &error)?;
            }
        }
        // A model takes seconds, so each row is shown as soon as it is known.
        out.flush()?;
    }
    Ok(failed)
}

/// A loaded model, whose facts are a row of the table.
enum MeasuredModel {
    Detector(Detector),
    TextReader(TextReader),
}

impl MeasuredModel {
    /// Loads and measures a model.
    fn start(
        purpose: Purpose,
        spec: &ModelSpec,
        device: Device,
        threads: usize,
    ) -> Result<Self, DetectError> {
        match purpose {
            Purpose::Find => Detector::start(spec, device, threads).map(Self::Detector),
            Purpose::Read => TextReader::start(spec, device, threads).map(Self::TextReader),
        }
    }

    fn print(&self, out: &mut impl Write, width: usize) -> io::Result<()> {
        match self {
            Self::Detector(detector) => print_model(out, width, &detector.info()),
            Self::TextReader(reader) => print_reader(out, width, &reader.info()),
        }
    }
}

fn print_model(out: &mut impl Write, width: usize, info: &ModelInfo) -> io::Result<()> {
    let (layout, by, input) = (info.layout.as_str(), info.layout_source.as_str(), info.input.to_string());
    let (device, engine) = (info.device.to_string(), info.engine.to_string());
    let (infer_ms, classes) = (format!("{:.1}", info.infer_ms), classes(&info.classes));
    write_row(out, width, [&info.id.name, layout, by, &input, &device, &engine, &infer_ms, &classes])?;
    print_notes(out, width, &info.engine, info.fallback.as_ref())
}

fn print_reader(out: &mut impl Write, width: usize, info: &TextModelInfo) -> io::Result<()> {
    // CTC is the only layout of text recognition, so its source is always the shape.
    let (input, device, engine) = (info.input.to_string(), info.device.to_string(), info.engine.to_string());
    let (infer_ms, characters) = (format!("{:.1}", info.infer_ms), format!("{} characters", info.characters));
    write_row(out, width, [&info.id.name, "ctc", "shape", &input, &device, &engine, &infer_ms, &characters])?;
    print_notes(out, width, &info.engine, info.fallback.as_ref())
}

/// Prints the reasons for which a model does not run where it could, below its row.
fn print_notes(
    out: &mut impl Write,
    width: usize,
    engine: &EngineInfo,
    fallback: Option<&CpuFallback>,
) -> io::Result<()> {
    if let Some(CpuFallback { reason, .. }) = fallback {
        writeln!(out, "{:width$}  CUDA was tried: {}", "", escaped(reason))?;
    }
    match engine.notes() {
        Some(note) => writeln!(out, "{:width$}  {}", "", escaped(&note)),
        None => Ok(()),
    }
}

fn print_error(out: &mut impl Write, width: usize, spec: &ModelSpec, error: &DetectError) -> io::Result<()> {
    writeln!(out, "{:width$}  cannot be used: {}", spec.name, escaped(&error.to_string()))
}

fn write_row(
    out: &mut impl Write,
    width: usize,
    [model, layout, by, input, device, engine, ms, classes]: [&str; 8],
) -> io::Result<()> {
    writeln!(
        out,
        "{model:width$}  {layout:12}  {by:8}  {input:18}  {device:7}  {engine:28}  {ms:>8}  {classes}"
    )
}

fn classes(names: &[Arc<str>]) -> String {
    let shown: Vec<&str> = names.iter().take(MAX_SHOWN_CLASSES).map(|name| &**name).collect();
    let more = if names.len() > MAX_SHOWN_CLASSES { ", ..." } else { "" };
    format!("{}: {}{more}", names.len(), escaped(&shown.join(", ")))
}
