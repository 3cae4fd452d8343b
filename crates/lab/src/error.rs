use std::path::PathBuf;

use crate::LabName;

/// What goes wrong with a lab.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that no lab can have.
    #[error(
        "lab name {0:?} is not valid: use 1 to 32 lower-case letters, digits and '-', beginning and ending with a letter or digit"
    )]
    LabName(String),
    /// A lab that is not there.
    #[error("there is no lab {0}: start it with `podway lab up --name {0}`")]
    NoLab(LabName),
    /// A node that the lab does not have.
    #[error("lab {lab} has no node {node:?}: its nodes are {nodes}")]
    NoNode {
        /// The lab.
        lab: LabName,
        /// What was asked for.
        node: String,
        /// The nodes that there are.
        nodes: String,
    },
    /// A pod or container that is not running in the lab.
    #[error("no running container of pod {namespace}/{pod} in lab {lab}: {hint}")]
    NoContainer {
        /// The lab.
        lab: LabName,
        /// The pod's namespace.
        namespace: String,
        /// The pod's name.
        pod: String,
        /// What there is instead, and what to do.
        hint: String,
    },
    /// A setting out of its range.
    #[error("{setting} {value} is not possible: {reason}")]
    Setting {
        /// The flag.
        setting: &'static str,
        /// What was asked for.
        value: String,
        /// Why not, and what is.
        reason: String,
    },
    /// Not started as root.
    #[error("cannot {0} a lab without root: it makes network namespaces and mounts; use sudo")]
    NotRoot(&'static str),
    /// A system call or file operation failed.
    #[error("cannot {what}")]
    Io {
        /// What was attempted, on which object.
        what: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The agent has not made the network yet.
    #[error(
        "the pod network is not ready: there is no CNI configuration in {folder} yet; is the agent running?"
    )]
    NoNetwork {
        /// Where it will be.
        folder: PathBuf,
    },
    /// A CNI configuration that cannot be used.
    #[error("{path}: not a CNI configuration list: {reason}")]
    Network {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A CNI plugin failed.
    #[error("CNI {command} by plugin {plugin} failed{}: {reason}", code.map(|code| format!(" with code {code}")).unwrap_or_default())]
    Plugin {
        /// The plugin's `type`.
        plugin: String,
        /// ADD or DEL.
        command: &'static str,
        /// Its error code, where it gave one.
        code: Option<u64>,
        /// What it said.
        reason: String,
    },
    /// The network of the lab.
    #[error("cannot set up the lab's network")]
    Netns(#[from] podway_kernel::netns::Error),
    /// Links, addresses and routes of the lab.
    #[error("cannot set up the lab's network")]
    Route(#[from] podway_kernel::route::Error),
    /// Kernel parameters of the lab's namespaces.
    #[error("cannot set up the lab's network")]
    Sysctl(#[from] podway_kernel::sysctl::Error),
    /// The API server's own failure.
    #[error("the API server failed")]
    ApiServer(#[from] podway_apiserver::Error),
    /// A kubeconfig of the lab cannot be used.
    #[error("cannot connect to the lab's API server")]
    Client(#[from] podway_watch::client::ClientError),
    /// Manifests with mistakes; nothing of them was applied.
    #[error(transparent)]
    Manifests(#[from] podway_watch::yaml::Mistakes),
    /// The API server refuses an object of a manifest.
    #[error("{path}:{line}:{column}: {object}: {reason}")]
    Refused {
        /// The file.
        path: String,
        /// Where the object begins.
        line: u32,
        /// Where the object begins.
        column: u32,
        /// Kind and name.
        object: String,
        /// What the server said.
        reason: String,
    },
    /// A process of the lab ended before it was ready.
    #[error("the {role} ended before it was ready; the end of {log}:\n{tail}")]
    Ended {
        /// Which process.
        role: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// The nodes did not become ready in time.
    #[error("not ready after {seconds} s: {nodes}; see {logs}/*/agent.log and kubelet.log")]
    NotReady {
        /// How long was waited.
        seconds: u64,
        /// Which nodes.
        nodes: String,
        /// The lab's folder.
        logs: PathBuf,
    },
    /// Another `up` or `down` of the lab is at work.
    #[error("another podway is starting or stopping lab {0}: wait for it to finish")]
    Busy(LabName),
    /// A request to the API server.
    #[error("cannot {what}")]
    Request {
        /// What was attempted, on which object.
        what: String,
        /// What the client or the server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// A file of the lab that cannot be read.
    #[error("{path}: cannot be understood: {reason}; `podway lab down` and `up` make it new")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(crate) fn request(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Request {
            what,
            source: Box::new(source),
        }
    }
}
