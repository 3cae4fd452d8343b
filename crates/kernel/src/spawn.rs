//! Programs started in other namespaces, with mounts of their own.
//!
//! The work between `fork(2)` and `execve(2)` has to be a few system calls on
//! values prepared before, since a forked child of a process with threads may
//! neither allocate nor lock. [`Isolation`] collects those values.

use std::ffi::{CStr, CString, NulError};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::ptr;

use libc::{c_int, c_ulong};

/// What a child process gets before its program starts, in this order:
/// namespaces joined, namespaces of its own, mounts, host name, session.
#[derive(Debug, Default)]
pub struct Isolation {
    joined: Vec<OwnedFd>,
    folders: Option<Folders>,
    unshared: c_int,
    mounts: Vec<Mount>,
    hostname: Option<CString>,
    session: bool,
    terminal: bool,
}

/// The root and the working folder of a process.
#[derive(Debug)]
struct Folders {
    root: OwnedFd,
    working: OwnedFd,
}

#[derive(Debug)]
enum Mount {
    Bind { source: CString, target: CString },
    Sysfs,
}

impl Isolation {
    /// Nothing: the child shares everything with its parent.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Joins the namespace, of whatever kind it is (`setns(2)`), in the order
    /// of the calls.
    #[must_use]
    pub fn join(mut self, namespace: impl Into<OwnedFd>) -> Self {
        self.joined.push(namespace.into());
        self
    }

    /// Joins the namespaces `kinds` (`net`, `ipc`, `uts`, `mnt`) of a process.
    /// With its mounts come its root and its working folder: `setns(2)` into a
    /// mount namespace sets both to that namespace's own root, which is another
    /// one where the process runs in a chroot.
    ///
    /// # Errors
    /// Not found where the process is gone.
    pub fn join_process(mut self, pid: i32, kinds: &[&str]) -> io::Result<Self> {
        for kind in kinds {
            self = self.join(File::open(format!("/proc/{pid}/ns/{kind}"))?);
        }
        if kinds.contains(&"mnt") {
            self.folders = Some(Folders {
                root: File::open(format!("/proc/{pid}/root"))?.into(),
                working: File::open(format!("/proc/{pid}/cwd"))?.into(),
            });
        }
        Ok(self)
    }

    /// Gives the child an IPC namespace of its own.
    #[must_use]
    pub fn own_ipc(mut self) -> Self {
        self.unshared |= libc::CLONE_NEWIPC;
        self
    }

    /// Gives the child a mount namespace of its own that passes no mount on,
    /// in either direction.
    #[must_use]
    pub fn own_mounts(mut self) -> Self {
        self.unshared |= libc::CLONE_NEWNS;
        self
    }

    /// Mounts a sysfs of the child's network namespace, so that
    /// `/sys/class/net` shows its interfaces. Implies [`Isolation::own_mounts`].
    #[must_use]
    pub fn own_sysfs(mut self) -> Self {
        self.mounts.push(Mount::Sysfs);
        self.own_mounts()
    }

    /// Mounts `source` over the existing `target`, for the child alone.
    /// Implies [`Isolation::own_mounts`].
    ///
    /// # Errors
    /// For a path with a zero byte.
    pub fn bind(mut self, source: &Path, target: &Path) -> Result<Self, NulError> {
        self.mounts.push(Mount::Bind {
            source: CString::new(source.as_os_str().as_bytes())?,
            target: CString::new(target.as_os_str().as_bytes())?,
        });
        Ok(self.own_mounts())
    }

    /// Gives the child a UTS namespace of its own with this host name.
    ///
    /// # Errors
    /// For a name with a zero byte.
    pub fn hostname(mut self, name: &str) -> Result<Self, NulError> {
        self.hostname = Some(CString::new(name)?);
        self.unshared |= libc::CLONE_NEWUTS;
        Ok(self)
    }

    /// Makes the child the leader of a session of its own, so that its process
    /// group holds it and its descendants alone and no terminal reaches it.
    #[must_use]
    pub fn own_session(mut self) -> Self {
        self.session = true;
        self
    }

    /// Makes the child's standard input its controlling terminal. Implies
    /// [`Isolation::own_session`].
    #[must_use]
    pub fn own_terminal(mut self) -> Self {
        self.terminal = true;
        self.own_session()
    }

