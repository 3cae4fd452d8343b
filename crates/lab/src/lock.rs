//! One `up` or `down` of a lab at a time.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::files::make_folder;
use crate::paths::{LABS, LabPaths};
use crate::{Error, LabName};

/// The right to change a lab, until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    /// The lab's folder.
    lab: PathBuf,
    _file: Flock<File>,
}

impl Lock {
    /// Takes the right.
    ///
    /// # Errors
    /// [`Error::Busy`] while somebody else has it.
    pub(crate) fn take(lab: &LabName) -> Result<Self, Error> {
        make_folder(Path::new(LABS))?;
        let path = Path::new(LABS).join(format!("{lab}.lock"));
        let failed = || Error::io(format!("lock {}", path.display()));
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path);
            let file = match Flock::lock(file.map_err(failed())?, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((_, Errno::EWOULDBLOCK)) => return Err(Error::Busy(lab.clone())),
                Err((_, errno)) => return Err(failed()(errno.into())),
            };
            // A `down` may have removed the file between open and lock: then
            // this lock is on a file that nobody else will find.
            let ours = file.metadata().map_err(failed())?.ino();
            if fs::metadata(&path).is_ok_and(|found| found.ino() == ours) {
                let lab = LabPaths::new(lab).root().to_owned();
                return Ok(Self {
                    path,
                    lab,
                    _file: file,
                });
            }
        }
    }
}

impl Drop for Lock {
    /// The file goes with the lab, as long as the lock on it is held.
    fn drop(&mut self) {
        if !self.lab.exists() {
            // Left over, it would be an empty file that the next `up` takes.
            let _ = fs::remove_file(&self.path);
        }
    }
}
