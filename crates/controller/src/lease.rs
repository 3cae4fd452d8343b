//! Which replica leads: whoever holds the Lease. As Kubernetes' own controllers
//! do it, clocks of other machines are not believed: a Lease has run out when it
//! has not changed for its duration by the clock of who looks at it.

mod election;

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::Settings;
use election::{Election, Turn};

/// One replica's part in the election.
pub(crate) struct Campaign {
    leases: Api<Lease>,
    name: String,
    identity: String,
    duration: Duration,
}

impl Campaign {
    pub(crate) fn new(client: Client, settings: &Settings) -> Self {
        Self {
            leases: Api::namespaced(client, &settings.lease_namespace),
            name: settings.lease_name.clone(),
            identity: settings.identity.clone(),
            duration: settings.lease_duration,
        }
    }

    /// Looks at the Lease again and again, and says whether it is ours.
    pub(crate) async fn run(&self, elected: &watch::Sender<bool>) {
        let mut election = Election::new(&self.identity);
        let limit = self.duration * 2 / 3;
        let pause = self.duration / 8;
        let mut renewed: Option<Instant> = None;
        let mut complained = false;
        loop {
            let begun = Instant::now();
            match timeout(limit / 2, self.take_part(&mut election)).await {
                Ok(Ok(is_ours)) => {
                    renewed = is_ours.then_some(begun);
                    complained = false;
                }
                failed => {
                    if !complained {
                        let error = match failed {
                            Ok(Err(error)) => error.to_string(),
                            _ => "no answer".to_owned(),
                        };
                        tracing::warn!(lease = self.name, error, "lease cannot be renewed");
                        complained = true;
                    }
                }
            }
            let is_ours = renewed.is_some_and(|renewed| renewed.elapsed() < limit);
            elected.send_if_modified(|elected| std::mem::replace(elected, is_ours) != is_ours);
            sleep(pause).await;
        }
    }

    /// Whether the Lease is ours now.
    async fn take_part(&self, election: &mut Election) -> kube::Result<bool> {
        let found = self.leases.get_opt(&self.name).await?;
        let turn = election.turn(found.as_ref(), Instant::now());
        let done = match (turn, found) {
            (Turn::Wait, _) => return Ok(false),
            (Turn::Take, None) => {
                let lease = self.claimed(Lease::default(), true);
                self.leases.create(&PostParams::default(), &lease).await
            }
            (turn, Some(found)) => {
                let lease = self.claimed(found, turn == Turn::Take);
                let params = PostParams::default();
                self.leases.replace(&self.name, &params, &lease).await
            }
            (Turn::Renew, None) => return Ok(false),
        };
        match done {
            Ok(_) => Ok(true),
            // Another replica was faster: the next look tells.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// With the version that was read, so that only one of two replicas gets it.
    fn claimed(&self, mut lease: Lease, is_new: bool) -> Lease {
        let now = MicroTime(Timestamp::now());
        lease.metadata.name = Some(self.name.clone());
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(self.duration.as_secs().max(1)).ok();
        spec.renew_time = Some(now.clone());
        if is_new {
            spec.acquire_time = Some(now);
            let before = spec.lease_transitions;
            spec.lease_transitions = Some(before.map_or(0, |count| count.saturating_add(1)));
        }
        lease
    }

    /// Leaves the Lease to the next one, without making it wait.
    pub(crate) async fn resign(&self, was_elected: bool) {
        if !was_elected {
            return;
        }
        let resigning = async {
            let mut lease = self.leases.get(&self.name).await?;
            if holder(&lease) != Some(&self.identity) {
                return Ok(());
            }
            let spec = lease.spec.get_or_insert_default();
            *spec = LeaseSpec {
                lease_transitions: spec.lease_transitions,
                ..LeaseSpec::default()
            };
            let params = PostParams::default();
            self.leases
                .replace(&lease.name_any(), &params, &lease)
                .await
                .map(drop)
        };
        match timeout(self.duration / 3, resigning).await {
            Ok(Ok(())) => tracing::info!(identity = self.identity, "resigned"),
            Ok(Err(error)) => tracing::warn!(%error, "lease not given back: it runs out"),
            Err(_) => tracing::warn!("lease not given back: no answer; it runs out"),
        }
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref()
}
