use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::config::Config;
use crate::environment::Args;
use crate::error::Error;
use crate::install::PROGRAM;
use crate::version;

/// The configuration list that the agent writes for the container runtime, so
/// that its keys are written and read in one crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflist {
    /// The network's name; part of the state's path.
    pub name: String,
    /// The MTU of the pods' interfaces, in bytes.
    pub mtu: u32,
    /// The node's pod prefixes, at most one of each family.
    pub pod_prefixes: Vec<IpNet>,
    /// Where the plugin keeps its state.
    pub data_dir: PathBuf,
    /// The agent's socket; without one nobody is asked about policies.
    pub agent_socket: Option<PathBuf>,
    /// How long ADD waits for the pod's policies, in seconds.
    pub policy_wait_seconds: u64,
    /// Whether a pod starts although its policies are not known to be in force.
    pub fail_open: bool,
    /// Addresses that only those pods get that ask for them.
    pub reserved: Vec<IpNet>,
}

/// What the plugin does for pods that want it. The runtime hands over only what
/// is declared.
const CAPABILITIES: [&str; 6] = ["bandwidth", "dns", "ipRanges", "ips", "mac", "portMappings"];

/// For runtimes that do not know `cniVersions`.
const VERSION: &str = "1.0.0";

impl Conflist {
    /// Whether the plugin would take it.
    ///
    /// # Errors
    /// What it would say: [`Error::Config`] names the key.
    pub fn check(&self) -> Result<(), Error> {
        let mut plugin = self.plugin();
        plugin["cniVersion"] = json!(VERSION);
        plugin["name"] = json!(self.name);
        Config::read(plugin.to_string().as_bytes(), &Args::default()).map(drop)
    }

    /// The list as JSON, with a newline at its end. A runtime takes the newest of
    /// `cniVersions` that it knows; those that do not know this key, and would
    /// refuse 1.1.0, take `cniVersion`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let list = json!({
            "cniVersion": VERSION,
            "cniVersions": ["0.4.0", VERSION, version::NEWEST],
            "name": self.name,
            "plugins": [self.plugin()],
        });
        format!("{list:#}\n")
    }

    fn plugin(&self) -> Value {
        let mut plugin = json!({
            "type": PROGRAM,
            "mtu": self.mtu,
            "podCIDRs": self.pod_prefixes,
            "dataDir": self.data_dir,
            "policyWaitSeconds": self.policy_wait_seconds,
            "capabilities": CAPABILITIES.map(|name| (name, true)).into_iter().collect::<BTreeMap<_, _>>(),
        });
        if self.fail_open {
            plugin["failOpen"] = json!(true);
        }
        if !self.reserved.is_empty() {
            plugin["reserved"] = json!(self.reserved);
        }
        if let Some(socket) = &self.agent_socket {
            plugin["agentSocket"] = json!(socket);
        }
        plugin
    }
}
