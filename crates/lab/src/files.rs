//! Files that are either whole or not there.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::Error;

/// Writes a file so that a reader, or a crash, finds the old text or the new.
pub(crate) fn write_whole(path: &Path, text: &str) -> Result<(), Error> {
    let failed = || Error::io(format!("write {}", path.display()));
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed())?;
    file.write_all(text.as_bytes()).map_err(failed())?;
    fs::rename(&draft, path).map_err(failed())
}

/// Makes a folder and those above it, where they are missing.
pub(crate) fn make_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::io(format!("make folder {}", path.display())))
}
