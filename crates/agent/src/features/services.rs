mod observed;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use podway_dataplane::service::{
    self, BackendSpec, Error, NetlinkPorts, ServiceBackend as _, ServiceSettings, Succession,
    SyncReport,
};
use podway_model::{ClusterState, IpFamily, Node, Object, ObjectRef, Update};
use podway_plan::service::{Conflict, Interfaces, NodeContext, ServiceChange, ServicePlanner};
use podway_watch::objects::Fault;

use super::Counters;
use crate::PROXY_MODE;
use crate::config::{self, Configuration, LocalPods, NodePortAddress};
use crate::feature::{Feature, Report, Scope, WriteError, chain};
use crate::health_checks::{Checks, Wanted};
use crate::status::{NodeStatus, ServicesStatus};
use observed::Observed;

/// Services, as this node serves them.
pub(crate) struct Services {
    config: config::Services,
    /// The configuration's mode, where the Node does not ask for another.
    configured: &'static BackendSpec,
    planner: ServicePlanner,
    backend: Succession,
    /// What was planned since the last write.
    change: ServiceChange,
    counters: Counters,
    observed: Observed,
    /// What to answer at health check node ports, as of the last write.
    checks: Checks,
    /// The backend has other settings than at its last write.
    is_configured: bool,
}

impl Services {
    /// Opens the backend in the calling thread's network namespace.
    pub(crate) fn open(
        spec: &'static BackendSpec,
        config: &config::Services,
        node: Arc<str>,
        counters: Counters,
    ) -> Result<Self, Error> {
        let context = context_of(config, node, None);
        Ok(Self {
            backend: Succession::open(spec, settings_of(config, &context))?,
            config: config.clone(),
            configured: spec,
            planner: ServicePlanner::new(context),
            change: ServiceChange::default(),
            observed: Observed::new(spec.name, counters.clone()),
            counters,
            checks: Checks::default(),
            is_configured: true,
        })
    }

    /// Wants the mode that the Node asks for, or the configuration's.
    fn follow_wish(&mut self, state: &ClusterState) {
        let node = state.node(&self.planner.context().node);
        let wish = node.and_then(|node| node.annotations.get(PROXY_MODE));
        let wanted = wish.and_then(|name| service::backend(name));
        if let (Some(mode), None) = (wish, wanted) {
            tracing::warn!(mode, "no proxy mode of this name, as the Node asks for");
        }
        let wanted = wanted.unwrap_or(self.configured);
        self.is_configured |= self.backend.mode() != Some(wanted.name);
        self.backend.want(wanted);
    }

    fn sync(&mut self, change: Option<&ServiceChange>) -> Result<SyncReport, Error> {
        let table = self.planner.table();
        let synced = self.backend.sync(table, change);
        let has_choice = self.backend.wanted().name != self.configured.name;
        if self.backend.mode().is_none() && has_choice {
            // After a start: rather than nobody, the mode that was probed serves.
            if let Err(error) = synced {
                let (mode, error) = (self.backend.wanted().name, chain(&error));
                tracing::error!(mode, error, "the mode that the Node asks for cannot serve");
            }
            self.backend.want(self.configured);
            return self.backend.sync(table, None);
        }
        synced
    }

    /// What the Node says now: its pod prefixes come after the agent has started,
    /// and its zone may change.
    fn context(&self, state: &ClusterState) -> NodeContext {
        let name = &self.planner.context().node;
        let node = state.node(name).map(|node| &**node);
        context_of(&self.config, name.clone(), node)
    }

    fn concerns_own_node(&self, update: &Update) -> bool {
        let own = &self.planner.context().node;
        let is_own = |object: &Object| matches!(object, Object::Node(node) if node.name == *own);
        update.before.iter().chain(&update.after).any(is_own)
    }

    fn configure(&mut self, context: &NodeContext) {
        self.backend.configure(settings_of(&self.config, context));
        self.is_configured = true;
    }

    /// Plans for what the Node or the configuration says now.
    fn replan(&mut self, state: &ClusterState, context: NodeContext) {
        // The backend compares everything after this, so that the change need
        // not hold what was planned before.
        self.configure(&context);
        self.change = self.planner.reconfigure(state, context);
    }
}

fn context_of(config: &config::Services, name: Arc<str>, node: Option<&Node>) -> NodeContext {
    let known = node.map_or(&[][..], |node| &node.pod_prefixes);
    let (pod_prefixes, pod_interfaces) = match &config.local_pods {
        LocalPods::PodPrefixes => (known.to_vec(), None),
        LocalPods::Prefixes(prefixes) => (prefixes.clone(), None),
        LocalPods::Interface(name) => (Vec::new(), Some(Interfaces::Named(name.as_str().into()))),
        LocalPods::InterfacePrefix(prefix) => (
            Vec::new(),
            Some(Interfaces::Prefixed(prefix.as_str().into())),
        ),
        LocalPods::None => (Vec::new(), None),
    };
    NodeContext {
        node: name,
        pod_prefixes,
        pod_interfaces,
        masquerade_all: config.masquerade_all,
        node_port_prefixes: node_port_prefixes(config, node),
        localhost_node_ports: config.localhost_node_ports,
        service_prefixes: config.service_prefixes.iter().copied().collect(),
    }
}

