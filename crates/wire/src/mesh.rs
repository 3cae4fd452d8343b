//! Which node holds an address: failure detection and leases in one exchange.
//!
//! Every node sends every other one a heartbeat and answers theirs. A heartbeat
//! says which addresses its sender claims; the answer says which of these the
//! answering node votes for. A node *holds* an address, and may answer ARP for
//! it, while a majority of the nodes votes for it.
//!
//! **Never two.** A vote is a promise to vote for nobody else for
//! [`Timing::lease`] from when the claim came in, and its claimant counts it
//! from when the claim was *sent*, less [`Timing::margin`]; so it stops before
//! any voter is free again. A promise ends early only by a release that its
//! holder sent after it had stopped. A node that starts votes for nobody for a
//! lease, because it does not know what it promised before. Two majorities have
//! a voter in common, so at no moment do two nodes hold one address, whatever is
//! lost, delayed, repeated or cut, in one direction or both. What this rests on:
//! clocks that run equally fast within margin/lease (5 %), and that run on while
//! a machine sleeps.
//!
//! **Rarely none.** Who is cut off or dies has sent its last claim by then, so
//! all promises to it end within a lease and the slowest datagram after. By then
//! every other node has missed its answers too, and the first in rank among
//! those that see a majority has begun to claim, every quarter interval. So an
//! address is held again within [`Timing::failover_bound`] where a majority of
//! nodes with a candidate among them hear each other and fewer than three
//! datagrams in a row are lost between them; [`Timing::recovery_bound`] where no
//! majority was left and one is back.
//!
//! **Ties.** A majority of two nodes is two. For an even number of nodes there is
//! one more vote, the *witness*: a Lease of the API server, which a node takes
//! when it sees just half of the nodes ([`Member::needs_witness`]), and casts with
//! each vote of its own. It is needed only then: with a majority at hand nothing
//! here waits for the API server.
//!
//! **Rank** is the caller's: `MetalLB`'s rule. A node claims an address when all
//! that rank before it are out of reach or have no majority themselves, and hands
//! it over when one of them is back and claims it. A claimant that has no
//! majority gives way to a better one that a voter tells it of, so that votes
//! never stay split.
//!
//! Datagrams are sealed with a key derived from a shared secret (see [`Key`]).
//! Forged ones are dropped unread. Repeated ones are dropped by their counter,
//! and those of an earlier life of a node can at most look like a claim: no vote
//! is given to a node that does not answer *our* heartbeats.

mod claimant;
mod link;
mod member;
mod message;
mod quorum;
mod seal;
mod timing;
mod voter;

pub use member::{Datagram, Desire, Member, PeerView};
pub use seal::{Incarnation, Key, OpenError};
pub use timing::Timing;

/// A node's place in the order of those that may hold an address: the lowest
/// comes first. It means the same on every node.
pub type Rank = u128;
