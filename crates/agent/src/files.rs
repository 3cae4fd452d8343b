//! Writing files so that a reader sees the old text or the new one, whole.

use std::fs;
use std::io;
use std::path::Path;

/// Replaces a file's text; true where it was another one before.
pub(crate) fn replace_if_different(path: &Path, text: &str) -> io::Result<bool> {
    if fs::read(path).is_ok_and(|present| present == text.as_bytes()) {
        return Ok(false);
    }
    replace(path, text).map(|()| true)
}

/// Replaces a file's text. The disk need not have it at once: what is written
/// here is of no use after the machine went down, or written again then.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    // In the same folder, so that renaming is atomic; with a leading dot and a
    // suffix that container runtimes do not read.
    let draft = folder.join(format!(".{}.new", name.to_string_lossy()));
    fs::write(&draft, text)?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/10-podway.conflist");
        assert!(replace_if_different(&path, "a").unwrap());
        assert!(!replace_if_different(&path, "a").unwrap());
        assert!(replace_if_different(&path, "b").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "b");
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
