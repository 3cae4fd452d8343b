//! The node's lease: so long as it is renewed, the node lives.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::kubelet::chain;

/// Half of what Kubernetes gives a node: a lab is watched by somebody.
const DURATION: Duration = Duration::from_secs(20);
/// Three renewals may be lost.
const EVERY: Duration = Duration::from_secs(5);
/// Who owns the fields of the lease.
const MANAGER: &str = "kubelet";

/// Renews the lease until the future is dropped. Goes on when the API server is
/// away.
pub(crate) async fn keep(client: &Client, node: &str) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let mut ticks = interval(EVERY);
    // After a pause of the machine one renewal is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let parameters = PatchParams::apply(MANAGER).force();
    loop {
        ticks.tick().await;
        let lease = Patch::Apply(lease(node, Timestamp::now()));
        let renewed = leases.patch(node, &parameters, &lease);
        match timeout(EVERY, renewed).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(node, error = chain(&error), "lease cannot be renewed");
            }
            Err(_) => tracing::warn!(node, "the API server does not answer: lease not renewed"),
        }
    }
}

fn lease(node: &str, now: Timestamp) -> serde_json::Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": node },
        "spec": {
            "holderIdentity": node,
            "leaseDurationSeconds": DURATION.as_secs(),
            "renewTime": format!("{now:.6}"),
        },
    })
}
