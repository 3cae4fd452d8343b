//! A BGP-4 speaker that announces prefixes and learns none.
//!
//! [`Message`] is the codec (RFC 4271, 4760, 2918, 1997, 8092, 6793, 4724),
//! [`Session`] the state machine of one peer (RFC 4271 section 8), [`RibOut`]
//! what that peer has been told. Every error of a peer maps to the NOTIFICATION
//! that the RFC asks for; none panics.

mod attribute;
mod message;
mod notification;
mod open;
mod prefix;
mod rib_out;
mod session;
mod update;

pub use attribute::{AsPathSegment, Attributes, LargeCommunity, Origin, UnknownAttribute};
pub use message::{HEADER, MAX_MESSAGE, Message, Received};
pub use notification::{Cease, Notification};
pub use open::{Capability, GracefulRestart, Open};
pub use prefix::Family;
pub use rib_out::{NextHops, Path, RibOut};
pub use session::{
    Action, DownReason, Established, Event, PeerAsn, Session, SessionConfig, Side, State,
};
pub use update::{Reach, Unreach, Update, UpdateError};
