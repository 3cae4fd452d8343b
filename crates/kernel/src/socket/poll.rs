use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// How many events one wait takes.
const BATCH: usize = 256;

/// Waits for many descriptors at once (`epoll(7)`).
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

/// When a descriptor is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// As long as there is something to read.
    Reading,
    /// Once when there is something new to read, when there is room to write
    /// again, and when it ends: who hears of it goes on until it would block.
    Changes,
}

/// Something happened to a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// What it was added as.
    pub token: u64,
    /// It is broken: both of its directions have ended.
    pub is_broken: bool,
}

/// Wakes a [`Poller`] from another thread.
#[derive(Debug, Clone)]
pub struct Waker(Arc<EventFd>);

impl Poller {
    /// A poller of nothing.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: vec![EpollEvent::empty(); BATCH],
        })
    }

    /// Reports a descriptor as `token`. It is forgotten when it is closed.
    ///
    /// # Errors
    /// It is there already, or out of memory.
    pub fn add(&self, descriptor: &impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        let flags = match interest {
            Interest::Reading => EpollFlags::EPOLLIN,
            Interest::Changes => {
                EpollFlags::EPOLLIN
                    | EpollFlags::EPOLLOUT
                    | EpollFlags::EPOLLRDHUP
                    | EpollFlags::EPOLLET
            }
        };
        Ok(self.epoll.add(descriptor, EpollEvent::new(flags, token))?)
    }

    /// A waker, which is reported as `token`.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn waker(&self, token: u64) -> io::Result<Waker> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let event = EventFd::from_value_and_flags(0, flags)?;
        self.epoll
            .add(&event, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        Ok(Waker(Arc::new(event)))
    }

    /// Waits for events, at most so long (`None`: until there are some).
    ///
    /// # Errors
    /// Only where the poller itself is broken.
    pub fn wait(&mut self, most: Option<Duration>) -> io::Result<impl Iterator<Item = Event>> {
        // Rounded up: a wait of less than a millisecond must not become none.
        let timeout = most.map_or(EpollTimeout::NONE, |most| {
            let milliseconds = most.as_micros().div_ceil(1000);
            i32::try_from(milliseconds)
                .ok()
                .and_then(|milliseconds| EpollTimeout::try_from(milliseconds).ok())
                .unwrap_or(EpollTimeout::MAX)
        });
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        let broken = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
        Ok(self.events[..count].iter().map(move |event| Event {
            token: event.data(),
            is_broken: event.events().intersects(broken),
        }))
    }
}

impl Waker {
    /// Wakes the poller, now or when it next waits.
    pub fn wake(&self) {
        // Full only where it has been woken 2^64 times without looking.
        let _ = self.0.write(1);
    }

    /// Takes back what woke it.
    pub fn settle(&self) {
        // Nothing to read where nobody woke it.
        let _ = self.0.read();
    }
}
