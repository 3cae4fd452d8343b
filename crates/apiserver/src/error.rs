//! Why the server cannot start or go on.

use std::path::PathBuf;

use crate::status::Status;
use crate::store::StoreError;

/// An error of the server itself; what a request did wrong is a
/// [`Status`](crate::Status).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the server's folder cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was attempted: "read", "write", "create the folder".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make the certificate for {subject}; is its key or name invalid?")]
    Certificate {
        /// Whose certificate.
        subject: String,
        /// What the generator said.
        #[source]
        source: rcgen::Error,
    },
    /// A stored certificate or token is damaged.
    #[error("{} is damaged: {why}; remove the folder to have new certificates and tokens made", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// TLS refuses its configuration.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// A listener cannot be used.
    #[error("cannot listen on {address}")]
    Listen {
        /// The listener's address, as far as known.
        address: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// One of the objects that every cluster has cannot be made as it should be.
    #[error("cannot bring {object} to what it should be at start")]
    Bootstrap {
        /// Which object.
        object: String,
        /// The server's own answer.
        #[source]
        source: Box<Status>,
    },
    /// The settings contradict themselves.
    #[error("invalid settings: {0}")]
    Settings(String),
}
