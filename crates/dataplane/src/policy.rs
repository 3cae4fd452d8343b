//! Policies: what pods may reach and what may reach them.
//!
//! A backend is opened in the node's network namespace, on the thread that
//! uses it.

pub mod nftables;

use std::net::IpAddr;
use std::time::Instant;

use podway_kernel::{conntrack, nflog, nft};
use podway_plan::policy::{Direction, PolicyChange, PolicyTable};

/// One way to enforce policies.
///
/// Packets are judged after DNAT and before SNAT, by origin: what the node
/// itself opens to its pods is never asked. What is denied is dropped.
pub trait PolicyBackend: Send {
    /// Makes the kernel enforce what the table says.
    ///
    /// With a change, writes only the change; the backend must have been given
    /// the table as it was before. Without one, reads what the kernel holds and
    /// mends every difference: after a start, an error, or a change by somebody
    /// else. Either way everything is in force at once or not at all, and
    /// nothing is opened on the way.
    ///
    /// # Errors
    /// [`Error`]; then the kernel holds what it held, and the next call compares
    /// in full whatever it is given.
    fn sync(
        &mut self,
        table: &PolicyTable,
        change: Option<&PolicyChange>,
    ) -> Result<SyncReport, Error>;

    /// Does what a sync left to be done in its own time, and says when to call
    /// again: at once after each sync, and then as it says. A failure leaves more
    /// to the kernel than it need do, and nothing open.
    ///
    /// # Errors
    /// [`Error`]; as for [`PolicyBackend::sync`].
    fn follow_up(&mut self, now: Instant) -> Result<Option<Instant>, Error>;

    /// How many packets were denied to each address of an isolated pod, since it
    /// was isolated. Reads the kernel.
    ///
    /// # Errors
    /// [`Error`].
    fn denied(&mut self) -> Result<Vec<DeniedPackets>, Error>;

    /// What was denied since the last call, where [`PolicyOptions::log`] is set;
    /// of many packets only some. Does not wait.
    ///
    /// # Errors
    /// [`Error`].
    fn denials(&mut self) -> Result<Vec<Denial>, Error>;

    /// Removes everything of this backend from the node, and nothing else. Every
    /// pod is open then.
    ///
    /// # Errors
    /// [`Error`]; then everything is still there.
    fn cleanup(&mut self) -> Result<(), Error>;

    /// The netlink port that the kernel's notifications name as the origin of
    /// this backend's own changes, where it has one.
    fn netlink_port(&self) -> Option<u32>;
}

/// The bit of the connection mark that says: judge this connection again, a
/// policy has changed since it was allowed.
pub const SUSPECT_CONNECTION_MARK: u32 = 0x2000;

/// What can be chosen about enforcement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PolicyOptions {
    /// What becomes of connections that a change denies.
    pub established: Established,
    /// The group of the interfaces of this node's pods: what comes in by one of
    /// them with the address of somebody else is dropped. `None` lets it pass.
    pub anti_spoofing: Option<u32>,
    /// The kernel's log group that denied packets are copied to; `None` copies
    /// none.
    pub log: Option<u16>,
}

/// How many packets were denied to a pod at one of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeniedPackets {
    /// The pod's address.
    pub address: IpAddr,
    /// Whether they came to it or from it.
    pub direction: Direction,
    /// They passed: policies in audit mode would deny them. Only a connection's
    /// first packet is asked about.
    pub is_audit: bool,
    /// How many.
    pub packets: u64,
}

/// One packet that was denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denial {
    /// Why.
    pub reason: DenialReason,
    /// Who opened the connection.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// The transport protocol, by IANA number.
    pub protocol: u8,
    /// The port of the destination, where the protocol has ports.
    pub port: Option<u16>,
}

/// Why a packet was denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DenialReason {
    /// The policies of one side did not allow it.
    Policies(Direction),
    /// It passed: policies in audit mode would not allow it.
    Audit(Direction),
    /// A pod sent it from an address that is not its own.
    Forged,
}

/// What becomes of connections that were allowed and that a change denies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Established {
    /// Nothing of them passes any more.
    #[default]
    Cut,
    /// They stay for as long as they last.
    Leave,
}

/// What a sync did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// How many messages the kernel was told; 0 when it held everything.
    pub writes: u64,
    /// How many elements of sets and maps were added or deleted.
    pub elements: u64,
}

/// One backend, for flags, help and status.
#[derive(Debug, Clone, Copy)]
pub struct BackendSpec {
    /// Its name, as in configuration.
    pub name: &'static str,
    /// What it is, in half a sentence.
    pub summary: &'static str,
    /// Opens it in the calling thread's network namespace.
    pub open: fn(PolicyOptions) -> Result<Box<dyn PolicyBackend>, Error>,
}

/// Every way to enforce policies that there is.
pub const BACKENDS: &[BackendSpec] = &[nftables::SPEC];

/// The backend of this name.
#[must_use]
pub fn backend(name: &str) -> Option<&'static BackendSpec> {
    BACKENDS.iter().find(|spec| spec.name == name)
}

/// Why policies could not be enforced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// nf_tables could not be read or written.
    #[error("cannot program policies: what was in force stays in force")]
    Nft(#[from] nft::Error),
    /// The connection table could not be opened.
    #[error("cannot judge established connections again")]
    Conntrack(#[from] conntrack::Error),
    /// Denied packets could not be read.
    #[error("cannot say which packets are denied")]
    Log(#[from] nflog::Error),
}
