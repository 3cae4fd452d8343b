use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use podway_kernel::{netns, route, sysctl};

use crate::agent_protocol::ClientError;

/// Why a command failed. [`Error::code`] is its number in the CNI
/// specification, section "Error".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A version that is not spoken.
    #[error(
        "incompatible CNI version {version:?}: supported are {}",
        crate::version::list()
    )]
    Version {
        /// What the configuration asks for.
        version: String,
    },
    /// A key that nobody would act on.
    #[error("unsupported field {key} = {value} in the configuration of network {network:?}")]
    UnsupportedField {
        /// The network.
        network: String,
        /// The key.
        key: String,
        /// Its value as JSON.
        value: String,
    },
    /// A variable is missing or wrong.
    #[error("{0}")]
    Environment(EnvironmentError),
    /// The configuration is no JSON, or has values of wrong types.
    #[error("cannot decode the network configuration on standard input")]
    Decode(#[source] serde_json::Error),
    /// Standard input cannot be read.
    #[error("cannot read the network configuration from standard input")]
    Input(#[source] io::Error),
    /// The configuration asks for the impossible.
    #[error("invalid network configuration: {field}: {reason}")]
    Config {
        /// The key.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The pod's namespace is not there, or is the node's own.
    #[error("invalid CNI_NETNS {path:?}: {reason}")]
    Namespace {
        /// What the variable says.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] netns::Error),
    /// The kernel refused.
    #[error(transparent)]
    Route(#[from] route::Error),
    /// A kernel parameter could not be set.
    #[error(transparent)]
    Sysctl(#[from] sysctl::Error),
    /// The pod or the node has an interface of that name already.
    #[error("interface {name} exists already in {namespace}")]
    InterfaceExists {
        /// The name.
        name: String,
        /// The pod's namespace.
        namespace: String,
    },
    /// An interface that is up carries nothing.
    #[error("interface {link} is up and does not carry packets")]
    NotRunning {
        /// The interface.
        link: route::LinkIndex,
    },
    /// Every address is taken.
    #[error(
        "no address left in {prefix}: all {capacity} are taken, delete pods or give the node a larger podCIDR"
    )]
    Exhausted {
        /// The pods' prefix.
        prefix: IpNet,
        /// How many pods it has room for.
        capacity: u64,
    },
    /// The same interface has addresses already.
    #[error(
        "container {container} has address {address} for {ifname} already: it needs a DEL first"
    )]
    AlreadyLeased {
        /// The container.
        container: String,
        /// The interface.
        ifname: String,
        /// One of its addresses.
        address: IpAddr,
    },
    /// The state cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    State {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The state is not what this plugin writes.
    #[error("the state in {} is damaged: repair it, or delete it once no pod of this network runs", path.display())]
    DamagedState {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: serde_json::Error,
    },
    /// The pod's policies are not known to be in force.
    #[error("the policies of pod {pod} are not in force, so it gets no network")]
    Policies {
        /// `namespace/name`.
        pod: String,
        /// The reason.
        #[source]
        source: ClientError,
    },
}

/// What is wrong with the environment.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// Variables that the command needs are not set.
    #[error("required env variables [{}] missing", names.join(","))]
    Missing {
        /// Their names.
        names: Vec<&'static str>,
    },
    /// No command that is known.
    #[error("unknown CNI_COMMAND: {command}")]
    Command {
        /// What the variable says.
        command: String,
    },
    /// A variable's value is impossible.
    #[error("invalid {name} {value:?}: {reason}")]
    Value {
        /// The variable.
        name: &'static str,
        /// What it says.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// The error's code: 1 to 11 are the specification's, 8 is that of its
    /// reference implementation, from 100 on they are this plugin's.
    #[must_use]
    pub const fn code(&self) -> u32 {
        match self {
            Self::Version { .. } => 1,
            Self::UnsupportedField { .. } => 2,
            Self::Environment(_) => 4,
            Self::Input(_) | Self::State { .. } | Self::DamagedState { .. } => 5,
            Self::Decode(_) => 6,
            Self::Config { .. } => 7,
            Self::Namespace { .. } => 8,
            Self::Exhausted { .. } | Self::Policies { .. } => 11,
            Self::InterfaceExists { .. } | Self::AlreadyLeased { .. } => 100,
            Self::Enter(_) | Self::Route(_) | Self::Sysctl(_) | Self::NotRunning { .. } => 101,
        }
    }

    /// The error's sentence, and after it everything that caused it.
    pub(crate) fn chain(&self) -> (String, String) {
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        (self.to_string(), causes.join(": "))
    }
}
