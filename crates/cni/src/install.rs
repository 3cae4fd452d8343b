//! The plugin's program and configuration on a node, and away again.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::conflist::Conflist;
use crate::error::Error;

/// The program's name, which `type` in the configuration says.
pub const PROGRAM: &str = "podway-cni";

/// The configuration's file. Runtimes take the first of the folder.
pub const CONFLIST_FILE: &str = "10-podway.conflist";

/// What a foreign configuration is called while ours is there: no runtime reads
/// a file with this ending.
const BACKUP: &str = "podway-backup";

/// The folders where a node's container runtime looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// For programs: `/opt/cni/bin`.
    pub program_dir: PathBuf,
    /// For configurations: `/etc/cni/net.d`.
    pub conf_dir: PathBuf,
    /// Whether foreign configurations stay in force, for those that call Podway
    /// themselves (Multus).
    pub keep_others: bool,
}

/// What was done, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Files that were written.
    pub written: Vec<PathBuf>,
    /// Foreign configurations that are backups now.
    pub backed_up: Vec<PathBuf>,
    /// Foreign configurations that are back in force.
    pub restored: Vec<PathBuf>,
    /// Files that were removed.
    pub removed: Vec<PathBuf>,
}

impl Installation {
    /// Copies `program` and, where it is known already, writes the
    /// configuration; foreign configurations become backups. Each file appears
    /// whole, and when a step fails everything is as before, but for older
    /// backups of the same name. Installing again replaces what is there.
    ///
    /// # Errors
    /// [`Error::File`] names the step and the file.
    pub fn install(&self, program: &Path, conflist: Option<&Conflist>) -> Result<Changes, Error> {
        let bytes = fs::read(program).map_err(failed("read", program))?;
        let mut staged = vec![Staged::write(&self.program(), &bytes, 0o755)?];
        if let Some(conflist) = conflist {
            let text = conflist.to_json();
            staged.push(Staged::write(&self.conflist(), text.as_bytes(), 0o644)?);
        }
        let foreign = self.foreign()?;
        let mut steps = Steps::default();
        let outcome = steps.take(staged, &foreign);
        if outcome.is_err() {
            steps.undo();
        }
        outcome
    }

    /// Puts the foreign configurations back, then removes ours and the program.
    /// What is gone already is no error.
    ///
    /// # Errors
    /// [`Error::File`] names the step and the file.
    pub fn uninstall(&self) -> Result<Changes, Error> {
        let mut changes = Changes::default();
        for backup in files_with(&self.conf_dir, &[BACKUP])? {
            let original = backup.with_extension("");
            if original.exists() {
                // What its owner has written anew is the right one.
                fs::remove_file(&backup).map_err(failed("delete", &backup))?;
            } else {
                fs::rename(&backup, &original).map_err(failed("restore", &original))?;
                changes.restored.push(original);
            }
        }
        for file in [self.conflist(), self.program()] {
            match fs::remove_file(&file) {
                Ok(()) => changes.removed.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("delete", &file)(error)),
            }
        }
        Ok(changes)
    }

    fn program(&self) -> PathBuf {
        self.program_dir.join(PROGRAM)
    }

    fn conflist(&self) -> PathBuf {
        self.conf_dir.join(CONFLIST_FILE)
    }

    fn foreign(&self) -> Result<Vec<PathBuf>, Error> {
        if self.keep_others {
            return Ok(Vec::new());
        }
        let mut files = files_with(&self.conf_dir, &["conflist", "conf", "json"])?;
        files.retain(|file| *file != self.conflist() && !is_of_loopback(file));
        Ok(files)
    }
}

/// Runtimes read this beside the pods' network, which it does not compete with.
fn is_of_loopback(file: &Path) -> bool {
    let bytes = fs::read(file).unwrap_or_default();
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    value["type"] == "loopback"
}

/// A file beside the one that it is to replace; gone with the value.
struct Staged {
    new: PathBuf,
    target: PathBuf,
}

impl Staged {
    fn write(target: &Path, bytes: &[u8], mode: u32) -> Result<Self, Error> {
        let directory = target.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory).map_err(failed("create", directory))?;
        let staged = Self {
            new: beside(target, "new"),
            target: target.to_owned(),
        };
        let new = &staged.new;
        let write = || {
            let mut file = File::create(new)?;
            file.write_all(bytes)?;
            file.set_permissions(Permissions::from_mode(mode))?;
            // A power cut must not leave an empty file of that name.
            file.sync_all()
        };
        write().map_err(failed("write", new))?;
        Ok(staged)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // It is elsewhere when it has been put in place.
        let _ = fs::remove_file(&self.new);
    }
}

/// What has been done, to be taken back.
#[derive(Default)]
struct Steps {
    /// From where to where each file must go back; a file that was not there
    /// before has no origin.
    back: Vec<(Option<PathBuf>, PathBuf)>,
}

impl Steps {
    /// The program comes first: a configuration may need the new one.
    fn take(&mut self, staged: Vec<Staged>, foreign: &[PathBuf]) -> Result<Changes, Error> {
        let mut changes = Changes::default();
        let mut staged = staged.into_iter();
        if let Some(program) = staged.next() {
            changes.written.push(self.replace(&program)?);
        }
        for file in foreign {
            let mut backup = file.clone().into_os_string();
            backup.push(format!(".{BACKUP}"));
            let backup = PathBuf::from(backup);
            fs::rename(file, &backup).map_err(failed("back up", file))?;
            self.back.push((Some(backup.clone()), file.clone()));
            changes.backed_up.push(backup);
        }
        for file in staged {
            changes.written.push(self.replace(&file)?);
        }
        for (old, target) in &self.back {
            // Only what was replaced; backups stay.
            let replaced = old.as_ref().filter(|old| **old == beside(target, "old"));
            if let Some(old) = replaced {
                let _ = fs::remove_file(old);
            }
        }
        Ok(changes)
    }

    /// A link keeps the old file, so that there is one at every moment.
    fn replace(&mut self, staged: &Staged) -> Result<PathBuf, Error> {
        let target = &staged.target;
        let old = beside(target, "old");
        let _ = fs::remove_file(&old);
        let kept = match fs::hard_link(target, &old) {
            Ok(()) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("keep", target)(error)),
        };
        fs::rename(&staged.new, target).map_err(failed("replace", target))?;
        self.back.push((kept, target.clone()));
        Ok(target.clone())
    }

    fn undo(self) {
        for (origin, file) in self.back.into_iter().rev() {
            // Nothing more can be done where this fails too.
            let _ = match origin {
                Some(origin) => fs::rename(origin, file),
                None => fs::remove_file(file),
            };
        }
    }
}

/// `.podway-cni.new` beside `podway-cni`: hidden, and with an ending that no
/// runtime reads.
fn beside(target: &Path, ending: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{ending}"))
}

/// The files of a folder with one of these endings, by name.
fn files_with(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", folder)(error)),
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let ending = path.extension().and_then(|ending| ending.to_str());
            ending.is_some_and(|ending| endings.contains(&ending))
        })
        .collect();
    files.sort();
    Ok(files)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
