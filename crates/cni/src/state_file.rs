//! What is remembered between calls: one JSON value, replaced as a whole under a
//! lock, so that a crash at any point leaves the value before or the value after.
//!
//! The file's name carries the boot's identity: nothing outlives the boot, as no
//! sandbox does, so a reboot leaks nothing, and a file half-written by a power
//! cut is never read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use podway_kernel::sysctl;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// A file whose lock is held.
#[derive(Debug)]
pub(crate) struct StateFile {
    file: PathBuf,
    new: PathBuf,
    _lock: File,
}

impl StateFile {
    /// Waits for the lock of `directory/NAME-BOOT.json` and reads the value; the
    /// default where there is none.
    pub(crate) fn open<T>(directory: &Path, name: &str) -> Result<(Self, T), Error>
    where
        T: DeserializeOwned + Default,
    {
        Self::open_in_boot(directory, name, &boot()?)
    }

    pub(crate) fn open_in_boot<T>(
        directory: &Path,
        name: &str,
        boot: &str,
    ) -> Result<(Self, T), Error>
    where
        T: DeserializeOwned + Default,
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed("create", directory))?;
        let lock_path = directory.join(format!("{name}.lock"));
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .and_then(|lock| lock.lock().map(|()| lock))
            .map_err(failed("lock", &lock_path))?;
        let file = directory.join(format!("{name}-{boot}.json"));
        let value = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| Error::DamagedState {
                path: file.clone(),
                source,
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                forget_other_boots(directory, name, &file)?;
                T::default()
            }
            Err(error) => return Err(failed("read", &file)(error)),
        };
        let new = directory.join(format!("{name}.new"));
        let state = Self {
            file,
            new,
            _lock: lock,
        };
        Ok((state, value))
    }

    pub(crate) fn write<T: Serialize>(&mut self, value: &T) -> Result<(), Error> {
        let bytes = serde_json::to_vec(value).expect("the state is plain data");
        fs::write(&self.new, bytes)
            .and_then(|()| fs::rename(&self.new, &self.file))
            .map_err(failed("write", &self.file))
    }
}

/// Whether anything was written in this boot, without waiting for the lock.
pub(crate) fn exists(directory: &Path, name: &str) -> Result<bool, Error> {
    let boot = boot()?;
    Ok(directory.join(format!("{name}-{boot}.json")).exists())
}

fn boot() -> Result<String, Error> {
    Ok(sysctl::read("kernel/random/boot_id")?)
}

/// The first call of a boot removes what the boots before have left.
fn forget_other_boots(directory: &Path, name: &str, current: &Path) -> Result<(), Error> {
    let entries = fs::read_dir(directory).map_err(failed("list", directory))?;
    for entry in entries.filter_map(Result::ok) {
        let file = entry.file_name();
        let file = file.to_string_lossy();
        let rest = file.strip_prefix(name).unwrap_or_default();
        let is_state = rest.starts_with('-') && rest.ends_with(".json");
        if is_state && entry.path() != current {
            fs::remove_file(entry.path()).map_err(failed("delete", &entry.path()))?;
        }
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File {
        action,
        path,
        source,
    }
}
