//! A node's kubelet: runs the pods bound to the node and reports on them.

mod container;
mod etc;
mod heartbeat;
mod host;
mod live;
mod network;
mod pods;
mod probe;
mod record;
mod registration;
mod run;
mod sandbox;
mod server;
mod status;
mod worker;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::events::Recorder;
use crate::files::make_folder;
use crate::paths::NodePaths;
use crate::{Error, LabName};

use host::Host;

pub(crate) use record::PodRecord;
pub(crate) use run::beside;
pub(crate) use worker::chain;

/// `podway lab kubelet`, which `up` starts in each node's network namespace.
#[derive(Debug, Clone, clap::Args)]
pub struct KubeletArgs {
    /// The lab
    #[arg(long)]
    pub name: LabName,
    /// The node
    #[arg(long)]
    pub node: String,
    /// The node's folder
    #[arg(long)]
    pub directory: PathBuf,
    /// The binary podway that containers run
    #[arg(long)]
    pub program: PathBuf,
    /// The kubeconfig of nodes
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// The node's addresses, the primary family first
    #[arg(long, value_delimiter = ',')]
    pub addresses: Vec<IpAddr>,
    /// The node's podCIDRs, the primary family first
    #[arg(long, value_delimiter = ',')]
    pub pod_prefixes: Vec<IpNet>,
}

impl KubeletArgs {
    /// Runs the node's pods until SIGTERM; the pods outlive it.
    ///
    /// # Errors
    /// When the kubeconfig, the state or the socket cannot be used.
    pub fn run(self) -> Result<(), Error> {
        // Two workers: a pod whose probe or plugin is slow keeps no other waiting.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Error::io("start the event loop"))?;
        let result = runtime.block_on(self.serve());
        runtime.shutdown_background();
        result
    }

    async fn serve(self) -> Result<(), Error> {
        let paths = NodePaths::at(&self.directory);
        for folder in [paths.network_configs(), paths.pods(), paths.namespaces()] {
            make_folder(&folder)?;
        }
        let client = podway_watch::client::connect(Some(&self.kubeconfig)).await?;
        let host = Arc::new(Host {
            lab: self.name,
            node: self.node.clone(),
            addresses: self.addresses.clone(),
            program: self.program,
            recorder: Recorder::new(client.clone(), "kubelet", Some(self.node.clone())),
            live: live::LivePods::default(),
            client: client.clone(),
            paths: paths.clone(),
        });
        let registration = registration::Registration {
            name: self.node,
            addresses: self.addresses,
            pod_prefixes: self.pod_prefixes,
        };
        let node = host.node.clone();
        let (ready, network) = watch::channel(false);
        let mut terminate =
            signal(SignalKind::terminate()).map_err(Error::io("receive SIGTERM"))?;
        let folder = paths.network_configs();
        let socket = paths.kubelet_socket();
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            result = network::watch_network(&folder, &ready) => result,
            result = server::serve(Arc::clone(&host), &socket) => result,
            () = registration.keep(&client, network.clone()) => Ok(()),
            () = heartbeat::keep(&client, &node) => Ok(()),
            () = pods::watch_pods(Arc::clone(&host), network) => Ok(()),
        }
    }
}
