//! The command line: what can be said. What it means is in the modules of the
//! same names.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

/// The whole network of a Kubernetes node in one binary: pods, overlays,
/// services and policies.
#[derive(Debug, Parser)]
#[command(
    name = "podway",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Many nodes on this machine: try everything without a cluster
    #[command(subcommand)]
    Lab(LabCommand),
    /// The node daemon
    Agent {
        /// PodwayConfiguration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// A drop-in for kube-proxy: its flags and its KubeProxyConfiguration file
    KubeProxy(Box<crate::kube_proxy::KubeProxyArgs>),
    /// Work for the whole cluster, by one elected replica: podCIDRs, addresses of load balancers
    Controller(crate::controller::ControllerArgs),
    /// The embedded API server alone
    Apiserver(ApiserverArgs),
    /// What is programmed on each node, how far behind, what is wrong and what to do
    Status {
        #[command(flatten)]
        cluster: ClusterArgs,
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Why does A reach B, or not? From the running cluster or from files
    #[command(subcommand)]
    Explain(ExplainCommand),
    /// Measure what Podway costs on this machine, beside its peers
    Bench(BenchArgs),
    /// Put the CNI plugin on this node, or take it away again
    Install(crate::install::InstallArgs),
    /// Change the running cluster without losing a connection
    Switch(SwitchArgs),
    /// Remove everything of Podway from this node's kernel, and only that
    Cleanup {
        /// Remove what kube-proxy has left instead, and nothing of Podway
        #[arg(long)]
        kube_proxy: bool,
    },
    /// Small servers and probes for pods of the lab
    #[command(subcommand)]
    Toolbox(podway_lab::toolbox::Command),
    /// Write the manual pages, one for each verb
    Man {
        /// The folder to write them to
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Print a shell's completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// Whether all it does is to find something out and print it, so that it may
    /// end in the middle of a line.
    pub(crate) fn only_prints(&self) -> bool {
        matches!(
            self,
            Self::Status { .. }
                | Self::Explain(_)
                | Self::Man { .. }
                | Self::Completions { .. }
                | Self::Lab(LabCommand::Status { .. } | LabCommand::Env(_))
        )
    }
}

/// Where the cluster is.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// kubeconfig file; otherwise $KUBECONFIG, the only running lab's, ~/.kube/config
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SwitchArgs {
    /// How services are to be served
    #[arg(long, value_parser = proxy_modes())]
    pub(crate) proxy_mode: String,
    /// Only this node; may be repeated
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Vec<String>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// What to measure; everything by default
    #[arg(value_name = "SUITE", value_parser = PossibleValuesParser::new(
        podway_bench::SUITES
            .iter()
            .map(|suite| PossibleValue::new(suite.name).help(suite.about)),
    ))]
    pub(crate) suites: Vec<String>,
    /// All sizes and repetitions that the documents quote: takes many minutes
    #[arg(long)]
    pub(crate) full: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    #[default]
    Text,
    Json,
}

