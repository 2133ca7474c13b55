//! The model of a command that makes a twin, by its file or by its name in the configuration.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tokio::runtime::Runtime;

use super::clip_frames::ClipFrames;
use crate::cli::config_args::ConfigArgs;
use crate::cli::{UsageError, frames_per_second};
use crate::config::Settings;
use crate::detect::{Device, ModelSpec, Purpose, Thresholds};

/// The confidence threshold for a model that is named by its file: the default of `conf_threshold`.
const DEFAULT_CONF: f32 = 0.4;
/// The IoU of the non-maximum suppression for such a model: the default of `nms_iou`.
const DEFAULT_NMS_IOU: f32 = 0.5;

/// The arguments that both commands have.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ModelArgs {
    /// ONNX file, or a name under `models` of the configuration, which then gives layout, input, classes and threshold
    model: String,
    /// Frames per second of the clips that are used
    #[arg(long, default_value_t = 2.0, value_parser = frames_per_second)]
    fps: f64,
    /// Confidence threshold, 0 to 1; by default that of the configuration, else 0.4
    #[arg(long)]
    conf: Option<f32>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// A float32 model and the file that is made of it.
pub(super) struct TwinOrder {
    /// The model, with a path on this machine.
    pub(super) spec: ModelSpec,
    pub(super) thresholds: Thresholds,
    /// The device of the configuration.
    pub(super) device: Device,
    /// The file to write.
    pub(super) out: PathBuf,
}

/// A float32 model, with a path on this machine.
struct FoundModel {
    spec: ModelSpec,
    thresholds: Thresholds,
    device: Device,
    /// `true` if the configuration names an address, and the path is in the cache.
    is_fetched: bool,
}

impl ModelArgs {
    /// Returns the model, and `out` or the file beside the model with this extension.
    ///
    /// # Errors
    /// The configuration or the model cannot be used, or there is no place for the file.
    pub(super) fn order(
        &self,
        runtime: &Runtime,
        out: Option<&Path>,
        extension: &str,
    ) -> anyhow::Result<TwinOrder> {
        let FoundModel { spec, mut thresholds, device, is_fetched } = self.found(runtime)?;
        thresholds.conf = self.conf.unwrap_or(thresholds.conf);
        // The cache of fetched models is no place for it: what no configuration names is deleted there.
        if out.is_none() && is_fetched {
            let message = format!("{} is fetched: give the twin's path with --out", self.model);
            return Err(UsageError(message).into());
        }
        let out = out.map_or_else(|| spec.path.with_extension(extension), Path::to_owned);
        if out == spec.path {
            let message = format!("--out {}: that is the model itself", out.display());
            return Err(UsageError(message).into());
        }
        Ok(TwinOrder { spec, thresholds, device, out })
    }

    /// Reads the clips.
    ///
    /// # Errors
    /// A clip cannot be used.
    pub(super) fn read_clips(&self, runtime: &Runtime, paths: &[PathBuf]) -> anyhow::Result<Vec<ClipFrames>> {
        let read = |path: &PathBuf| {
            let clip = runtime.block_on(ClipFrames::read(path, self.fps));
            clip.with_context(|| format!("cannot use the clip {}", path.display()))
        };
        paths.iter().map(read).collect()
    }

    fn found(&self, runtime: &Runtime) -> anyhow::Result<FoundModel> {
        let path = Path::new(&self.model);
        if path.extension().is_some() || self.model.contains('/') {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let spec = ModelSpec { name, path: path.to_owned(), ..ModelSpec::default() };
            let thresholds = Thresholds { conf: DEFAULT_CONF, nms_iou: DEFAULT_NMS_IOU };
            return Ok(FoundModel { spec, thresholds, device: Device::Auto(0), is_fetched: false });
        }
        let settings = self.config.load()?;
        let (spec, thresholds) = configured(&settings, &self.model)?;
        // The existing twins are not read: one of them may be the one that is made again.
        let spec = ModelSpec { int8: None, int8_sha256: None, half: None, half_sha256: None, ..spec };
        let local = runtime.block_on(async {
            let fetcher = self.config.models_of(&settings, &[(Purpose::Find, spec.clone())]).await?;
            anyhow::Ok(fetcher.local(&spec, &|_| {}).await?)
        });
        let is_fetched = spec.addresses().next().is_some();
        Ok(FoundModel { spec: local?, thresholds, device: settings.device.first(), is_fetched })
    }
}

/// Returns the detector of this name, and the lowest threshold of the entries that use it.
fn configured(settings: &Settings, name: &str) -> anyhow::Result<(ModelSpec, Thresholds)> {
    let entries = || settings.cameras.iter().flat_map(|camera| &camera.pipeline);
    let uses = entries().filter(|entry| entry.model.name == name);
    match uses.min_by(|a, b| a.rules.thresholds.conf.total_cmp(&b.rules.thresholds.conf)) {
        Some(entry) => Ok((ModelSpec::clone(&entry.model), entry.rules.thresholds)),
        None => {
            let mut names: Vec<&str> = entries().map(|entry| entry.model.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            bail!(
                "no camera detects with a model {name:?}; the detectors are {}; or give the path of an .onnx file",
                names.join(", ")
            )
        }
    }
}
