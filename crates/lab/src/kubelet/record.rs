//! What the kubelet remembers of a pod in a file, so that a kubelet that was
//! killed finds its pods again and does not touch what runs.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::cni::Attached;
use crate::files::write_whole;
use crate::paths::{PodPaths, STATE_FILE};
use crate::process::Process;

/// A pod that was started on this node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PodRecord {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) sandbox: Option<Sandbox>,
    /// Its addresses; they stay when the sandbox of a finished pod goes.
    pub(crate) addresses: Vec<IpAddr>,
    /// When the kubelet saw the pod first.
    pub(crate) started: Timestamp,
    pub(crate) containers: BTreeMap<String, ContainerRecord>,
}

/// The namespaces of a pod. It is remembered before it is complete, so that
/// what a crash leaves half made can be taken down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sandbox {
    /// Its id, as CNI knows it.
    pub(crate) id: String,
    /// Its first process, once the network is there.
    pub(crate) pause: Option<Process>,
    /// Its attachment to the pod network; `None` with the node's own network.
    pub(crate) attached: Option<Attached>,
}

/// A container that was started at least once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    /// Which run it is, from 0: the number of restarts.
    pub(crate) run: u32,
    pub(crate) process: Process,
    pub(crate) started: Timestamp,
    /// How this run ended, if it has.
    pub(crate) ended: Option<Ended>,
    /// How the run before ended.
    pub(crate) before: Option<Ended>,
}

/// How a run of a container ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) started: Timestamp,
    pub(crate) finished: Timestamp,
}

/// The last word of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Exit {
    /// It ended with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It ended while no kubelet was its parent: nobody was told.
    Unknown,
}

impl Exit {
    /// The code that Kubernetes shows: 128 and the signal, 137 for what nobody
    /// knows, as a kubelet does.
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
            Self::Unknown => 137,
        }
    }

    /// The reason that Kubernetes shows.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Code(0) => "Completed",
            Self::Code(_) | Self::Signal(_) => "Error",
            Self::Unknown => "ContainerStatusUnknown",
        }
    }
}

impl PodRecord {
    pub(crate) fn write(&self, paths: &PodPaths) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::State {
            path: paths.state(),
            reason: error.to_string(),
        })?;
        write_whole(&paths.state(), &text)
    }

    fn read(path: &Path) -> Result<Self, Error> {
        let text =
            fs::read_to_string(path).map_err(Error::io(format!("read {}", path.display())))?;
        serde_json::from_str(&text).map_err(|error| Error::State {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }

    /// Every pod that is remembered in the folder. One that cannot be read is
    /// reported and left out.
    pub(crate) fn all_in(folder: &Path) -> Vec<Self> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut records = Vec::new();
        for path in entries.map(|entry| entry.path().join(STATE_FILE)) {
            match Self::read(&path) {
                Ok(record) => records.push(record),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a pod's state is left out"
                ),
            }
        }
        records
    }

    /// The sandbox is complete, as far as is known.
    pub(crate) fn pause_is_known(&self) -> bool {
        self.sandbox
            .as_ref()
            .is_some_and(|sandbox| sandbox.pause.is_some())
    }

    /// The sandbox's first process, if it is running.
    pub(crate) fn pause(&self) -> Option<Process> {
        let pause = self.sandbox.as_ref()?.pause?;
        pause.is_running().then_some(pause)
    }
}

impl ContainerRecord {
    /// Its process, if it is running.
    pub(crate) fn running(&self) -> Option<Process> {
        (self.ended.is_none() && self.process.is_running()).then_some(self.process)
    }
}
