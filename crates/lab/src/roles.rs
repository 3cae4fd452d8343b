//! The long-lived processes of a lab: found again, started, ended.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use podway_kernel::netns::NetNs;
use podway_kernel::spawn::Isolation;

use crate::belonging::Belonging;
use crate::paths::{LabPaths, NodePaths};
use crate::process::Process;
use crate::{Error, LabName, marks};

/// A kind of process. What is said in `PODWAY_ROLE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// API server and scheduler, one for the lab.
    ControlPlane,
    /// `podway agent`, one for each node.
    Agent,
    /// `podway lab kubelet`, one for each node.
    Kubelet,
}

/// Says which of a lab's processes a process is; pods do not have it.
const ROLE: &str = "PODWAY_ROLE";

/// One process of a lab, whether it runs or not.
#[derive(Debug, Clone)]
pub(crate) struct Place<'a> {
    pub(crate) lab: &'a LabName,
    pub(crate) role: Role,
    /// The node, for processes that belong to one.
    pub(crate) node: Option<&'a str>,
}

impl Role {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Agent => "agent",
            Self::Kubelet => "kubelet",
        }
    }
}

impl Place<'_> {
    fn folder(&self) -> PathBuf {
        let paths = LabPaths::new(self.lab);
        match self.node {
            Some(node) => paths.node(node).root().to_owned(),
            None => paths.control_plane(),
        }
    }

    fn pid_file(&self) -> PathBuf {
        self.folder().join(format!("{}.pid", self.role.name()))
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder().join(format!("{}.log", self.role.name()))
    }

    /// The process, if it runs.
    pub(crate) fn running(&self) -> Option<Process> {
        Process::remembered(&self.pid_file())
    }

    /// `agent of node1`, for people.
    pub(crate) fn describe(&self) -> String {
        match self.node {
            Some(node) => format!("{} of {node}", self.role.name()),
            None => self.role.name().to_owned(),
        }
    }

    fn marks(&self) -> Vec<(String, String)> {
        let paths = LabPaths::new(self.lab);
        let mut marks = match self.node {
            Some(node) => marks::of_node(self.lab, &paths.node(node), node),
            None => marks::of_lab(self.lab, &paths),
        };
        marks.insert(ROLE.to_owned(), self.role.name().to_owned());
        marks.into_iter().collect()
    }

    /// Ends every process of this place: the one that is remembered, and one
    /// that was started by somebody who was killed before remembering it.
    pub(crate) fn end(&self) -> Result<(), Error> {
        let marks = self
            .marks()
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"));
        let belonging = Belonging {
            marks: marks.collect(),
            ..Belonging::default()
        };
        let ended = belonging.end_all();
        ended
            .map(drop)
            .map_err(Error::io(format!("end the {}", self.describe())))
    }

    /// Starts the process, in a namespace where it has one. Its output goes to
    /// its log; standard output goes to `stdout` where one is given.
    pub(crate) fn start(
        &self,
        program: &Path,
        arguments: &[String],
        namespace: Option<&NetNs>,
        stdout: Option<Stdio>,
    ) -> Result<Child, Error> {
        let failed = || Error::io(format!("start the {}", self.describe()));
        self.end()?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log());
        let log = log.map_err(failed())?;
        let mut isolation = Isolation::new().own_session();
        if let Some(namespace) = namespace {
            isolation = isolation.join(File::open(namespace.path()).map_err(failed())?);
        }
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(self.marks())
            // A variable of the person who starts the lab is none of the lab's.
            .env_remove("KUBECONFIG")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(match stdout {
                Some(stdout) => stdout,
                None => log.try_clone().map_err(failed())?.into(),
            })
            .stderr(log);
        isolation.apply(&mut command);
        let child = command.spawn().map_err(failed())?;
        let process = i32::try_from(child.id()).ok().and_then(Process::running);
        match process {
            Some(process) => process.write(&self.pid_file())?,
            None => return Err(self.ended()),
        }
        Ok(child)
    }

    /// The error of a process that ended too early, with its last words.
    pub(crate) fn ended(&self) -> Error {
        let log = self.log();
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(LAST_LINES).collect();
        let tail = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
        Error::Ended {
            role: self.describe(),
            log,
            tail,
        }
    }
}

/// How much of a log an error shows.
const LAST_LINES: usize = 8;

/// The processes of a node, in the order in which they are started.
pub(crate) fn of_node<'a>(lab: &'a LabName, node: &'a str) -> [Place<'a>; 2] {
    [Role::Agent, Role::Kubelet].map(|role| Place {
        lab,
        role,
        node: Some(node),
    })
}

/// The lab's control plane.
pub(crate) fn control_plane(lab: &LabName) -> Place<'_> {
    Place {
        lab,
        role: Role::ControlPlane,
        node: None,
    }
}

/// The folder of a node of the lab.
pub(crate) fn node_paths(lab: &LabName, node: &str) -> NodePaths {
    LabPaths::new(lab).node(node)
}
