//! Files and folders for this user alone: what they hold may show faces and plates.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// Returns options that make a file for its owner alone and open none through a symbolic link. A file that is there keeps its permissions.
#[must_use]
pub fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(FILE_MODE).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Makes the folder and those above it that are missing, for their owner alone. A folder that is there keeps its permissions.
///
/// # Errors
/// The system refuses.
pub fn make_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)
}

/// Like [`make_private_folder`], for a folder below one that was configured: a symbolic link in its place is refused.
///
/// # Errors
/// It is a symbolic link or a file, or the system refuses.
pub fn make_private_subfolder(folder: &Path) -> io::Result<()> {
    make_private_folder(folder)?;
    if fs::symlink_metadata(folder)?.is_dir() {
        return Ok(());
    }
    let text =
        format!("{} is a symbolic link, which is not followed: put a folder in its place", folder.display());
    Err(io::Error::new(io::ErrorKind::NotADirectory, text))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_for_its_owner_and_what_is_there_stays() {
        let root = tempfile::tempdir().unwrap();
        let (made, file) = (root.path().join("a/b"), root.path().join("a/b/file"));
        make_private_folder(&made).unwrap();
        private_file().create(true).append(true).open(&file).unwrap().write_all(b"x").unwrap();
        assert_eq!([mode(&made), mode(&root.path().join("a")), mode(&file)], [0o700, 0o700, 0o600]);
        fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        make_private_folder(&made).unwrap();
        private_file().append(true).open(&file).unwrap();
        assert_eq!([mode(&made), mode(&file)], [0o755, 0o640]);
    }

    #[test]
    fn symbolic_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (victim, link) = (root.path().join("victim"), root.path().join("link"));
        fs::write(&victim, "theirs").unwrap();
        symlink(&victim, &link).unwrap();
        assert!(private_file().create(true).append(true).open(&link).is_err());
        let (elsewhere, folder) = (tempfile::tempdir().unwrap(), root.path().join("folder"));
        symlink(elsewhere.path(), &folder).unwrap();
        let refused = make_private_subfolder(&folder).unwrap_err().to_string();
        assert!(refused.contains("folder is a symbolic link"), "{refused}");
        make_private_subfolder(&root.path().join("new")).unwrap();
    }
}
