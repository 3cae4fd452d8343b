//! Where a program prints to: pseudo-terminals, as far as the `nix` crate leaves
//! them out, and pipes that close.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal, signal};

/// Tells a terminal its size; its foreground processes get SIGWINCH.
///
/// # Errors
/// Not a terminal.
pub fn resize(terminal: impl AsFd, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCSWINSZ reads a winsize, which outlives the call.
    let result = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &size) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// Lets a closed pipe end this program quietly, as any program of a pipeline
/// ends (`podway status | head -1`). Rust programs ignore the signal and get an
/// error from each write instead.
///
/// Only for programs that print and are done: whoever must tidy up, or serves
/// others over pipes and sockets, wants the error.
pub fn end_with_the_pipe() {
    // SAFETY: the default action runs no code of ours in a signal handler.
    let set = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    set.expect("SIGPIPE's action can be set");
}
