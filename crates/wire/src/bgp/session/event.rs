use super::super::{Cease, Family, Notification};
use super::Established;

/// Which of a session's two possible connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The one that this speaker opened.
    Own,
    /// The one that the peer opened.
    Theirs,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Own, Self::Theirs];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Own => Self::Theirs,
            Self::Theirs => Self::Own,
        }
    }
}

/// The states of RFC 4271 section 8.2.2, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Stopped, or resting after a failure.
    Idle,
    /// A connection is being made.
    Connect,
    /// The peer's connection is waited for.
    Active,
    /// An OPEN was sent.
    OpenSent,
    /// OPENs were exchanged.
    OpenConfirm,
    /// Prefixes may be exchanged.
    Established,
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The session is wanted.
    Start,
    /// It is not wanted any more.
    Stop(Cease),
    /// A TCP connection is there.
    Connected(Side),
    /// The own connection could not be made.
    ConnectFailed,
    /// A connection was closed by the peer or broke.
    Closed(Side),
    /// Bytes came in.
    Received(Side, &'a [u8]),
    /// A deadline has come.
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a TCP connection to the peer.
    Connect,
    /// Give up the one that is being opened.
    AbandonConnect,
    /// Send these bytes.
    Send(Side, Vec<u8>),
    /// Close the connection after what was sent.
    Close(Side),
    /// The session is up: tell everything, then the ends of the families.
    Up(Side, Established),
    /// The session was up and is not any more.
    Down(DownReason),
    /// An attempt failed before the session was up.
    Refused(DownReason),
    /// The peer wants a family again.
    Refresh(Family),
    /// An UPDATE of the peer made no sense; worth a log line.
    IgnoredUpdate(Notification),
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownReason {
    /// The connection was closed without a word.
    Closed,
    /// The peer said why.
    Told(Notification),
    /// This speaker said why.
    Sent(Notification),
}
