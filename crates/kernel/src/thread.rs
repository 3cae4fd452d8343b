//! How threads are scheduled.

use std::io;

use nix::errno::Errno;

/// The nice value that comes first.
const FIRST: libc::c_int = -20;

/// Lets the calling thread come before all ordinary ones whenever it has
/// something to do, as the kernel's own work with packets does (`nice(2)`;
/// capability `CAP_SYS_NICE`).
///
/// # Errors
/// Without the capability.
pub fn come_first() -> io::Result<()> {
    // SAFETY: takes three integers; 0 is the calling thread, for Linux keeps
    // the value for each thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, FIRST) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}
