use std::sync::Arc;
use std::time::Instant;

use podway_dataplane::service::{BackendSpec, Error, ServiceBackend, ServiceSettings};
use podway_model::{ClusterState, Object, Update};
use podway_plan::service::{NodeContext, ServiceChange, ServicePlanner};

use super::Counters;
use crate::config;
use crate::feature::{Feature, Report, Scope, WriteError};
use crate::status::ServicesStatus;

/// Services, as this node serves them.
pub(crate) struct Services {
    config: config::Services,
    name: &'static str,
    planner: ServicePlanner,
    backend: Box<dyn ServiceBackend>,
    /// What was planned since the last write.
    change: ServiceChange,
    counters: Counters,
}

impl Services {
    /// Opens the backend in the calling thread's network namespace.
    pub(crate) fn open(
        spec: &BackendSpec,
        config: &config::Services,
        node: Arc<str>,
        counters: Counters,
    ) -> Result<Self, Error> {
        let context = NodeContext {
            node,
            masquerade_all: config.masquerade_all,
            node_port_prefixes: config.node_port_addresses.clone(),
            ..NodeContext::default()
        };
        Ok(Self {
            backend: (spec.open)(settings_of(&context))?,
            config: config.clone(),
            name: spec.name,
            planner: ServicePlanner::new(context),
            change: ServiceChange::default(),
            counters,
        })
    }

    pub(crate) fn netlink_port(&self) -> Option<u32> {
        self.backend.netlink_port()
    }

    /// What the Node says now: its pod prefixes come after the agent has started,
    /// and its zone may change.
    fn context(&self, state: &ClusterState) -> NodeContext {
        let known = self.planner.context();
        let Some(node) = state.node(&known.node) else {
            return known.clone();
        };
        NodeContext {
            masquerade_all: self.config.masquerade_all,
            node_port_prefixes: self.config.node_port_addresses.clone(),
            ..NodeContext::of(node)
        }
    }

    fn concerns_own_node(&self, update: &Update) -> bool {
        let own = &self.planner.context().node;
        let is_own = |object: &Object| matches!(object, Object::Node(node) if node.name == *own);
        update.before.iter().chain(&update.after).any(is_own)
    }
}

fn settings_of(context: &NodeContext) -> ServiceSettings {
    ServiceSettings {
        pod_prefixes: context.pod_prefixes.clone(),
        node_port_prefixes: context.node_port_prefixes.clone(),
        ..ServiceSettings::default()
    }
}

impl Feature for Services {
    fn name(&self) -> &'static str {
        "services"
    }

    fn plan_all(&mut self, state: &ClusterState) {
        let context = self.context(state);
        self.backend.configure(settings_of(&context));
        self.planner = ServicePlanner::new(context);
        self.change = self.planner.plan_all(state);
    }

    fn plan(&mut self, state: &ClusterState, updates: &[Update]) {
        let context = self.context(state);
        let is_same = !updates.iter().any(|update| self.concerns_own_node(update))
            || context == *self.planner.context();
        self.change = self.planner.update(state, updates);
        if !is_same {
            // The backend compares everything after this, so that the change
            // need not hold what both calls found.
            self.backend.configure(settings_of(&context));
            self.change = self.planner.reconfigure(state, context);
        }
    }

    fn write(&mut self, scope: Scope) -> Result<(), WriteError> {
        let change = std::mem::take(&mut self.change);
        let change = match scope {
            Scope::Change => Some(&change),
            Scope::Everything => None,
        };
        let report = self.backend.sync(self.planner.table(), change)?;
        let written = report.written;
        self.counters
            .transaction(written.transactions > 0, written.elements);
        Ok(())
    }

    fn follow_up(&mut self, _: &ClusterState, now: Instant) -> Result<Option<Instant>, WriteError> {
        Ok(self.backend.follow_up(self.planner.table(), now)?)
    }

    fn describe(&self, report: &mut Report) {
        let totals = self.planner.totals();
        report.status.services = Some(ServicesStatus {
            mode: self.name.to_owned(),
            services: totals.services,
            frontends: self.planner.table().routes.len(),
            endpoints: totals.endpoints,
        });
    }
}
