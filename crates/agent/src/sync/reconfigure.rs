//! Another configuration while the agent runs: what differs is done again, and
//! nothing else.

use std::sync::Arc;

use podway_model::ClusterState;

use super::{Outbox, Sync};
use crate::config::Configuration;
use crate::feature::{Feature, Tracked, chain};
use crate::features::{Counters, Features};
use crate::foreign::OwnPorts;
use crate::probe::probe;
use crate::run::pod_config;

/// What another configuration is compared with, and what opens features for it.
pub(crate) struct Assembly {
    pub(crate) config: Configuration,
    pub(crate) node: Arc<str>,
    pub(crate) counters: Counters,
    /// The netlink ports of our own changes.
    pub(crate) own_ports: OwnPorts,
}

/// The order in which features are written: what closes before what opens.
const ORDER: [&str; 5] = ["policies", "services", "pods", "overlay", "loadBalancer"];

impl Assembly {
    /// What of a new configuration only another start puts in force.
    fn deferred(&self, new: &Configuration) -> Vec<&'static str> {
        let old = &self.config;
        let differs = [
            ("nodeName", old.node_name != new.node_name),
            ("kubeconfig", old.kubeconfig != new.kubeconfig),
            ("stateDir", old.state_dir != new.state_dir),
            ("socket", old.socket != new.socket),
            ("overlay", old.overlay != new.overlay),
            ("loadBalancer", old.load_balancer != new.load_balancer),
            (
                "observability.enabled",
                old.observability.enabled != new.observability.enabled,
            ),
        ];
        let deferred = differs.into_iter().filter(|(_, differs)| *differs);
        deferred.map(|(field, _)| field).collect()
    }

    /// Features whose section differs.
    fn changed(&self, new: &Configuration) -> Vec<&'static str> {
        let old = &self.config;
        let differs = [
            ("policies", old.policies != new.policies),
            ("services", old.services != new.services),
            ("pods", old.pods != new.pods),
        ];
        let changed = differs.into_iter().filter(|(_, differs)| *differs);
        changed.map(|(feature, _)| feature).collect()
    }

    fn open(&self, name: &str, new: &Configuration) -> Result<Option<Box<dyn Feature>>, String> {
        let opened = Features::open_one(name, new, &self.node, &self.counters);
        let opened = opened.map_err(|error| chain(&error))?;
        if let Some(feature) = &opened {
            self.own_ports.add(feature.ports());
        }
        Ok(opened)
    }
}

impl<O: Outbox> Sync<O> {
    /// Takes another configuration, or the news that the file is wrong.
    pub(super) fn configure(&mut self, configuration: Result<Configuration, String>) {
        let new = match configuration {
            Ok(new) => new,
            Err(complaint) => {
                self.misconfigured = Some(format!(
                    "the file is wrong, and the configuration before it stays in force: {complaint}"
                ));
                return;
            }
        };
        self.misconfigured = None;
        let Some(mut assembly) = self.assembly.take() else {
            return;
        };
        let mut complaints = Vec::new();
        let old = &assembly.config;
        let sets_parameters = old.services.conntrack != new.services.conntrack;
        let attaches_otherwise =
            old.pods != new.pods || old.policies.enabled != new.policies.enabled;
        for name in assembly.changed(&new) {
            if let Err(complaint) = self.reconfigure(&assembly, name, &new) {
                complaints.push(format!("{name} stays as it was: {complaint}"));
            } else {
                take_section(&mut assembly.config, name, &new);
                tracing::info!(section = name, "configuration is applied");
            }
        }
        if sets_parameters {
            crate::sysctls::set(&new);
        }
        if attaches_otherwise {
            self.pods = pod_config(&new);
        }
        let deferred = assembly.deferred(&new);
        if !deferred.is_empty() {
            let fields = deferred.join(", ");
            complaints.push(format!("{fields}: in force when the agent starts again"));
        }
        assembly.config.observability = new.observability;
        for complaint in &complaints {
            tracing::warn!(complaint, "configuration is not wholly applied");
        }
        self.misconfigured = (!complaints.is_empty()).then(|| complaints.join("; "));
        self.assembly = Some(assembly);
    }

    /// Makes a feature what a configuration says: changes it, opens another in
    /// its place, or ends it.
    fn reconfigure(
        &mut self,
        assembly: &Assembly,
        name: &'static str,
        new: &Configuration,
    ) -> Result<(), String> {
        if name == "services" && new.services.mode != assembly.config.services.mode {
            probe(new).map_err(|error| chain(&error))?;
        }
        let place = self.features.iter().position(|f| f.name() == name);
        let state = &self.state;
        if let Some(place) = place {
            let tracked = &mut self.features[place];
            if tracked.reconfigure(new, state) {
                return Ok(());
            }
        }
        let opened = assembly.open(name, new)?;
        match (opened, place) {
            (Some(mut feature), place) => {
                if self.is_synced {
                    self.acquaint(&mut *feature);
                }
                match place {
                    Some(place) => self.features[place].succeed(feature),
                    None => self.insert(Tracked::new(feature)),
                }
            }
            (None, Some(place)) => {
                let mut ended = self.features.remove(place);
                ended.remove().map_err(|error| chain(&*error))?;
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// In the order in which they are written.
    #[cfg(test)]
    pub(crate) fn feature_names(&self) -> impl Iterator<Item = &'static str> {
        self.features.iter().map(Tracked::name)
    }

    /// Plans all that a feature has missed.
    fn acquaint(&self, feature: &mut dyn Feature) {
        let state: &ClusterState = &self.state;
        feature.plan_all(state);
        for attachment in self.attachments.list() {
            feature.attach(state, attachment);
        }
    }

    fn insert(&mut self, tracked: Tracked) {
        let rank = |name: &str| ORDER.iter().position(|known| *known == name);
        let own = rank(tracked.name());
        let place = self.features.partition_point(|f| rank(f.name()) < own);
        self.features.insert(place, tracked);
    }
}

fn take_section(config: &mut Configuration, name: &str, new: &Configuration) {
    match name {
        "policies" => config.policies = new.policies.clone(),
        "services" => config.services = new.services.clone(),
        _ => config.pods = new.pods.clone(),
    }
}
