//! Files and folders that only this user can read, since their content may show faces and plates.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Read and write for the owner alone.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// Returns options that create a file for its owner alone and open none through a symbolic link. An existing file keeps its permissions.
#[must_use]
pub fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    // O_NOFOLLOW: another user of the folder could point the name at a file of ours.
    options.mode(FILE_MODE).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Creates the folder and its missing parents, for their owner alone. An existing folder keeps its permissions.
///
/// # Errors
/// The system refuses.
pub fn make_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)
}

/// Creates a folder below a configured one like [`make_private_folder`], and refuses a symbolic link in its place.
///
/// # Errors
/// It is a symbolic link or a file, or the system refuses.
pub fn make_private_subfolder(folder: &Path) -> io::Result<()> {
    make_private_folder(folder)?;
    // `create` follows a link to a folder and succeeds, so the path itself is checked afterwards.
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
    fn new_files_are_for_their_owner_and_existing_ones_keep_their_mode() {
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
