//! Processes as they are remembered in files: an id alone may be given to
//! another process after the first one has ended.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use podway_kernel::pidfd::PidFd;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::files::write_whole;

/// A process: its id and its start time in clock ticks since the machine's
/// boot, which together name no other process until the next boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) started: u64,
}

impl Process {
    /// The process that has this id now; `None` where it has ended, also when
    /// its parent has not collected it yet.
    pub(crate) fn running(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, started) = parse_stat(&stat)?;
        (!matches!(state, 'Z' | 'X')).then_some(Self { pid, started })
    }

    pub(crate) fn is_running(self) -> bool {
        Self::running(self.pid) == Some(self)
    }

    /// Takes hold of it, if it is still running.
    pub(crate) fn hold(self) -> io::Result<Option<PidFd>> {
        let held = PidFd::open(self.pid)?;
        // The order matters: what is held cannot change any more.
        Ok(held.filter(|_| self.is_running()))
    }

    /// Ends it at once and waits until it is gone. Whether it was running.
    pub(crate) fn kill(self) -> io::Result<bool> {
        let Some(held) = self.hold()? else {
            return Ok(false);
        };
        held.signal(Signal::SIGKILL)?;
        // SIGKILL cannot be refused, but a process in the midst of a system
        // call (a namespace's teardown) ends when that returns.
        held.wait(KILL_LIMIT)?;
        Ok(true)
    }

    /// Remembers it in a file.
    pub(crate) fn write(self, path: &Path) -> Result<(), Error> {
        write_whole(path, &format!("{} {}\n", self.pid, self.started))
    }

    /// The process remembered in a file, if it is still running.
    pub(crate) fn remembered(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let (pid, started) = text.trim_end().split_once(' ')?;
        let process = Self {
            pid: pid.parse().ok()?,
            started: started.parse().ok()?,
        };
        process.is_running().then_some(process)
    }
}

/// How long a killed process may take to go.
pub(crate) const KILL_LIMIT: Duration = Duration::from_secs(10);

/// State and start time of `/proc/PID/stat`, fields 3 and 22. The second field
/// is the program's name in parentheses and may itself hold both and spaces.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// The ids of all processes that can be seen.
pub(crate) fn all() -> io::Result<Vec<i32>> {
    let ids = fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    Ok(ids)
}

/// Whether the environment that a process was started with has this line
/// (`NAME=value`). A process that has ended has no environment.
pub(crate) fn has_environment(pid: i32, line: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment
        .split(|&byte| byte == 0)
        .any(|entry| entry == line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_does_not_confuse_its_start_time() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        for name in ["cat", "a b", "x) S 1", "(("] {
            let stat = format!("17 ({name}) {rest}");
            assert_eq!(parse_stat(&stat), Some(('S', 4711)), "{stat}");
        }
        assert_eq!(parse_stat("17 (cat"), None);
        assert_eq!(parse_stat("17 (cat) S 1 2"), None);
    }

    #[test]
    fn this_process_runs_and_one_that_started_otherwise_does_not() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let this = Process::running(pid).unwrap();
        assert!(this.is_running());
        let other = Process {
            started: this.started + 1,
            ..this
        };
        assert!(!other.is_running());
        assert!(other.hold().unwrap().is_none());
    }
}
