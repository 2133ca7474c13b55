//! A driver of NVIDIA's in host memory: its kernels are those of the crate `gpu`, compiled for the host.

#![expect(clippy::expect_used, reason = "what a test cannot set up, it fails on")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

/// A `libcuda.so.1` and a `libnvcuvid.so.1` of our own in a folder of their own (`crates/gpu/tests/driver/driver.c`).
#[derive(Debug)]
pub struct FakeDriver {
    folder: PathBuf,
    /// Deletes the folder at the end; unset in a child process, whose parent does that.
    _temporary: Option<TempDir>,
}

impl FakeDriver {
    /// Writes the libraries without faults; the first ones of a process are compiled.
    ///
    /// # Panics
    ///
    /// There is no C compiler, or it reports an error or a warning.
    #[must_use]
    pub fn new() -> Self {
        static COMPILED: OnceLock<Vec<u8>> = OnceLock::new();
        let temporary = TempDir::new().expect("a temporary folder");
        let fake = Self { folder: temporary.path().to_owned(), _temporary: Some(temporary) };
        let library = COMPILED.get_or_init(|| compiled(&fake.library()));
        std::fs::write(fake.library(), library).expect("a library");
        fake.add_self_test();
        // One library under two names has one state.
        std::os::unix::fs::symlink("libcuda.so.1", fake.folder.join("libnvcuvid.so.1")).expect("a link");
        fake
    }

    /// Adds the pictures of the program's self-test of NVDEC, as the `ffmpeg` command decodes them.
    fn add_self_test(&self) {
        static PICTURES: OnceLock<Vec<(u32, Vec<u8>)>> = OnceLock::new();
        let folder = self.folder.join("pictures");
        std::fs::create_dir(&folder).expect("a folder of pictures");
        for (number, picture) in PICTURES.get_or_init(self_test_pictures) {
            std::fs::write(folder.join(format!("{number:08x}")), picture).expect("a picture");
        }
    }

    /// Returns the driver in a folder that another process has made.
    #[must_use]
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder, _temporary: None }
    }

    /// Returns the folder, for the search path of libraries.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the path of the library.
    #[must_use]
    pub fn library(&self) -> PathBuf {
        self.folder.join("libcuda.so.1")
    }

    /// Sets the faults from the next call on, one per line; the first lines of `driver.c` list them.
    ///
    /// # Panics
    ///
    /// The folder cannot be written to.
    pub fn set_faults(&self, faults: &str) {
        // In one step, because the library may be reading.
        let next = self.folder.join("next");
        std::fs::write(&next, faults).expect("a file of faults");
        std::fs::rename(next, self.folder.join("faults")).expect("a file of faults");
    }

    /// Returns the lines about video decoders that begin with `word`, without it.
    #[must_use]
    pub fn log(&self, word: &str) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        log.lines().filter_map(|line| line.strip_prefix(word)).map(|line| line.trim().to_owned()).collect()
    }
}

/// Returns whether a NAL unit with this first byte is a slice.
type IsSlice = fn(u8) -> bool;

/// Returns the number that the driver gives each picture of the self-test's clips, and the picture as NV12.
fn self_test_pictures() -> Vec<(u32, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/decode/nvdec");
    // By the type of a NAL unit, from its first byte: H.264 Table 7-1, H.265 Table 7-1.
    let clips: [(&str, IsSlice); 2] = [
        ("self_test.h264", |first| matches!(first & 31, 1 | 5)),
        ("self_test.h265", |first| first >> 1 & 63 < 32),
    ];
    let mut pictures = Vec::new();
    for (name, is_slice) in clips {
        let file = folder.join(name);
        let arguments = ["-pix_fmt", "nv12", "-f", "rawvideo", "-"];
        let decoded = Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(&file).args(arguments).output();
        let raw = decoded.expect("the ffmpeg command").stdout;
        let stream = std::fs::read(&file).expect("a clip of the self-test");
        let numbers = picture_numbers(&stream, is_slice);
        let raw = raw.chunks(raw.len() / numbers.len());
        pictures.extend(numbers.iter().copied().zip(raw.map(<[u8]>::to_vec)));
    }
    pictures
}

/// Returns the driver's number of each picture of a byte stream with one keyframe, without B-frames: FNV-1a of all slices so far.
fn picture_numbers(stream: &[u8], is_slice: IsSlice) -> Vec<u32> {
    let starts: Vec<usize> =
        stream.windows(3).enumerate().filter(|(_, at)| *at == [0, 0, 1]).map(|(at, _)| at).collect();
    let mut number = 2_166_136_261_u32;
    let mut numbers = Vec::new();
    for (i, start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).map_or(stream.len(), |next| *next);
        let nal = &stream[start + 3..end];
        if is_slice(nal[0]) {
            // The zero that belongs to the next start code of four bytes.
            let nal = nal.strip_suffix(&[0]).unwrap_or(nal);
            let bytes = [0, 0, 1].iter().chain(nal);
            number = bytes.fold(number, |number, byte| (number ^ u32::from(*byte)).wrapping_mul(16_777_619));
            numbers.push(number);
        }
    }
    numbers
}

fn compiled(library: &Path) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gpu/tests/driver/driver.c");
    // -ffp-contract: a fused multiply-add would round otherwise than the kernels do.
    let flags = ["-std=gnu11", "-shared", "-fPIC", "-O2", "-ffp-contract=off", "-pthread"];
    let warnings = ["-Wall", "-Wextra", "-Werror"];
    let mut compiler = Command::new("cc");
    compiler.args(flags).args(warnings).arg("-o").arg(library).arg(source);
    assert!(compiler.status().expect("a C compiler").success(), "the driver for tests compiles");
    std::fs::read(library).expect("the compiled library")
}

impl Default for FakeDriver {
    fn default() -> Self {
        Self::new()
    }
}