fn node_port_prefixes(config: &config::Services, node: Option<&Node>) -> Vec<IpNet> {
    let own = match config.node_addresses.as_slice() {
        [] => node.map_or(&[][..], |node| &node.addresses),
        given => given,
    };
    let of = |address: &NodePortAddress| match address {
        NodePortAddress::Prefix(prefix) => vec![*prefix],
        NodePortAddress::Primary => IpFamily::ALL
            .into_iter()
            .map(|family| primary(own, family).into())
            .collect(),
    };
    config.node_port_addresses.iter().flat_map(of).collect()
}

/// The first address of a family. Without one, the loopback address stands for
/// "none": no prefix at all would mean all of them.
fn primary(own: &[IpAddr], family: IpFamily) -> IpAddr {
    let mut own = own.iter().copied();
    own.find(|address| IpFamily::of(address) == family)
        .unwrap_or(match family {
            IpFamily::V4 => Ipv4Addr::LOCALHOST.into(),
            IpFamily::V6 => Ipv6Addr::LOCALHOST.into(),
        })
}

fn settings_of(config: &config::Services, context: &NodeContext) -> ServiceSettings {
    ServiceSettings {
        pod_prefixes: context.pod_prefixes.clone(),
        pod_interfaces: context.pod_interfaces.clone(),
        node_port_prefixes: context.node_port_prefixes.clone(),
        localhost_node_ports: context.localhost_node_ports,
        affinity_clients: config.affinity_clients,
        ipvs: config.ipvs.settings(),
    }
}

/// What a newcomer is told about a frontend that an older Service has.
fn fault_of(conflict: Conflict) -> Fault {
    let (frontend, holder) = (conflict.frontend, conflict.holder);
    Fault {
        object: ObjectRef::Service(conflict.refused.service),
        field: "spec.ports".to_owned(),
        reason: format!("{frontend} is not served for it: {holder}, which is older, has it"),
    }
}

impl Feature for Services {
    fn name(&self) -> &'static str {
        "services"
    }

    fn plan_all(&mut self, state: &ClusterState) {
        let context = self.context(state);
        self.configure(&context);
        self.planner = ServicePlanner::new(context);
        self.change = self.planner.plan_all(state);
        self.follow_wish(state);
    }

    fn plan(&mut self, state: &ClusterState, updates: &[Update]) {
        self.observed.note(updates);
        let context = self.context(state);
        if updates.iter().any(|update| self.concerns_own_node(update)) {
            self.follow_wish(state);
        }
        let is_same = !updates.iter().any(|update| self.concerns_own_node(update))
            || context == *self.planner.context();
        self.change = self.planner.update(state, updates);
        if !is_same {
            self.replan(state, context);
        }
    }

    fn write(&mut self, scope: Scope) -> Result<(), WriteError> {
        let change = std::mem::take(&mut self.change);
        let change = match scope {
            Scope::Change if change.is_empty() && !self.is_configured => {
                self.observed.wrote_nothing();
                return Ok(());
            }
            Scope::Change => Some(&change),
            Scope::Everything => None,
        };
        let start = Instant::now();
        let outcome = self.sync(change);
        self.observed
            .wrote(start.elapsed(), scope, outcome.as_ref().ok(), &self.planner);
        let written = outcome?.written;
        // Together with the rules: a load balancer must not hear of endpoints
        // that the node does not serve yet.
        if change.is_none_or(|change| !change.health_checks.is_empty()) {
            self.checks = Arc::new(self.planner.table().health_checks.clone());
        }
        self.is_configured = false;
        self.counters
            .transaction(written.transactions > 0, written.elements);
        Ok(())
    }

    fn follow_up(&mut self, _: &ClusterState, now: Instant) -> Result<Option<Instant>, WriteError> {
        Ok(self.backend.follow_up(self.planner.table(), now)?)
    }

    fn ports(&self) -> NetlinkPorts {
        self.backend.ports()
    }

    fn reconfigure(&mut self, config: &Configuration, state: &ClusterState) -> bool {
        let new = &config.services;
        let Some(mode) = service::backend(&new.mode).filter(|_| new.enabled) else {
            return false;
        };
        self.config = new.clone();
        self.configured = mode;
        self.follow_wish(state);
        self.replan(state, self.context(state));
        true
    }

    fn remove(&mut self) -> Result<(), WriteError> {
        Ok(self.backend.cleanup()?)
    }

    fn describe(&self, report: &mut Report) {
        let conflicts = self.planner.conflicts().take(NodeStatus::MOST_FAULTS);
        report.faults.extend(conflicts.map(fault_of));
        report.health_checks = Wanted {
            checks: self.checks.clone(),
            prefixes: self.planner.context().node_port_prefixes.clone(),
        };
        let totals = self.planner.totals();
        report.status.services = Some(ServicesStatus {
            mode: self.backend.mode().unwrap_or_default().to_owned(),
            wanted: (self.backend.mode() != Some(self.backend.wanted().name))
                .then(|| self.backend.wanted().name.to_owned()),
            leaving: self.backend.leaving().map(str::to_owned).collect(),
            services: totals.services,
            frontends: self.planner.table().routes.len(),
            endpoints: totals.endpoints,
        });
    }
}
