use nix::errno::Errno;

use crate::netlink;

/// Why nf_tables could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket failed.
    #[error("nf_tables: talking to the kernel failed")]
    Socket(#[from] netlink::Error),
    /// The kernel refused a transaction; nothing of it was written.
    #[error(
        "nf_tables: the kernel refused `{operation}` in table {table}{}{}",
        explained(reason.as_deref()),
        likely(*errno)
    )]
    Refused {
        /// The table.
        table: String,
        /// The operation at fault as nft text, cut where it is long.
        operation: String,
        /// Where it stands in the transaction, from 0.
        index: usize,
        /// The error.
        #[source]
        errno: Errno,
        /// The kernel's own explanation, where it gives one.
        reason: Option<String>,
    },
    /// The kernel refused a transaction as a whole.
    #[error("nf_tables: the kernel refused a transaction on table {table}{}", likely(*errno))]
    Aborted {
        /// The table.
        table: String,
        /// The error.
        #[source]
        errno: Errno,
    },
    /// One element alone is larger than a message can be.
    #[error("nf_tables: an element of set {set} is larger than 64 kB")]
    TooLarge {
        /// The set.
        set: String,
    },
}

impl Error {
    /// Whether what the kernel holds may differ from what we believe, so that
    /// only a full comparison helps.
    #[must_use]
    pub const fn suggests_foreign_change(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                errno: Errno::ENOENT | Errno::EEXIST | Errno::EBUSY,
                ..
            }
        )
    }
}

fn explained(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(": {reason}"))
}

const fn likely(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOENT => " (something it refers to is gone: did another program change the table?)",
        Errno::EEXIST => " (it is there already: did another program change the table?)",
        Errno::EBUSY => " (something still refers to it)",
        Errno::EPERM => " (CAP_NET_ADMIN is needed)",
        Errno::EOPNOTSUPP => " (the kernel lacks a part of nf_tables)",
        Errno::EMFILE | Errno::ELOOP => " (chains lead to each other in too many steps)",
        Errno::ENFILE | Errno::ENOSPC => " (the set is full)",
        _ => "",
    }
}
