//! One direction of a connection: bytes from one end to the other, then the end
//! itself. Each direction ends by itself (half-close).

use std::io;

/// How far a direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Bytes may come; this many have come and not gone.
    Open(usize),
    /// None will come any more; this many have not gone.
    Ending(usize),
    /// The other end has been told that nothing will follow.
    Ended,
}

/// What moves the bytes.
pub(super) trait Carrier {
    /// Takes in what has come, on top of so many bytes. 0 is the end.
    fn fill(&mut self, held: usize) -> io::Result<usize>;

    /// Passes on some of so many bytes.
    fn drain(&mut self, held: usize) -> io::Result<usize>;

    /// Tells the other end that nothing follows.
    fn finish(&mut self) -> io::Result<()>;
}

/// Why a direction rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It would block: it goes on when an end has changed.
    Blocked,
    /// It has moved its share: it goes on when others have.
    Busy,
    /// It is over.
    Ended,
}

impl Direction {
    /// Nothing has come yet.
    pub(super) const START: Self = Self::Open(0);

    /// Bytes that have come and not gone.
    pub(super) const fn held(self) -> usize {
        match self {
            Self::Open(held) | Self::Ending(held) => held,
            Self::Ended => 0,
        }
    }

    /// Moves bytes until it would block, or about `share` of them have moved.
    ///
    /// # Errors
    /// An end is broken: the whole connection is.
    pub(super) fn pump(&mut self, carrier: &mut impl Carrier, share: usize) -> io::Result<Rest> {
        let mut moved = 0;
        loop {
            let came = self.take_in(carrier)?;
            let went = self.pass_on(carrier)?;
            moved += went.unwrap_or(0);
            match *self {
                Self::Ended => return Ok(Rest::Ended),
                Self::Ending(0) => {
                    carrier.finish()?;
                    *self = Self::Ended;
                    return Ok(Rest::Ended);
                }
                _ if came.is_none() && went.is_none() => return Ok(Rest::Blocked),
                _ if moved >= share => return Ok(Rest::Busy),
                _ => {}
            }
        }
    }

    /// `None` where nothing can come now.
    fn take_in(&mut self, carrier: &mut impl Carrier) -> io::Result<Option<usize>> {
        let Self::Open(held) = *self else {
            return Ok(None);
        };
        let came = unless_blocked(carrier.fill(held))?;
        match came {
            None => {}
            Some(0) => *self = Self::Ending(held),
            Some(came) => *self = Self::Open(held + came),
        }
        Ok(came)
    }

    /// `None` where nothing can go now.
    fn pass_on(&mut self, carrier: &mut impl Carrier) -> io::Result<Option<usize>> {
        if self.held() == 0 {
            return Ok(None);
        }
        let went = unless_blocked(carrier.drain(self.held()))?;
        if let (Some(went), Self::Open(held) | Self::Ending(held)) = (went, &mut *self) {
            *held -= went;
        }
        Ok(went)
    }
}

fn unless_blocked(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
