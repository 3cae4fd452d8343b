//! Many nodes on one machine: each node a network namespace with its own agent
//! and kubelet process, each pod a sandbox in it, one control plane for all.
//!
//! The binary `podway` calls [`up`], [`down`], [`status`] and the commands that
//! enter a namespace ([`exec`], [`client`], [`node`]); the processes of a lab
//! are the same binary again, through [`ControlPlaneArgs::run`],
//! [`KubeletArgs::run`] and [`toolbox::Command::run`].
//!
//! Everything that a lab makes carries its name: the folder
//! `/run/podway/<lab>`, the network namespaces `podway-<lab>-*`, and the
//! processes by their environment (`PODWAY_LAB`, `PODWAY_LAB_DIR`).

#![forbid(unsafe_code)]

mod apply;
mod belonging;
mod changes;
mod cni;
mod control_plane;
mod definitions;
mod descriptor;
mod down;
mod enter;
mod error;
mod events;
mod files;
mod kubelet;
mod lock;
mod marks;
mod name;
mod paths;
mod power;
mod process;
mod record;
mod roles;
mod runtime;
mod scheduler;
mod settings;
mod status;
mod step;
pub mod toolbox;
mod topology;
mod underlay;
mod up;

pub use apply::apply;
pub use control_plane::ControlPlaneArgs;
pub use down::down;
pub use enter::{client, exec, node};
pub use error::Error;
pub use kubelet::KubeletArgs;
pub use name::LabName;
pub use power::{kill_node, start_node};
pub use settings::Settings;
pub use status::{Environment, NodeStatus, ProcessStatus, Status, env, running, status};
pub use step::{Outcome, Step};
pub use up::up;
