//! `podway controller`: work for the whole cluster, by one elected replica.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use ipnet::IpNet;
use podway_controller::{AddressSettings, Place, Settings};
use podway_plan::node_prefixes::NodeRange;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::ClusterArgs;

#[derive(Debug, Args)]
pub(crate) struct ControllerArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Hand out podCIDRs of these prefixes, one of each family, the primary one
    /// first; by default somebody else does
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    cluster_cidr: Vec<IpNet>,
    /// The length of a node's IPv4 podCIDR
    #[arg(long, value_name = "BITS", default_value_t = 24)]
    node_cidr_mask_size_ipv4: u8,
    /// The length of a node's IPv6 podCIDR
    #[arg(long, value_name = "BITS", default_value_t = 64)]
    node_cidr_mask_size_ipv6: u8,
    /// Leave addresses of load balancers to others
    #[arg(long)]
    no_load_balancer: bool,
    /// Give addresses to Services of this loadBalancerClass; by default to those
    /// without one
    #[arg(long, value_name = "CLASS")]
    load_balancer_class: Option<String>,
    /// Namespace of MetalLB's configuration
    #[arg(long, value_name = "NS", default_value = "metallb-system")]
    load_balancer_namespace: String,
    /// The Secret there that nodes share; made where it is missing
    #[arg(long, value_name = "NAME", default_value = "memberlist")]
    load_balancer_secret: String,
    /// Who this replica is; host name and process by default
    #[arg(long)]
    identity: Option<String>,
    /// Namespace of the Lease by which one replica is elected
    #[arg(long, value_name = "NS", default_value = "kube-system")]
    lease_namespace: String,
    /// Name of the Lease
    #[arg(long, value_name = "NAME", default_value = "podway-controller")]
    lease_name: String,
    /// Seconds until another replica takes over from one that is not heard of
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=3600))]
    lease_duration: u16,
}

pub(crate) fn run(args: ControllerArgs) -> anyhow::Result<ExitCode> {
    let settings = settings(args)?;
    crate::agent::log_to_stderr();
    if settings.node_ranges.is_empty() {
        tracing::info!("podCIDRs are left to others: there is no --cluster-cidr");
    }
    tokio::runtime::Runtime::new()
        .context("cannot start the event loop")?
        .block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let stop = async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = tokio::signal::ctrl_c() => {}
                }
            };
            podway_controller::run(settings, stop).await?;
            Ok(ExitCode::SUCCESS)
        })
}

fn settings(args: ControllerArgs) -> anyhow::Result<Settings> {
    let range = |prefix: &IpNet| {
        let length = match prefix {
            IpNet::V4(_) => args.node_cidr_mask_size_ipv4,
            IpNet::V6(_) => args.node_cidr_mask_size_ipv6,
        };
        NodeRange::new(*prefix, length).context("--cluster-cidr")
    };
    let node_ranges = args
        .cluster_cidr
        .iter()
        .map(range)
        .collect::<Result<_, _>>()?;
    let addresses = AddressSettings {
        place: Place {
            namespace: args.load_balancer_namespace,
            secret: args.load_balancer_secret,
        },
        class: args.load_balancer_class,
    };
    Ok(Settings {
        node_ranges,
        addresses: (!args.no_load_balancer).then_some(addresses),
        kubeconfig: crate::cluster::kubeconfig(&args.cluster)?,
        identity: args.identity.unwrap_or_else(identity),
        lease_namespace: args.lease_namespace,
        lease_name: args.lease_name,
        lease_duration: Duration::from_secs(args.lease_duration.into()),
    })
}

/// Another one for each process, also on one host.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}_{}", host.trim_end(), std::process::id())
}