    /// Has `command` start its program this way.
    ///
    /// A step that fails makes the start fail with the step's errno, and says
    /// on the child's standard error which step it was.
    pub fn apply(self, command: &mut Command) {
        // SAFETY: the closure runs between fork and exec; it makes system calls
        // on values allocated before the fork, and neither allocates nor locks
        // nor touches memory that another thread may hold in a half-changed
        // state (io::Error from an errno is a plain number).
        unsafe {
            command.pre_exec(move || self.enter());
        }
    }

    fn enter(&self) -> io::Result<()> {
        for namespace in &self.joined {
            // SAFETY: setns takes a descriptor, which `joined` keeps open.
            step(c"join namespace", unsafe {
                libc::setns(namespace.as_raw_fd(), 0)
            })?;
        }
        if let Some(folders) = &self.folders {
            folders.enter()?;
        }
        if self.unshared != 0 {
            // SAFETY: unshare takes flags and no memory.
            step(c"unshare namespaces", unsafe {
                libc::unshare(self.unshared)
            })?;
        }
        if self.unshared & libc::CLONE_NEWNS != 0 {
            mount(c"make mounts private", None, c"/", None, PRIVATE)?;
        }
        for each in &self.mounts {
            each.enter()?;
        }
        if let Some(name) = &self.hostname {
            // SAFETY: the pointer is good for the length given with it.
            step(c"set host name", unsafe {
                libc::sethostname(name.as_ptr(), name.as_bytes().len())
            })?;
        }
        if self.session {
            // SAFETY: setsid takes nothing. It fails for a group leader only,
            // which a process just forked is not.
            step(c"start session", unsafe { libc::setsid() })?;
        }
        if self.terminal {
            // SAFETY: TIOCSCTTY takes an integer; descriptor 0 is whatever the
            // caller made standard input, and not a terminal gives ENOTTY.
            step(c"take controlling terminal", unsafe {
                libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0)
            })?;
        }
        Ok(())
    }
}

impl Folders {
    fn enter(&self) -> io::Result<()> {
        // SAFETY: fchdir takes a descriptor, which `root` keeps open.
        step(c"enter root folder", unsafe {
            libc::fchdir(self.root.as_raw_fd())
        })?;
        // SAFETY: the path is a C string that outlives the call.
        step(c"change root folder", unsafe {
            libc::chroot(c".".as_ptr())
        })?;
        // SAFETY: fchdir takes a descriptor, which `working` keeps open.
        step(c"enter working folder", unsafe {
            libc::fchdir(self.working.as_raw_fd())
        })
    }
}

const PRIVATE: c_ulong = libc::MS_REC | libc::MS_PRIVATE;

impl Mount {
    fn enter(&self) -> io::Result<()> {
        match self {
            Self::Bind { source, target } => {
                mount(c"bind mount", Some(source), target, None, libc::MS_BIND)
            }
            Self::Sysfs => {
                // Stacked on the old one: what is mounted below it (cgroups)
                // stays reachable to nobody in this mount namespace.
                let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
                mount(
                    c"mount sysfs",
                    Some(c"sysfs"),
                    c"/sys",
                    Some(c"sysfs"),
                    flags,
                )
            }
        }
    }
}

fn mount(
    name: &CStr,
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: c_ulong,
) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: every pointer is null where mount(2) allows it or a C string that
    // outlives the call.
    step(name, unsafe {
        libc::mount(
            pointer(source),
            target.as_ptr(),
            pointer(kind),
            flags,
            ptr::null(),
        )
    })
}

/// Turns a system call's result into ours. The parent learns no more than the
/// errno, so the name of the step goes to the child's standard error.
fn step(name: &CStr, result: c_int) -> io::Result<()> {
    if result >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    for part in [c"podway: cannot ", name, c"\n"] {
        // SAFETY: the pointer is good for the length given with it. A message
        // that cannot be written changes nothing: the errno is the result.
        unsafe {
            libc::write(
                libc::STDERR_FILENO,
                part.as_ptr().cast(),
                part.to_bytes().len(),
            );
        }
    }
    Err(error)
}
