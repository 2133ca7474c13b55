//! The shared libraries that CUDA's libraries open by name while a model runs: neither the loader nor `ldd` notices before that one is
//! missing.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// The libraries of cuDNN that convolutions need. Source: the names in libcudnn.so.9 and libcudnn_graph.so.9 of cuDNN 9.28.1, 2026-12.
///
/// `libcudnn_engines_tensor_ir` and `libcudnn_ext` are younger than cuDNN 9.20, so that a complete set may lack them.
const CUDNN: [&str; 7] = [
    "libcudnn.so.9",
    "libcudnn_graph.so.9",
    "libcudnn_ops.so.9",
    "libcudnn_cnn.so.9",
    "libcudnn_heuristic.so.9",
    "libcudnn_engines_precompiled.so.9",
    "libcudnn_engines_runtime_compiled.so.9",
];

/// The libraries with which cuDNN compiles kernels, before their version: it opens that of the CUDA that it was built for.
const NVRTC: [&str; 2] = ["libnvrtc.so.", "libnvrtc-builtins.so."];

/// The beginnings of the names of CUDA's libraries, for the folders that they were loaded from.
const OF_CUDA: [&str; 4] = ["libcudnn", "libnvrtc", "libcublas", "libcudart"];

/// The loader's list of the libraries in the system's folders.
const LOADER_CACHE: &str = "/etc/ld.so.cache";

/// The libraries that a model on CUDA opens and that were not found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MissingLibraries(Vec<String>);

impl MissingLibraries {
    /// Returns the libraries that are neither beside ONNX Runtime (`runtime`), nor beside a library of CUDA that is loaded, nor found by
    /// the loader; `None`: all are found.
    pub(super) fn find(runtime: Option<&Path>) -> Option<Self> {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let mut folders = loaded_from(&maps);
        folders.extend(runtime.and_then(Path::parent).filter(|folder| *folder != "").map(Path::to_owned));
        folders.extend(search_path(env::var_os("LD_LIBRARY_PATH").as_deref()));
        // Looked into without the loader: it would run the code of each library that it opens.
        Self::among(&folders, &fs::read(LOADER_CACHE).unwrap_or_default())
    }

    fn among(folders: &BTreeSet<PathBuf>, cache: &[u8]) -> Option<Self> {
        let in_cache = |name: &str| cache.windows(name.len()).any(|text| text == name.as_bytes());
        let cudnn = CUDNN.iter().filter(|name| !folders.iter().any(|folder| folder.join(name).exists()));
        let nvrtc = NVRTC.iter().filter(|start| !folders.iter().any(|folder| has_file(folder, start)));
        let missing = cudnn.chain(nvrtc).filter(|name| !in_cache(name));
        let missing: Vec<String> = missing.map(|name| name.trim_end_matches('.').to_owned()).collect();
        (!missing.is_empty()).then_some(Self(missing))
    }

    /// Returns the names, and the remedy.
    pub(super) fn report(&self) -> String {
        format!(
            "libraries of CUDA were not found: {}; put them beside libonnxruntime.so, all of the same version of cuDNN, or use \
             kvs-infer's GPU image, which has them",
            self.0.join(", ")
        )
    }
}

/// Returns whether a failure on CUDA may come from a library that is missing.
pub(super) fn concerns_libraries(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    ["cudnn", "nvrtc", "shared object"].iter().any(|word| reason.contains(word))
}

/// Returns the folders from which the process has loaded libraries of CUDA, by its memory map (proc(5)).
fn loaded_from(maps: &str) -> BTreeSet<PathBuf> {
    let files = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    let of_cuda = files.filter(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        OF_CUDA.iter().any(|start| name.starts_with(start))
    });
    of_cuda.filter_map(|file| file.parent().map(Path::to_owned)).collect()
}

fn search_path(variable: Option<&OsStr>) -> Vec<PathBuf> {
    let folders = variable.into_iter().flat_map(env::split_paths);
    folders.filter(|folder| !folder.as_os_str().is_empty()).collect()
}

fn has_file(folder: &Path, start: &str) -> bool {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.into_iter().any(|name| name.to_string_lossy().starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a folder with empty files of these names.
    fn folder(names: &[&str]) -> (tempfile::TempDir, BTreeSet<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let path = folder.path().to_owned();
        (folder, BTreeSet::from([path]))
    }

    fn all() -> Vec<&'static str> {
        [&CUDNN[..], &["libnvrtc.so.13", "libnvrtc-builtins.so.13.5"]].concat()
    }

    #[test]
    fn a_complete_set_has_none_missing_and_each_gap_is_named() {
        let (_complete, folders) = folder(&all());
        assert_eq!(MissingLibraries::among(&folders, b""), None);
        for gap in all() {
            let rest: Vec<&str> = all().into_iter().filter(|name| *name != gap).collect();
            let (_rest, folders) = folder(&rest);
            let missing = MissingLibraries::among(&folders, b"").unwrap();
            assert!(missing.0.len() == 1 && gap.starts_with(&missing.0[0]), "{gap}: {missing:?}");
            let cache = format!("libz.so.1\0{gap}\0/usr/lib/{gap}\0");
            assert_eq!(MissingLibraries::among(&folders, cache.as_bytes()), None, "the loader finds {gap}");
        }
        let none = MissingLibraries::among(&BTreeSet::new(), b"").unwrap();
        assert_eq!(none.0.len(), all().len());
    }

    #[test]
    fn folders_of_cuda_are_read_from_the_memory_map() {
        let maps = "7f10-7f20 r-xp 00000000 08:01 42    /opt/cuda 13/lib/libcublas.so.13\n\
                    7f20-7f30 r--p 00000000 08:01 42    /opt/cuda 13/lib/libcublas.so.13\n\
                    7f30-7f40 r-xp 00000000 08:01 43    /usr/lib/x86_64-linux-gnu/libcudnn_graph.so.9.24.0\n\
                    7f40-7f50 r-xp 00000000 08:01 44    /usr/lib/libz.so.1\n\
                    7f50-7f60 rw-p 00000000 00:00 0     [heap]\n";
        let folders: Vec<PathBuf> = loaded_from(maps).into_iter().collect();
        assert_eq!(folders, [Path::new("/opt/cuda 13/lib"), Path::new("/usr/lib/x86_64-linux-gnu")]);
    }
}
