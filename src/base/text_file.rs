//! Bounded reads of text files that a person named.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The maximum size of a file, bytes; the same as for a configuration that is fetched.
const MAX_TEXT_BYTES: u64 = 4 << 20;

/// Reads a regular file of at most 4 MiB.
///
/// # Errors
/// The file cannot be read, is larger, or is no regular file.
pub fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    read_to_limit(open_regular(path)?)
}

/// Opens a regular file to read it.
///
/// # Errors
/// The file cannot be read, or is no regular file: a pipe would block the reader, and a device may have no end.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Without O_NONBLOCK, opening a pipe waits until another process writes to it.
    let file =
        File::options().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path)?;
    if !file.metadata()?.is_file() {
        let text = "it is not a regular file; put a file in its place";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(file)
}

/// Reads at most 4 MiB from an open file or a pipe.
///
/// # Errors
/// It cannot be read, or has more.
pub fn read_to_limit(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        let text = format!("it has more than {MAX_TEXT_BYTES} bytes, which is the maximum");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_files_up_to_the_limit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "names").unwrap();
        assert_eq!(read_bounded(&path).unwrap(), b"names");
        File::options().write(true).open(&path).unwrap().set_len(MAX_TEXT_BYTES).unwrap();
        assert_eq!(read_bounded(&path).unwrap().len() as u64, MAX_TEXT_BYTES);
        File::options().write(true).open(&path).unwrap().set_len(MAX_TEXT_BYTES + 1).unwrap();
        assert!(read_bounded(&path).unwrap_err().to_string().contains("more than 4194304 bytes"));
    }

    /// Without the check the first would wait for a writer, and the second would fill the memory.
    #[test]
    fn pipes_devices_and_folders_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        for path in [pipe.as_path(), Path::new("/dev/zero"), folder.path()] {
            let error = read_bounded(path).unwrap_err().to_string();
            assert!(error.contains("not a regular file"), "{}: {error}", path.display());
        }
    }
}
