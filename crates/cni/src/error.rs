use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use podway_kernel::{netns, nft, route, sysctl};

use crate::agent_protocol::ClientError;
use crate::owner::Owner;

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
    /// A command that the configuration's version does not have.
    #[error("{command} needs a configuration of version {since} or later, this one has {version}")]
    TooOld {
        /// What the configuration asks for.
        version: String,
        /// The command.
        command: &'static str,
        /// The first version that has it.
        since: &'static str,
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
    #[error("interface {link} is up and does not carry packets: is the machine overloaded?")]
    NotReadyInTime {
        /// The interface.
        link: route::LinkIndex,
    },
    /// Every address is taken.
    #[error(
        "no address left in {}: all {capacity} are taken or reserved, delete pods or give the node a larger podCIDR",
        list(prefixes)
    )]
    Exhausted {
        /// The pods' prefixes.
        prefixes: Vec<IpNet>,
        /// How many pods they have room for.
        capacity: u64,
    },
    /// An address that a pod asks for is another's.
    #[error("the requested address {address} is taken{}", by(owner.as_ref()))]
    Taken {
        /// The address.
        address: IpAddr,
        /// Whose it is, where it is known.
        owner: Option<Owner>,
    },
    /// An address that a pod asks for is not one of this node's.
    #[error("the requested address {address} is in none of the ranges, or is the gateway's")]
    OutOfRange {
        /// The address.
        address: IpAddr,
    },
    /// The same interface has addresses already.
    #[error("{owner} has address {address} already: it needs a DEL first")]
    AlreadyLeased {
        /// Container and interface.
        owner: Owner,
        /// One of its addresses.
        address: IpAddr,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
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
    /// A port of the node leads to another pod.
    #[error("host port {port} is taken by {owner}")]
    HostPortTaken {
        /// `[ADDRESS:]PORT/PROTOCOL`.
        port: String,
        /// Whose it is.
        owner: Owner,
    },
    /// nf_tables could not be read or written.
    #[error("cannot program the host ports")]
    Nft(#[from] nft::Error),
    /// CHECK has found differences.
    #[error("{owner} is not as ADD left it: {}", problems.join("; "))]
    Changed {
        /// Container and interface.
        owner: Owner,
        /// What is missing or different.
        problems: Vec<String>,
    },
    /// ADD would fail.
    #[error("pods cannot be attached: {reason}")]
    NotReady {
        /// Why.
        reason: String,
    },
    /// Something of what GC should remove is still there.
    #[error("not everything could be removed: {}", failures.join("; "))]
    Incomplete {
        /// What, and why.
        failures: Vec<String>,
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
            Self::Version { .. } | Self::TooOld { .. } => 1,
            Self::UnsupportedField { .. } => 2,
            Self::Environment(_) => 4,
            Self::Input(_) | Self::File { .. } | Self::DamagedState { .. } => 5,
            Self::Decode(_) => 6,
            Self::Config { .. } | Self::OutOfRange { .. } => 7,
            Self::Namespace { .. } => 8,
            Self::Exhausted { .. }
            | Self::Taken { .. }
            | Self::HostPortTaken { .. }
            | Self::Policies { .. } => 11,
            Self::NotReady { .. } => 50,
            Self::InterfaceExists { .. } | Self::AlreadyLeased { .. } => 100,
            Self::Changed { .. } => 102,
            Self::Incomplete { .. }
            | Self::Enter(_)
            | Self::Route(_)
            | Self::Nft(_)
            | Self::Sysctl(_)
            | Self::NotReadyInTime { .. } => 101,
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

fn list(prefixes: &[IpNet]) -> String {
    let prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
    prefixes.join(", ")
}

fn by(owner: Option<&Owner>) -> String {
    owner.map_or_else(String::new, |owner| format!(" by {owner}"))
}
