//! Network namespaces: made, opened, entered and removed without ever moving
//! the calling thread.
//!
//! `unshare(2)` and `setns(2)` act on one thread, so everything that happens in
//! another namespace happens on a thread of its own that ends afterwards. A
//! thread that came back from a namespace could come back to the wrong one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic;
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// Where named namespaces live, shared with `ip netns`.
pub const NAMED_DIRECTORY: &str = "/run/netns";

/// Why a namespace could not be made, entered or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path is already taken.
    #[error("network namespace {} exists already", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// Nothing is there.
    #[error("network namespace {} does not exist", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("{} is not a network namespace", path.display())]
    NotANamespace {
        /// The path.
        path: PathBuf,
    },
    /// A name that cannot be a file name.
    #[error("invalid network namespace name {name:?}: it must be a file name of at most 255 bytes")]
    Name {
        /// The name.
        name: String,
    },
    /// A system call failed.
    #[error("cannot {action} network namespace {}: {call} failed", path.display())]
    Call {
        /// What was attempted.
        action: &'static str,
        /// On which namespace.
        path: PathBuf,
        /// The call that failed.
        call: &'static str,
        /// Its reason.
        #[source]
        source: io::Error,
    },
}

/// An open network namespace. It lives at least as long as this value, even
/// when its path and its processes are gone.
#[derive(Debug)]
pub struct NetNs {
    file: File,
    path: PathBuf,
}

/// What tells two namespaces apart: device and inode of the namespace file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetNsId {
    device: u64,
    inode: u64,
}

impl NetNs {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Call`] where `/proc` is not mounted.
    pub fn current() -> Result<Self, Error> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// Opens a namespace by path: a bind mount such as `/run/netns/NAME`, or
    /// `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::NotANamespace`] for a file that is
    /// something else (a mount that is gone leaves an empty file behind).
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NotFound { path });
            }
            Err(error) => return Err(failed("open", &path, "open", error)),
        };
        if !is_network_namespace(&file) {
            return Err(Error::NotANamespace { path });
        }
        Ok(Self { file, path })
    }

    /// Opens a named namespace, one of [`list`].
    ///
    /// # Errors
    /// As [`NetNs::open`], and [`Error::Name`].
    pub fn named(name: &str) -> Result<Self, Error> {
        Self::open(named_path(name)?)
    }

    /// Opens the namespace of a process.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the process is gone.
    pub fn of_process(pid: u32) -> Result<Self, Error> {
        Self::open(format!("/proc/{pid}/ns/net"))
    }

    /// Makes a namespace that has no path and goes away with this value and
    /// the sockets opened in it.
    ///
    /// # Errors
    /// [`Error::Call`], EPERM without CAP_SYS_ADMIN.
    pub fn anonymous() -> Result<Self, Error> {
        let path = PathBuf::from("(anonymous)");
        on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|errno| failed("create", &path, "unshare", errno.into()))?;
            Self::current()
        })
    }

    /// Makes a namespace and keeps it alive with a bind mount at `path`, a file
    /// that must not exist yet; its directory must.
    ///
    /// # Errors
    /// [`Error::Exists`], or [`Error::Call`]; nothing is left behind then.
    pub fn create_at(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o444)
            .open(&path)
        {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists { path });
            }
            Err(error) => return Err(failed("create", &path, "open", error)),
        }
        let made = on_own_thread(|| unshare_and_bind(&path)).and_then(|()| Self::open(&path));
        if made.is_err() {
            // The reason of the failure is what the caller needs; the file is
            // ours, made three lines above.
            let _ = fs::remove_file(&path);
        }
        made
    }

    /// Makes a named namespace, `/run/netns/NAME`, as `ip netns add` does.
    ///
    /// # Errors
    /// As [`NetNs::create_at`], and [`Error::Name`].
    pub fn create(name: &str) -> Result<Self, Error> {
        let path = named_path(name)?;
        fs::create_dir_all(NAMED_DIRECTORY)
            .map_err(|error| failed("create", &path, "mkdir", error))?;
        Self::create_at(path)
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells it apart from other namespaces.
    ///
    /// # Errors
    /// [`Error::Call`], which an open namespace does not give.
    pub fn id(&self) -> Result<NetNsId, Error> {
        let metadata = self
            .file
            .metadata()
            .map_err(|error| failed("identify", &self.path, "fstat", error))?;
        Ok(NetNsId {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    /// Runs `f` inside the namespace, on a thread of its own, and returns what
    /// it returns. A panic in `f` continues in the caller.
    ///
    /// # Errors
    /// [`Error::Call`] where the namespace cannot be entered; `f` has not run.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, Error> {
        on_own_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET)
                .map_err(|errno| failed("enter", &self.path, "setns", errno.into()))?;
            Ok(f())
        })
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Runs `f` inside a namespace; see [`NetNs::run`].
///
/// # Errors
/// [`Error::Call`] where the namespace cannot be entered.
pub fn run_in<T: Send>(namespace: &NetNs, f: impl FnOnce() -> T + Send) -> Result<T, Error> {
    namespace.run(f)
}

/// Removes a namespace's mount and file. Whether anything was there.
///
/// The namespace itself goes when its last process, socket and descriptor goes.
///
/// # Errors
/// [`Error::Call`]; what is already gone is no error.
pub fn delete_at(path: &Path) -> Result<bool, Error> {
    match umount2(path, MntFlags::MNT_DETACH) {
        // EINVAL: a file that no mount covers, left by a crash between open and
        // mount, or by a reboot where the directory is on disk.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(failed("delete", path, "umount", errno.into())),
    }
    // Unlinking also detaches the mount in every other mount namespace (a
    // container's copy would keep the network alive otherwise).
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("delete", path, "unlink", error)),
    }
}

/// Removes a named namespace. Whether it was there.
///
/// # Errors
/// As [`delete_at`], and [`Error::Name`].
pub fn delete(name: &str) -> Result<bool, Error> {
    delete_at(&named_path(name)?)
}

/// The names under `/run/netns`, in order; files that are no namespace are
/// left out.
///
/// # Errors
/// [`Error::Call`] where the directory cannot be read.
pub fn list() -> Result<Vec<String>, Error> {
    let directory = Path::new(NAMED_DIRECTORY);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", directory, "opendir", error)),
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| NetNs::open(directory.join(name)).is_ok())
        .collect();
    names.sort();
    Ok(names)
}

/// The path of a named namespace.
///
/// # Errors
/// [`Error::Name`] for what cannot be a file name.
pub fn named_path(name: &str) -> Result<PathBuf, Error> {
    let valid = !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.contains(['/', '\0']);
    if !valid {
        return Err(Error::Name { name: name.into() });
    }
    Ok(Path::new(NAMED_DIRECTORY).join(name))
}

fn unshare_and_bind(path: &Path) -> Result<(), Error> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| failed("create", path, "unshare", errno.into()))?;
    mount(
        Some("/proc/thread-self/ns/net"),
        path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .map_err(|errno| failed("create", path, "mount", errno.into()))
}

fn on_own_thread<T: Send>(f: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, f)
            .map_err(|error| failed("enter", Path::new("(new thread)"), "clone", error))?
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

fn is_network_namespace(file: &File) -> bool {
    // SAFETY: NS_GET_NSTYPE takes no argument and reads nothing of ours; on a
    // file that is no namespace it fails with ENOTTY.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_NSTYPE) };
    kind == libc::CLONE_NEWNET
}

fn failed(action: &'static str, path: &Path, call: &'static str, source: io::Error) -> Error {
    Error::Call {
        action,
        path: path.into(),
        call,
        source,
    }
}
