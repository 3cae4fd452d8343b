use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::yaml::Mistake;

/// A file's name, as the user gave it, and its text.
type File = (String, String);

/// The texts of files, folders and standard input (`-`).
pub(super) fn read(paths: &[PathBuf]) -> Vec<Result<File, Mistake>> {
    let mut files = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            files.push(from_stdin());
        } else if path.is_dir() {
            match folder(path) {
                Ok(paths) => files.extend(paths.iter().map(|path| from_file(path))),
                Err(mistake) => files.push(Err(mistake)),
            }
        } else {
            files.push(from_file(path));
        }
    }
    files
}

fn from_stdin() -> Result<File, Mistake> {
    let mut bytes = Vec::new();
    let outcome = io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes);
    text("standard input", outcome)
}

fn from_file(path: &Path) -> Result<File, Mistake> {
    text(&path.display().to_string(), fs::read(path))
}

fn text(name: &str, bytes: io::Result<Vec<u8>>) -> Result<File, Mistake> {
    let bytes =
        bytes.map_err(|error| Mistake::of_file(name, format!("cannot be read: {error}")))?;
    match String::from_utf8(bytes) {
        // A byte order mark is no part of the text (YAML 1.2, 5.2).
        Ok(text) => Ok((
            name.to_owned(),
            text.trim_start_matches('\u{feff}').to_owned(),
        )),
        Err(_) => Err(Mistake::of_file(name, "is not text in UTF-8")),
    }
}

fn folder(path: &Path) -> Result<Vec<PathBuf>, Mistake> {
    let name = path.display().to_string();
    let unreadable = |error: io::Error| Mistake::of_file(&name, format!("cannot be read: {error}"));
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) && path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Mistake::of_file(
            &name,
            "holds no .yaml, .yml or .json file",
        ));
    }
    files.sort();
    Ok(files)
}