/// Which lab.
#[derive(Debug, Args)]
pub(crate) struct LabName {
    /// The lab's name
    #[arg(long, default_value_t)]
    pub(crate) name: podway_lab::LabName,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Start the lab, or mend one that is not whole
    Up(LabUpArgs),
    /// Stop the lab and remove everything it made, also after a crash
    Down(LabName),
    /// What of the lab is running
    Status {
        #[command(flatten)]
        lab: LabName,
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Print the shell commands that point kubectl at the lab: eval "$(podway lab env)"
    Env(LabName),
    /// Run a program in a container
    Exec {
        #[command(flatten)]
        lab: LabName,
        /// Namespace of the pod
        #[arg(short, long, default_value = "default")]
        namespace: String,
        /// The pod
        pod: String,
        /// The container; its first one by default
        #[arg(short, long)]
        container: Option<String>,
        /// The program and its arguments
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Run a program of this machine as the client outside the cluster
    Client {
        #[command(flatten)]
        lab: LabName,
        /// The program and its arguments
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Run a program of this machine on a node
    Node {
        #[command(flatten)]
        lab: LabName,
        /// The node
        node: String,
        /// The program and its arguments
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// A node dies: its processes end and its links go down
    KillNode {
        #[command(flatten)]
        lab: LabName,
        /// The node
        node: String,
    },
    /// A dead node comes back
    StartNode {
        #[command(flatten)]
        lab: LabName,
        /// The node
        node: String,
    },
    /// Start a lab, walk through it and leave it running
    Tour {
        /// The lab's name
        #[arg(long, default_value = "tour")]
        name: podway_lab::LabName,
        #[command(flatten)]
        modes: Modes,
    },
    /// The lab's API server and scheduler (started by `lab up`)
    #[command(hide = true)]
    ControlPlane(podway_lab::ControlPlaneArgs),
    /// The lab's kubelet (started by `lab up`)
    #[command(hide = true)]
    Kubelet(podway_lab::KubeletArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LabUpArgs {
    #[command(flatten)]
    pub(crate) lab: LabName,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) nodes: u8,
    /// How many segments the underlay has: nodes take turns on them, and a router
    /// is between
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub(crate) segments: u8,
    #[command(flatten)]
    pub(crate) modes: Modes,
    /// No tunnel between nodes of one segment (overlays vxlan and udp)
    #[arg(long)]
    pub(crate) direct_routing: bool,
    /// Address families, the first is the primary one
    #[arg(long, value_delimiter = ',', default_value = "ipv4,ipv6")]
    pub(crate) ip_families: Vec<IpFamilyName>,
    /// Manifests to apply once the lab is up: files or folders
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) apply: Vec<PathBuf>,
    /// Run the lab in an emulated machine whose kernel has every mode, in a shell there
    #[arg(long)]
    pub(crate) second_kernel: bool,
}

/// The backends of every node.
#[derive(Debug, Args)]
pub(crate) struct Modes {
    /// How services are served
    #[arg(long, default_value = "nftables", value_parser = proxy_modes())]
    pub(crate) proxy_mode: String,
    /// How pods of different nodes reach each other
    #[arg(long, default_value = "vxlan", value_parser = overlays())]
    pub(crate) overlay: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IpFamilyName {
    Ipv4,
    Ipv6,
}

#[derive(Debug, Args)]
pub(crate) struct ApiserverArgs {
    /// Where the objects, certificates and tokens are kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/podway/apiserver")]
    pub(crate) data_dir: PathBuf,
    /// Loopback port to listen on
    #[arg(long, default_value_t = 6443)]
    pub(crate) port: u16,
    /// Prefixes of cluster IPs, one for each family
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "10.96.0.0/16,fd00:10:96::/112"
    )]
    pub(crate) service_cluster_ip_range: Vec<IpNet>,
    /// Node ports, first-last
    #[arg(long, default_value = "30000-32767", value_parser = port_range)]
    pub(crate) service_node_port_range: (u16, u16),
    /// Where to write a kubeconfig for the administrator
    #[arg(long, value_name = "FILE")]
    pub(crate) write_kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExplainCommand {
    /// One connection, or a file of them
    Connect(ExplainConnectArgs),
    /// A service: its frontends and where each leads
    Service(ExplainObjectArgs),
    /// A policy: the pods it selects, what it allows, and what it opens and closes
    Policy(ExplainPolicyArgs),
    /// A pod: its addresses, what isolates it and what it may do
    Pod(ExplainObjectArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ExplainConnectArgs {
    /// Who connects: NS/POD, node:NAME or an address
    #[arg(long, value_name = "A", required_unless_present = "flows")]
    pub(crate) from: Option<String>,
    /// What it connects to: NS/POD, svc:NS/NAME, node:NAME or an address
    #[arg(long, value_name = "B", required_unless_present = "flows")]
    pub(crate) to: Option<String>,
    /// The port it connects to
    #[arg(long, required_unless_present = "flows")]
    pub(crate) port: Option<u16>,
    /// tcp, udp or sctp
    #[arg(long, default_value = "tcp")]
    pub(crate) protocol: String,
    /// The node where a packet from outside enters
    #[arg(long)]
    pub(crate) node: Option<String>,
    /// Questions, one JSON object a line: {"from","to","port","protocol","node"}; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to", "port"])]
    pub(crate) flows: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) source: StateArgs,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainObjectArgs {
    /// NAMESPACE/NAME
    pub(crate) object: String,
    /// The node whose view it is
    #[arg(long)]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) source: StateArgs,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainPolicyArgs {
    /// NAMESPACE/NAME, or the name of a ClusterNetworkPolicy
    #[arg(required_unless_present = "file")]
    pub(crate) policy: Option<String>,
    /// What the policies in a file would open and close if they were applied; - is standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "policy")]
    pub(crate) file: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) source: StateArgs,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

/// Where the objects come from.
#[derive(Debug, Args)]
pub(crate) struct StateArgs {
    /// Kubernetes objects instead of a cluster: YAML files or folders, - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// The values of `--proxy-mode`: the backends that there are.
fn proxy_modes() -> PossibleValuesParser {
    let backends = podway_dataplane::service::BACKENDS.iter();
    PossibleValuesParser::new(backends.map(|b| PossibleValue::new(b.name).help(b.summary)))
}

/// The values of `--overlay`.
fn overlays() -> PossibleValuesParser {
    let backends = podway_dataplane::overlay::BACKENDS.iter();
    PossibleValuesParser::new(backends.map(|b| PossibleValue::new(b.name).help(b.summary)))
}

fn port_range(text: &str) -> Result<(u16, u16), String> {
    let parsed = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    match parsed {
        Some((first, last)) if 0 < first && first <= last => Ok((first, last)),
        _ => Err("expected FIRST-LAST, two ports from 1 to 65535, for example 30000-32767".into()),
    }
}
