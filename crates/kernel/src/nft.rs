//! nf_tables over netlink, without the `nft` program.
//!
//! Rules, sets and elements are values. Each prints as `nft list` prints it
//! and encodes to what the kernel wants, so a rule in the source reads like the
//! rule on the node. All tables are of family `inet`: one table for both IP
//! families.
//!
//! A [`Ruleset`] is a whole table, [`reconcile`] compares one with what the
//! kernel holds, a [`Transaction`] is what has to be written, and [`Nftables`]
//! writes it: [`Nft`] to the kernel, [`FakeNft`] to memory.

mod chain;
mod dump;
mod encode;
mod error;
mod expression;
mod fake;
mod field;
mod message;
mod monitor;
mod reconcile;
mod rule;
mod ruleset;
mod set;
mod set_userdata;
mod socket;
mod text;
mod transaction;
mod value;

pub use chain::{BaseChain, Chain, ChainPolicy, ChainType, Hook};
pub use dump::{ChainDump, Count, RuleDump, SetDump, TableDump};
pub use error::Error;
pub use expression::Expressions;
pub use fake::{FakeNft, Fault};
pub use field::{Family, Field, Type};
pub use monitor::{ForeignChange, NftMonitor};
pub use reconcile::reconcile;
pub use rule::{
    Comparison, Destination, MarkChange, Pattern, PrioritySource, Reject, Rule, SetAction,
    Statement, Verdict,
};
pub use ruleset::Ruleset;
pub use set::{Data, Element, MapData, Part, Set, SetFlags, SetShape};
pub use socket::Nft;
pub use transaction::{Operation, Transaction, Written};
pub use value::Value;

/// Writes transactions and reads tables.
pub trait Nftables {
    /// Writes everything or nothing. An empty transaction sends no message.
    ///
    /// # Errors
    /// [`Error::Refused`] names the operation at fault; then nothing was
    /// written.
    fn apply(&mut self, transaction: &Transaction) -> Result<Written, Error>;

    /// Reads a table; `None` where there is none. Elements that packets add
    /// (dynamic sets) are left out.
    ///
    /// # Errors
    /// Failures of the socket.
    fn dump(&mut self, table: &str) -> Result<Option<TableDump>, Error>;

    /// What the elements of a set have counted that counts
    /// ([`Set::counting`]), in no order.
    ///
    /// # Errors
    /// Failures of the socket, or where there is no such set.
    fn counts(&mut self, table: &str, set: &str) -> Result<Vec<Count>, Error>;

    /// What has been written since it was opened.
    fn written(&self) -> Written;
}
