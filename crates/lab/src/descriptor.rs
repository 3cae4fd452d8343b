//! Awaiting descriptors that tokio has no type for.
//!
//! tokio's general `AsyncFd` is unsafe to make. Its pipes are not, and ask
//! nothing of a descriptor but that it can be polled and read or written; that
//! holds for inotify, pidfds and terminals as well.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::net::unix::pipe;

use crate::process::Process;

/// Reads from a descriptor that does not block.
pub(crate) fn reader(descriptor: impl AsFd) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd_unchecked(copy(descriptor)?)
}

/// Writes to a descriptor that does not block.
pub(crate) fn writer(descriptor: impl AsFd) -> io::Result<pipe::Sender> {
    pipe::Sender::from_owned_fd_unchecked(copy(descriptor)?)
}

/// A copy of its own for tokio, which closes what it was given.
fn copy(descriptor: impl AsFd) -> io::Result<OwnedFd> {
    descriptor.as_fd().try_clone_to_owned()
}

/// Waits for the end of any process; returns at once where it has ended.
pub(crate) async fn end_of(process: Process) -> io::Result<()> {
    match process.hold()? {
        // A pidfd becomes readable when its process ends.
        Some(held) => reader(held)?.readable().await,
        None => Ok(()),
    }
}
