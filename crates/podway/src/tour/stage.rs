//! The lab that the tour walks through.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::DeleteParams;
use kube::runtime::wait::{await_condition, conditions};
use podway_lab::{LabName, Settings, Status};
use podway_model::{ClusterState, IpFamily, ObjectName};
use podway_watch::manifest;

use super::probe::{Target, of_family};
use crate::cli::ClusterArgs;
use crate::cluster;

const PODS: [&str; 5] = ["web-1", "web-2", "web-3", "cart", "visitor"];
const NODE_PORT: u16 = 30080;
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Stage {
    lab: LabName,
    program: PathBuf,
    status: Status,
}

impl Stage {
    /// Brings the lab up, or takes the one that is up.
    pub(super) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let status = podway_lab::up(settings, &mut crate::lab::progress())?;
        Ok(Self {
            lab: settings.name.clone(),
            program: settings.program.clone(),
            status,
        })
    }

    pub(super) const fn lab(&self) -> &LabName {
        &self.lab
    }

    pub(super) fn program(&self) -> String {
        self.program.display().to_string()
    }

    fn cluster(&self) -> ClusterArgs {
        ClusterArgs {
            kubeconfig: Some(self.status.kubeconfig.clone()),
        }
    }

    pub(super) fn state(&self) -> anyhow::Result<ClusterState> {
        cluster::block_on(cluster::state(&self.cluster()))
    }

    pub(super) fn nodes(&self) -> Vec<String> {
        let join = |addresses: &[IpAddr]| {
            addresses
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("  ")
        };
        let nodes = self.status.nodes.iter();
        let mut lines: Vec<_> = nodes
            .map(|node| format!("{:8} {}", node.name, join(&node.addresses)))
            .collect();
        lines.push(format!(
            "{:8} {}",
            "client",
            join(&self.status.client_addresses)
        ));
        lines
    }

    pub(super) fn apply(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let documents = manifest::parse(name, text)?;
        podway_lab::apply(&self.lab, &documents, &mut crate::lab::progress())?;
        Ok(())
    }

    pub(super) fn delete_policy(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        cluster::block_on(async {
            let client = cluster::connect(&self.cluster()).await?;
            let policies: Api<NetworkPolicy> = Api::namespaced(client, namespace);
            policies.delete(name, &DeleteParams::default()).await?;
            Ok(())
        })
    }

    /// Waits until the pods are ready and says where they are.
    pub(super) fn wait_for_pods(&self) -> anyhow::Result<Vec<String>> {
        cluster::block_on(async {
            let client = cluster::connect(&self.cluster()).await?;
            let pods: Api<Pod> = Api::namespaced(client, "shop");
            for pod in PODS {
                let ready = await_condition(pods.clone(), pod, is_ready);
                tokio::time::timeout(PATIENCE, ready)
                    .await
                    .with_context(|| {
                        format!("pod shop/{pod} is not ready: kubectl describe pod -n shop {pod}")
                    })??;
            }
            anyhow::Ok(())
        })?;
        let state = self.state()?;
        Ok(state
            .pods_in("shop")
            .map(|pod| {
                let addresses: Vec<_> = pod.addresses.iter().map(ToString::to_string).collect();
                format!(
                    "{:8} on {}  {}",
                    pod.name.name,
                    pod.node.as_deref().unwrap_or("?"),
                    addresses.join("  ")
                )
            })
            .collect())
    }

    /// Waits until every node says that it has everything in force, and returns
    /// how long that took.
    pub(super) fn wait_until_in_force(&self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let cluster = self.cluster();
        cluster::block_on(async {
            let waiting = crate::status::wait_until_in_force(&cluster);
            let outcome = tokio::time::timeout(PATIENCE, waiting).await;
            outcome.context("the nodes do not have everything in force: see podway status")?
        })?;
        Ok(begun.elapsed())
    }

    pub(super) fn client(&self, family: IpFamily) -> anyhow::Result<IpAddr> {
        of_family(&self.status.client_addresses, family)
            .with_context(|| format!("the client has no {family} address"))
    }

    /// The address and port of a target in a family.
    pub(super) fn address(&self, target: Target, family: IpFamily) -> anyhow::Result<SocketAddr> {
        let state = self.state()?;
        let (addresses, port) = match target {
            Target::Pod(name) => {
                let pod = state.pod(&ObjectName::new("shop", name));
                (pod.map(|pod| pod.addresses.clone()), 8080)
            }
            Target::ClusterIp => {
                let service = state.service(&ObjectName::new("shop", "web"));
                (service.map(|service| service.cluster_ips.clone()), 80)
            }
            Target::NodePort(name) => {
                let node = self.status.nodes.iter().find(|node| node.name == name);
                (node.map(|node| node.addresses.clone()), NODE_PORT)
            }
        };
        let address = addresses.and_then(|addresses| of_family(&addresses, family));
        let address = address.with_context(|| format!("{target:?} has no {family} address"))?;
        Ok(SocketAddr::new(address, port))
    }
}

fn is_ready(pod: Option<&Pod>) -> bool {
    use kube::runtime::wait::Condition;
    let listed = |pod: &Pod| {
        let conditions = pod
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
    };
    conditions::is_pod_running().matches_object(pod) && pod.is_some_and(listed)
}
