//! Bidirectional Forwarding Detection, asynchronous mode without echo
//! (RFC 5880, 5881): whether the way to a neighbour is alive, in milliseconds.

mod packet;
mod session;

pub use packet::{Diagnostic, Packet, PacketError, State};
pub use session::{Change, Session, SessionConfig};
