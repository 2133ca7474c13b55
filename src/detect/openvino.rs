//! OpenVINO's plugin for ONNX Runtime: found beside ONNX Runtime, registered once, used on the CPU.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::memory::DeviceType;
use ort::session::builder::SessionBuilder;

use super::runtime::{self, RuntimeFault, Variables};
use crate::base::{MAX_MESSAGE_CHARS, clean_text};

/// The plugin, in the folder `openvino` beside ONNX Runtime's library.
const LIBRARY: &str = "libonnxruntime_providers_openvino_plugin.so";

/// The name by which the plugin's devices are found.
pub(super) const PROVIDER: &str = "OpenVINOExecutionProvider";

/// The state of the plugin in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PluginState {
    /// It has the CPU.
    Usable,
    /// There is no such file.
    Absent(String),
    /// It loads and does not offer the CPU.
    NoDevice(String),
    /// It does not load.
    Broken(String),
}

/// Returns the state of the plugin, which is registered at the first call.
///
/// # Errors
/// There is no ONNX Runtime.
pub(super) fn plugin() -> Result<PluginState, RuntimeFault> {
    static REGISTERED: Mutex<Option<PluginState>> = Mutex::new(None);
    let environment = runtime::environment()?;
    let mut registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
    // A plugin cannot be unloaded while sessions use it, so the first answer is that of the process.
    Ok(registered.get_or_insert_with(|| register(&environment)).clone())
}

fn register(environment: &Environment) -> PluginState {
    let library = match place(&|name| env::var_os(name), runtime::library().as_deref()) {
        Ok(library) if library.exists() => library,
        Ok(library) => {
            let library = library.display();
            return PluginState::Absent(format!(
                "its plugin {library} does not exist; `scripts/setup` installs it"
            ));
        }
        Err(reason) => return PluginState::Absent(reason.to_owned()),
    };
    if let Err(error) = environment.register_ep_library("openvino", &library) {
        let reason = clean_text(&error.to_string(), MAX_MESSAGE_CHARS);
        return PluginState::Broken(format!("its plugin {} does not load: {reason}", library.display()));
    }
    match cpu_of(environment).next() {
        Some(_) => PluginState::Usable,
        // Release 1.8.1 compares the vendor of the processor with Intel.
        None => PluginState::NoDevice(format!(
            "its plugin {} does not support this processor: it offers Intel's only",
            library.display()
        )),
    }
}

fn cpu_of(environment: &Environment) -> impl Iterator<Item = ort::device::Device<'_>> {
    environment.devices().filter(|device| {
        device.ep().is_ok_and(|provider| provider == PROVIDER)
            && device.hardware_device().ty() == DeviceType::CPU
    })
}

/// Returns the file of the plugin: that of `OPENVINO_PLUGIN_PATH`, else the one beside ONNX Runtime, or the reason if it has no place.
fn place(variables: Variables<'_>, runtime: Option<&Path>) -> Result<PathBuf, &'static str> {
    match variables("OPENVINO_PLUGIN_PATH").filter(|path| !path.is_empty()) {
        Some(path) if path == "off" => Err("OPENVINO_PLUGIN_PATH is off"),
        Some(path) => Ok(PathBuf::from(path)),
        // A library that the loader found by its name has no known folder, and the current one could be anyone's.
        None => match runtime.and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) => Ok(folder.join("openvino").join(LIBRARY)),
            None => {
                Err("the folder of ONNX Runtime is unknown; set OPENVINO_PLUGIN_PATH to the plugin's library")
            }
        },
    }
}

/// Adds OpenVINO on the CPU to a session; nodes that it does not support stay with ONNX Runtime.
pub(super) fn with_openvino(
    builder: SessionBuilder,
    environment: &Environment,
    threads: usize,
) -> ort::Result<SessionBuilder> {
    // f32: processors with bfloat16 would otherwise round float32 to it. No pinning: each model would pin its threads to the same
    // cores, on which cameras are decoded.
    let config = format!(
        r#"{{"CPU":{{"INFERENCE_NUM_THREADS":{threads},"NUM_STREAMS":1,"INFERENCE_PRECISION_HINT":"f32","ENABLE_CPU_PINNING":false}}}}"#
    );
    let options = [(format!("{PROVIDER}.load_config"), config)];
    Ok(builder.with_devices(cpu_of(environment).take(1), Some(&options))?)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn the_plugin_is_beside_onnx_runtime_unless_a_variable_names_it() {
        let beside = Some("/opt/ort/libonnxruntime.so");
        let plugin = "/opt/ort/openvino/libonnxruntime_providers_openvino_plugin.so";
        for (variable, runtime, want) in [
            (None, beside, Some(plugin)),
            (Some(""), beside, Some(plugin)),
            (Some("/a/plugin.so"), beside, Some("/a/plugin.so")),
            (Some("/a/plugin.so"), None, Some("/a/plugin.so")),
            (Some("off"), beside, None),
            (None, None, None),
            (None, Some("libonnxruntime.so"), None),
        ] {
            let variables = |_: &str| variable.map(OsString::from);
            let place = place(&variables, runtime.map(Path::new)).ok();
            assert_eq!(place, want.map(PathBuf::from), "{variable:?} {runtime:?}");
        }
    }
}
