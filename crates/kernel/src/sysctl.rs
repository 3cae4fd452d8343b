//! Kernel parameters under `/proc/sys`, of the calling thread's network
//! namespace where the parameter has one.
//!
//! A key is the path below `/proc/sys` (`net/ipv4/conf/eth0.100/forwarding`):
//! with dots as separators an interface name with a dot could not be written.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Why a parameter could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel has no such parameter.
    #[error(
        "sysctl {key}: the kernel has no such parameter (interface gone, or module not loaded)"
    )]
    Unknown {
        /// The key.
        key: String,
    },
    /// A key that leaves `/proc/sys`.
    #[error("invalid sysctl key {key:?}: it must be a path below /proc/sys")]
    Key {
        /// The key.
        key: String,
    },
    /// The value is not a number where one is needed.
    #[error("sysctl {key}: {value:?} is not a number")]
    NotANumber {
        /// The key.
        key: String,
        /// What the kernel said.
        value: String,
    },
    /// Reading failed.
    #[error("cannot read sysctl {key}")]
    Read {
        /// The key.
        key: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// Writing failed.
    #[error("cannot set sysctl {key} to {value:?}{}", write_hint(source))]
    Write {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// Reads a parameter, without the newline at its end.
///
/// # Errors
/// Names the key.
pub fn read(key: &str) -> Result<String, Error> {
    match fs::read_to_string(path_of(key)?) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::Unknown { key: key.into() })
        }
        Err(source) => Err(Error::Read {
            key: key.into(),
            source,
        }),
    }
}

/// Writes a parameter.
///
/// # Errors
/// Names the key and the value.
pub fn write(key: &str, value: &str) -> Result<(), Error> {
    match fs::write(path_of(key)?, value) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::Unknown { key: key.into() })
        }
        Err(source) => Err(Error::Write {
            key: key.into(),
            value: value.into(),
            source,
        }),
    }
}

/// Writes a parameter unless it has this value already, which also works where
/// `/proc/sys` is read-only and somebody has set it before. Whether it wrote.
///
/// # Errors
/// Names the key and the value.
pub fn ensure(key: &str, value: &str) -> Result<bool, Error> {
    if read(key)? == value {
        return Ok(false);
    }
    write(key, value)?;
    Ok(true)
}

/// Raises a number to at least `minimum`, never lowers it. Whether it wrote.
///
/// # Errors
/// Names the key; [`Error::NotANumber`] for a parameter that is none.
pub fn raise(key: &str, minimum: u64) -> Result<bool, Error> {
    let value = read(key)?;
    let current: u64 = value.parse().map_err(|_| Error::NotANumber {
        key: key.into(),
        value: value.clone(),
    })?;
    if current >= minimum {
        return Ok(false);
    }
    write(key, &minimum.to_string())?;
    Ok(true)
}

fn path_of(key: &str) -> Result<PathBuf, Error> {
    let relative = Path::new(key);
    let inside = !key.is_empty()
        && relative
            .components()
            .all(|component| matches!(component, Component::Normal(_)));
    if !inside {
        return Err(Error::Key { key: key.into() });
    }
    Ok(Path::new("/proc/sys").join(relative))
}

fn write_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EROFS) => " (/proc/sys is mounted read-only)",
        Some(libc::EACCES | libc::EPERM) => " (CAP_NET_ADMIN is needed)",
        Some(libc::EINVAL) => " (the kernel refuses this value)",
        _ => "",
    }
}
