//! Finding and loading ONNX Runtime, a shared library that is installed beside the program.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

use crate::telemetry::detect::RuntimeLog;

const LIBRARY: &str = "libonnxruntime.so";

/// A reason for which ONNX Runtime cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeFault {
    /// No place has a library that loads.
    #[error(
        "ONNX Runtime was not found; tried {tried}. Run `scripts/setup`, or set ORT_DYLIB_PATH to the full path of \
         libonnxruntime.so, version 1.24 or later"
    )]
    Missing {
        /// The places, each with what happened there.
        tried: String,
    },
    /// It loaded and does not start.
    #[error("ONNX Runtime at {} does not start: {reason}; run `scripts/setup` to install the version that is known to work", path.display())]
    Start {
        /// The library.
        path: PathBuf,
        /// Its own words.
        reason: String,
    },
}

/// The cache folder: `KVS_INFER_CACHE`, else `XDG_CACHE_HOME/kvs-infer`, else `~/.cache/kvs-infer`.
#[must_use]
pub fn cache_dir() -> Option<PathBuf> {
    cache_dir_in(&|name| env::var_os(name))
}

pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

fn cache_dir_in(variables: Variables<'_>) -> Option<PathBuf> {
    let path = |name: &str| variables(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    path("KVS_INFER_CACHE")
        .or_else(|| path("XDG_CACHE_HOME").map(|xdg| xdg.join("kvs-infer")))
        .or_else(|| path("HOME").map(|home| home.join(".cache/kvs-infer")))
}

/// The places where the library may be, in order. `ORT_DYLIB_PATH` is the only one where it is set.
fn places(variables: Variables<'_>, program: Option<&Path>) -> Vec<PathBuf> {
    if let Some(path) = variables("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        return vec![PathBuf::from(path)];
    }
    let cached = cache_dir_in(variables).map(|cache| cache.join("onnxruntime").join(LIBRARY));
    let beside = program.and_then(Path::parent).map(|folder| folder.join(LIBRARY));
    let by_loader = PathBuf::from(LIBRARY);
    cached.into_iter().chain(beside).chain([by_loader]).collect()
}

/// The process's ONNX Runtime; loaded at the first call.
///
/// Errors: it is found nowhere, or does not start. A later call tries again.
pub(crate) fn environment() -> Result<Environment, RuntimeFault> {
    Ok(loaded()?.0)
}

/// Returns the file of the process's ONNX Runtime, if it is loaded.
pub(super) fn library() -> Option<PathBuf> {
    Some(loaded().ok()?.1)
}

fn loaded() -> Result<(Environment, PathBuf), RuntimeFault> {
    static LOADED: Mutex<Option<(Environment, PathBuf)>> = Mutex::new(None);
    // Held while the library loads: models that start at once must not initialize it twice.
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = &*loaded {
        return Ok(loaded.clone());
    }
    let program = env::current_exe().ok();
    let first = load(&places(&|name| env::var_os(name), program.as_deref()))?;
    *loaded = Some(first.clone());
    Ok(first)
}

fn load(places: &[PathBuf]) -> Result<(Environment, PathBuf), RuntimeFault> {
    let mut tried = Vec::new();
    for path in places {
        let by_loader = path.as_os_str() == LIBRARY;
        // The loader's own text would not distinguish a missing file from a missing dependency of it.
        if !by_loader && !path.exists() {
            tried.push(format!("{} (no such file)", path.display()));
            continue;
        }
        match ort::init_from(path) {
            Ok(builder) => return Ok((start(builder, path)?, path.clone())),
            Err(error) => tried.push(format!("{} ({error})", path.display())),
        }
    }
    Err(RuntimeFault::Missing { tried: tried.join(", ") })
}

fn start(builder: ort::environment::EnvironmentBuilder, path: &Path) -> Result<Environment, RuntimeFault> {
    let log = |level: LogLevel, category: &str, _id: &str, _place: &str, message: &str| {
        RuntimeLog { severe: matches!(level, LogLevel::Error | LogLevel::Fatal), category, message }.emit();
    };
    let environment = builder
        .with_name("kvs-infer")
        // Off, whatever the default of the build is.
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build()
        .map_err(|error| RuntimeFault::Start { path: path.to_owned(), reason: error.to_string() })?;
    environment.set_log_level(LogLevel::Warning);
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};

    use super::{RuntimeFault, load, places};

    fn places_of(variables: &[(&str, &str)]) -> Vec<String> {
        let lookup = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        let places = places(&lookup, Some(Path::new("/opt/app/kvs-infer")));
        places.iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn looks_in_the_named_place_or_the_usual_ones_in_order() {
        let (beside, loader) = ("/opt/app/libonnxruntime.so", "libonnxruntime.so");
        let home = "/home/x/.cache/kvs-infer/onnxruntime/libonnxruntime.so";
        let cases = [
            ("named", vec![("ORT_DYLIB_PATH", "/a/ort.so"), ("HOME", "/home/x")], vec!["/a/ort.so"]),
            ("named empty", vec![("ORT_DYLIB_PATH", ""), ("HOME", "/home/x")], vec![home, beside, loader]),
            (
                "our cache",
                vec![("KVS_INFER_CACHE", "/c"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/home/x")],
                vec!["/c/onnxruntime/libonnxruntime.so", beside, loader],
            ),
            (
                "xdg cache",
                vec![("XDG_CACHE_HOME", "/x"), ("HOME", "/home/x")],
                vec!["/x/kvs-infer/onnxruntime/libonnxruntime.so", beside, loader],
            ),
            ("nothing", vec![], vec![beside, loader]),
        ];
        for (name, variables, want) in cases {
            assert_eq!(places_of(&variables), want, "{name}");
        }
    }

    #[test]
    fn the_tried_paths_and_the_remedy_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("libonnxruntime.so");
        std::fs::write(&text, "no library").unwrap();
        let error =
            load(&[PathBuf::from("/nowhere/libonnxruntime.so"), text.clone()]).map(|_| ()).unwrap_err();
        let RuntimeFault::Missing { tried } = &error else { panic!("{error}") };
        assert!(tried.contains("/nowhere/libonnxruntime.so (no such file)"), "{tried}");
        assert!(tried.contains(&format!("{} (failed to load", text.display())), "{tried}");
        assert!(error.to_string().contains("Run `scripts/setup`"), "{error}");
    }
}
