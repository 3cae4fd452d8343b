//! `pause`: the first process of a sandbox, which owns its namespaces.

use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::Error;

/// Reaps what is left to it and ends with 0 on SIGTERM or SIGINT.
pub(super) fn run() -> Result<ExitCode, Error> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
        signals.add(signal);
    }
    // Blocked signals wait for sigwait(3): none is lost between two waits, and
    // as process 1 of a PID namespace pause is not spared them.
    signals
        .thread_block()
        .map_err(|errno| Error::io("block signals")(errno.into()))?;
    loop {
        match signals.wait() {
            Ok(Signal::SIGTERM | Signal::SIGINT) => return Ok(ExitCode::SUCCESS),
            Ok(_) => reap(),
            Err(errno) => return Err(Error::io("wait for signals")(errno.into())),
        }
    }
}

/// Collects every child that has ended: signals are merged, so one SIGCHLD may
/// stand for several children.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}
