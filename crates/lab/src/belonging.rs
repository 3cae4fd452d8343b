//! Which processes belong to a pod, a node or a lab, and their end.

use std::io;

use nix::sys::signal::Signal;
use podway_kernel::netns::{NetNs, NetNsId};
use podway_kernel::pidfd::PidFd;

use crate::process::{self, KILL_LIMIT};

/// What makes a process belong. Either is enough: a container may have another
/// environment than it was started with, and a kubelet is in no pod's namespace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Belonging {
    /// Network namespaces, which the caller keeps open: an id that is not held
    /// may be given to a new namespace.
    pub(crate) namespaces: Vec<NetNsId>,
    /// Lines of the environment, all of which a process must have.
    pub(crate) marks: Vec<String>,
    /// Processes that are spared.
    pub(crate) spared: Vec<i32>,
}

/// How often the processes are looked through: a process may fork while it is
/// being ended, and its child is found the next time.
const PASSES: usize = 20;

impl Belonging {
    /// Ends every process that belongs, until there is none, and returns their
    /// ids and names. Blocks.
    ///
    /// # Errors
    /// When `/proc` cannot be read, a process cannot be signalled, or new ones
    /// keep appearing.
    pub(crate) fn end_all(&self) -> io::Result<Vec<(i32, String)>> {
        let mut ended = Vec::new();
        for _ in 0..PASSES {
            let found = self.held()?;
            if found.is_empty() {
                return Ok(ended);
            }
            for (pid, held) in &found {
                let name = name_of(*pid);
                if held.signal(Signal::SIGKILL)? {
                    ended.push((*pid, name));
                }
            }
            for (_, held) in &found {
                held.wait(KILL_LIMIT)?;
            }
        }
        Err(io::Error::other("new processes keep appearing"))
    }

    fn held(&self) -> io::Result<Vec<(i32, PidFd)>> {
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let mut held = Vec::new();
        for pid in process::all()? {
            if pid == own || self.spared.contains(&pid) {
                continue;
            }
            // Held first, examined afterwards: what is held stays the same.
            if let Some(descriptor) = PidFd::open(pid)?
                && self.includes(pid)
            {
                held.push((pid, descriptor));
            }
        }
        Ok(held)
    }

    fn includes(&self, pid: i32) -> bool {
        let marked = || {
            !self.marks.is_empty()
                && self
                    .marks
                    .iter()
                    .all(|mark| process::has_environment(pid, mark))
        };
        let inside = || {
            let namespace =
                NetNs::of_process(pid.unsigned_abs()).and_then(|namespace| namespace.id());
            namespace.is_ok_and(|id| self.namespaces.contains(&id))
        };
        marked() || (!self.namespaces.is_empty() && inside())
    }
}

/// A process's name for reports.
fn name_of(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}
