use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use podway_watch::client::ClientError;

/// Why an agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process may not change the network.
    #[error("the agent needs root: capability CAP_NET_ADMIN is missing")]
    NotRoot,
    /// The process' own state cannot be read.
    #[error("read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The host has no name that a Node could have.
    #[error("the host has no name: set nodeName in the configuration")]
    NoNodeName,
    /// The kernel cannot do what the configuration asks for.
    #[error("this kernel cannot do what {section} needs: {missing}; {remedy}")]
    Kernel {
        /// The section of the configuration.
        section: &'static str,
        /// What is missing.
        missing: String,
        /// What to do.
        remedy: &'static str,
        /// The kernel's answer.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A backend cannot be opened.
    #[error("open {feature}")]
    Open {
        /// The feature.
        feature: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The API server cannot be talked to.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The socket cannot be served.
    #[error("serve {path}: is another agent running with this socket?")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An address cannot be listened at, and the configuration says that this
    /// is fatal.
    #[error("listen at {address} for {what}: is another process there?")]
    Listen {
        /// What is answered there.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The configuration cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// A thread or the runtime cannot be started.
    #[error("start {what}")]
    Start {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The sync thread is gone: a defect.
    #[error("the sync thread ended by itself; what is in the kernel stays as it is")]
    SyncEnded,
    /// Not everything of ours could be removed.
    #[error("{} things could not be removed: {}", .0.len(), .0.join("; "))]
    Cleanup(Vec<String>),
}
