//! `pause`: the first process of a sandbox, which owns its namespaces.

use tokio::signal::unix::{SignalKind, signal};

use crate::Error;

/// Reaps what is left to it and ends with 0 on SIGTERM or SIGINT.
pub(super) fn run() -> Result<u8, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(Error::io("start the event loop of pause"))?;
    runtime.block_on(async {
        let mut terminate =
            signal(SignalKind::terminate()).map_err(Error::io("receive SIGTERM"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::io("receive SIGINT"))?;
        let mut child = signal(SignalKind::child()).map_err(Error::io("receive SIGCHLD"))?;
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(0),
                _ = interrupt.recv() => return Ok(0),
                _ = child.recv() => reap(),
            }
        }
    })
}

/// Collects every child that has ended: signals are merged, so one SIGCHLD may
/// stand for several children.
fn reap() {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}
