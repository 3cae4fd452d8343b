//! Work for the whole cluster: one replica of many does it, elected by a Lease.
//!
//! Each duty is a file here and a line in `Duties`.

#![forbid(unsafe_code)]

mod addresses;
mod events;
mod lease;
mod pod_prefixes;

use std::future::{self, Future};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use kube::Client;
use podway_plan::node_prefixes::{NodePrefixes, NodeRange, RangeProblem};
use podway_watch::client::ClientError;
use tokio::sync::watch;

pub use addresses::AddressSettings;
use lease::Campaign;
pub use podway_watch::address_config::Place;

/// What a controller is to do.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the cluster is; without one this process runs in a pod of it.
    pub kubeconfig: Option<PathBuf>,
    /// Who this replica is: another one for each process.
    pub identity: String,
    /// The namespace of the Lease.
    pub lease_namespace: String,
    /// Its name.
    pub lease_name: String,
    /// How long a replica leads after it was last heard of, in whole seconds. It
    /// stops by itself after two thirds of this without an answer.
    pub lease_duration: Duration,
    /// The ranges of the nodes' podCIDRs, the primary family first; none where
    /// somebody else hands them out.
    pub node_ranges: Vec<NodeRange>,
    /// Addresses of load balancers; `None` where somebody else gives them.
    pub addresses: Option<AddressSettings>,
}

/// Why a controller does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The ranges of podCIDRs do not go together.
    #[error("podCIDRs")]
    Ranges(#[source] RangeProblem),
}

/// What the elected replica does.
#[derive(Clone)]
struct Duties {
    client: Client,
    node_prefixes: Option<NodePrefixes>,
    addresses: Option<AddressSettings>,
}

impl Duties {
    /// Until the future is dropped.
    async fn perform(self) {
        let Self {
            client,
            node_prefixes,
            addresses,
        } = self;
        let prefixes = async {
            match node_prefixes {
                Some(prefixes) => pod_prefixes::hand_out(client.clone(), prefixes).await,
                None => future::pending().await,
            }
        };
        let addresses = async {
            match addresses {
                Some(settings) => addresses::give_out(client.clone(), settings).await,
                None => future::pending().await,
            }
        };
        tokio::join!(prefixes, addresses);
    }
}

/// Takes part in the election, and does the work while elected, until `stop`
/// completes. Then the Lease is free for the next one at once.
///
/// # Errors
/// [`Error`]; once it runs it goes on whatever the API server does.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let node_prefixes = match &settings.node_ranges[..] {
        [] => None,
        ranges => Some(NodePrefixes::new(ranges).map_err(Error::Ranges)?),
    };
    let client = podway_watch::client::connect(settings.kubeconfig.as_deref()).await?;
    let duties = Duties {
        client: client.clone(),
        node_prefixes,
        addresses: settings.addresses.clone(),
    };
    let (elected, mut is_elected) = watch::channel(false);
    let campaign = Campaign::new(client, &settings);
    let identity = &settings.identity;
    let work = async {
        loop {
            until(&mut is_elected, true).await;
            tracing::info!(identity, "elected");
            tokio::select! {
                () = duties.clone().perform() => {}
                () = until(&mut is_elected, false) => {
                    tracing::warn!(identity, "no longer elected: another replica goes on");
                }
            }
        }
    };
    let mut stop = pin!(stop);
    tokio::select! {
        () = &mut stop => {}
        () = campaign.run(&elected) => {}
        () = work => {}
    }
    let was_elected = *elected.borrow();
    campaign.resign(was_elected).await;
    Ok(())
}

async fn until(is_elected: &mut watch::Receiver<bool>, wanted: bool) {
    // The sender outlives whoever waits here.
    let _ = is_elected.wait_for(|elected| *elected == wanted).await;
}
