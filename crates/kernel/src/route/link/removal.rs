//! Deleting an interface without waiting for the kernel to forget it.
//!
//! Whoever deletes an interface is held up for 20-30 ms in which nothing of it
//! is left to see: it, its addresses and its routes are gone, and the kernel
//! waits until no processor can still be looking at its memory
//! (`rcu_barrier` in `netdev_run_todo`). A thread would hold up the end of its
//! process just as long, so another process does the waiting. Who adopts it when
//! its parent has ended (process 1, as a rule) reaps it, as any daemon.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{LinkIndex, message};
use crate::netlink::{Bus, FLAG_ACK, HEADER, Socket, put_message};
use crate::pidfd::PidFd;
use crate::route::error::{Error, Result};
use crate::route::monitor::{Group, Monitor, Notification};
use crate::route::socket::{Rtnetlink, encode};

/// What a child says that could not ask the kernel.
const CONFUSED: i32 = 255;

impl Rtnetlink {
    /// Deletes an interface of the calling thread's namespace, a veth with its
    /// peer, and returns once it is out of sight, with its addresses and
    /// routes. For programs that end soon: a child process stays behind that
    /// ends by itself some milliseconds later, without standard streams.
    ///
    /// # Errors
    /// Kind `NotFound` where the interface is gone.
    pub fn delete_link_and_leave(&mut self, link: LinkIndex) -> Result<()> {
        // Before the child can begin: nothing may be missed.
        let mut monitor = Monitor::open(&[Group::Link])?;
        let socket = Socket::open(Bus::Route).map_err(Error::Open)?;
        let Ok(child) = fork_to_delete(&socket, link) else {
            // Too many processes: wait then.
            return self.delete_link(link);
        };
        let outcome = await_removal(&mut monitor, child, link)?;
        match outcome {
            Removal::Done => Ok(()),
            Removal::Refused(errno) => Err(Error::Refused {
                operation: "delete interface",
                object: link.to_string(),
                reason: None,
                errno,
            }),
            // Somebody killed the child.
            Removal::Unknown => self.delete_link(link),
        }
    }
}

enum Removal {
    Done,
    Refused(Errno),
    Unknown,
}

fn fork_to_delete(socket: &Socket, link: LinkIndex) -> nix::Result<Pid> {
    let (kind, body) = encode(&RouteNetlinkMessage::DelLink(message::of_index(link)));
    let mut request = Vec::with_capacity(HEADER + body.len());
    put_message(&mut request, kind, FLAG_ACK, 1, |out| {
        out.extend_from_slice(&body);
    });
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the child makes system calls on values that exist before the fork
    // and ends with `_exit`: it neither allocates nor locks, so what other
    // threads of this process were doing does not matter.
    match unsafe { libc::fork() } {
        -1 => Err(Errno::last()),
        // SAFETY: as above; this is the child, which never returns.
        0 => unsafe { delete(socket, &request) },
        child => Ok(Pid::from_raw(child)),
    }
}

/// The child: asks, and says in its exit code what was answered.
///
/// # Safety
/// Only in a process that was just forked.
unsafe fn delete(socket: i32, request: &[u8]) -> ! {
    let mut answer = [0_u8; 64];
    // SAFETY: each call takes descriptors and a buffer with its length, which
    // outlive it; `_exit` runs no code of this program.
    unsafe {
        // Whoever reads what this program says must not wait for the child, nor
        // may it hold locks and namespaces of which its parent lets go.
        libc::dup2(socket, 0);
        libc::close_range(1, libc::c_uint::MAX, 0);
        let socket = 0;
        let sent = libc::send(socket, request.as_ptr().cast(), request.len(), 0);
        let read = libc::recv(socket, answer.as_mut_ptr().cast(), answer.len(), 0);
        let code = if sent > 0 && read >= 20 {
            let errno = [answer[16], answer[17], answer[18], answer[19]];
            // An errno is below 255.
            -i32::from_ne_bytes(errno)
        } else {
            CONFUSED
        };
        libc::_exit(code)
    }
}

fn await_removal(monitor: &mut Monitor, child: Pid, link: LinkIndex) -> Result<Removal> {
    let Ok(Some(held)) = PidFd::open(child.as_raw()) else {
        return Ok(ended(child, WaitPidFlag::empty()));
    };
    loop {
        let mut watched = [monitor.as_fd(), held.as_fd()]
            .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(_) => return Ok(ended(child, WaitPidFlag::empty())),
        }
        let [told, has_ended] = watched.map(|watched| watched.any().unwrap_or_default());
        if told {
            while let Some(notification) = monitor.next(Some(Duration::ZERO))? {
                if matches!(&notification, Notification::Link(false, gone) if gone.index == link) {
                    return Ok(Removal::Done);
                }
            }
        }
        if has_ended {
            return Ok(ended(child, WaitPidFlag::WNOHANG));
        }
    }
}

fn ended(child: Pid, flags: WaitPidFlag) -> Removal {
    match waitpid(child, Some(flags)) {
        Ok(WaitStatus::Exited(_, 0)) => Removal::Done,
        Ok(WaitStatus::Exited(_, code)) if code != CONFUSED => {
            Removal::Refused(Errno::from_raw(code))
        }
        _ => Removal::Unknown,
    }
}
