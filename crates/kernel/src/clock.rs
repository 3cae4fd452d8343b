//! The clock that leases are compared with.

use std::time::Duration;

/// How long the machine has been up, sleep included (`CLOCK_BOOTTIME`): unlike
/// `CLOCK_MONOTONIC` it goes on while the machine is suspended, so that whoever
/// wakes up knows how old its promises are.
#[must_use]
pub fn since_boot() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes to a timespec that outlives the call. The clock
    // is there since Linux 2.6.39; where it were not, the time would stay 0.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    let seconds = time.tv_sec.try_into().unwrap_or(0);
    let nanoseconds = time.tv_nsec.try_into().unwrap_or(0);
    Duration::new(seconds, nanoseconds)
}
