//! The files that `scripts/setup test` puts into the cache folder.

use std::path::{Path, PathBuf};

/// Returns the path of a file in the cache folder, such as `models/street.onnx`; panics if it is not there.
pub fn cached(file: &str) -> PathBuf {
    existing(cache_dir().join(file))
}

/// Returns the Python that has moto and boto3; panics if it is not there.
pub fn python() -> PathBuf {
    existing(variable("KVS_INFER_PYTHON").unwrap_or_else(|| cache_dir().join("venv/bin/python")))
}

/// Returns the cache folder, which the program and the scripts find in the same way.
fn cache_dir() -> PathBuf {
    let xdg = || variable("XDG_CACHE_HOME").map(|xdg| xdg.join("kvs-infer"));
    let home = || variable("HOME").map(|home| home.join(".cache/kvs-infer"));
    variable("KVS_INFER_CACHE").or_else(xdg).or_else(home).unwrap_or_default()
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn existing(path: PathBuf) -> PathBuf {
    assert!(Path::exists(&path), "{} is missing: run scripts/setup test", path.display());
    path
}
