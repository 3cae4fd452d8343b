//! The features of a node: each a planner and a backend.

mod announce;
mod masquerade;
mod overlay;
mod policies;
mod services;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use podway_dataplane as dataplane;

use crate::config::Configuration;
use crate::error::Error;
use crate::feature::Feature;
use crate::foreign::OwnPorts;
use crate::metrics::Metrics;
use crate::status::Writes;
use announce::Announce;
pub(crate) use announce::{Announcing, follow_addresses};
use masquerade::Masquerade;
use overlay::Overlay;
pub(crate) use overlay::{OverlayConfig, OverlayWatch};
use policies::Policies;
use services::Services;

/// The features that a configuration switches on.
#[derive(Default)]
pub(crate) struct Features {
    /// In the order in which they are written: what closes before what opens.
    pub(crate) all: Vec<Box<dyn Feature>>,
    /// The netlink ports by which notifications name our own changes.
    pub(crate) ports: OwnPorts,
    /// What of the node's links and routes concerns the overlay.
    pub(crate) overlay: Option<OverlayWatch>,
    /// What addresses of load balancers are announced from.
    pub(crate) announcing: Option<Announcing>,
}

impl Features {
    /// Opens them in the calling thread's network namespace.
    pub(crate) fn open(
        config: &Configuration,
        node: &Arc<str>,
        counters: &Counters,
    ) -> Result<Self, Error> {
        let mut features = Self::default();
        for name in ["policies", "services", "pods"] {
            let opened = Self::open_one(name, config, node, counters)?;
            features.all.extend(opened);
        }
        for feature in &features.all {
            features.ports.add(feature.ports());
        }
        if config.overlay.enabled {
            let settings = OverlayConfig::read(&config.overlay).map_err(failed("overlay"))?;
            let overlay = Overlay::open(config, &settings, node, counters.clone())
                .map_err(failed("overlay"))?;
            features.overlay = Some(overlay.watch());
            features.all.push(Box::new(overlay));
        }
        // Last: no address is answered for before everything else is in force.
        if config.load_balancer.enabled {
            let announce = Announce::new(&config.load_balancer, node.clone());
            features.announcing = Some(announce.announcing());
            features.all.push(Box::new(announce));
        }
        Ok(features)
    }

    /// Opens the feature of this name, where the configuration has it.
    pub(crate) fn open_one(
        name: &str,
        config: &Configuration,
        node: &Arc<str>,
        counters: &Counters,
    ) -> Result<Option<Box<dyn Feature>>, Error> {
        let (node, counters) = (node.clone(), counters.clone());
        Ok(match name {
            "policies" if config.policies.enabled => {
                let spec = dataplane::policy::backend(&config.policies.backend);
                let spec = known("policies", spec)?;
                let options = config.policies.options();
                let policies =
                    Policies::open(spec, options, node, counters).map_err(failed("policies"))?;
                Some(Box::new(policies))
            }
            "services" if config.services.enabled => {
                let spec = dataplane::service::backend(&config.services.mode);
                let spec = known("services", spec)?;
                let services = Services::open(spec, &config.services, node, counters)
                    .map_err(failed("services"))?;
                Some(Box::new(services))
            }
            "pods" if config.pods.enabled && config.pods.masquerade => {
                let masquerade = Masquerade::open(&config.pods.unmasqueraded, node, counters)
                    .map_err(failed("pods"))?;
                Some(Box::new(masquerade))
            }
            _ => None,
        })
    }
}

/// The configuration was checked against the same list.
fn known<T>(feature: &'static str, spec: Option<T>) -> Result<T, Error> {
    spec.ok_or_else(|| Error::Open {
        feature,
        source: "no backend of this name".into(),
    })
}

fn failed<E>(feature: &'static str) -> impl FnOnce(E) -> Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |source| Error::Open {
        feature,
        source: Box::new(source),
    }
}

/// Counts what features write to the kernel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    transactions: AtomicU64,
    objects: AtomicU64,
    metrics: Metrics,
}

impl Counters {
    /// Requests that each write one object (rtnetlink).
    pub(crate) fn requests(&self, count: u64) {
        self.add(count, count);
    }

    /// A transaction, where there was one, and the elements in it (nftables).
    pub(crate) fn transaction(&self, took_place: bool, elements: u64) {
        self.add(u64::from(took_place), elements);
    }

    fn add(&self, transactions: u64, objects: u64) {
        let counted = &self.0;
        counted
            .transactions
            .fetch_add(transactions, Ordering::Relaxed);
        counted.objects.fetch_add(objects, Ordering::Relaxed);
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn total(&self) -> Writes {
        Writes {
            transactions: self.0.transactions.load(Ordering::Relaxed),
            objects: self.0.objects.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests;
