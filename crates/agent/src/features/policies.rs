use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use podway_cni::agent_protocol::Attachment;
use podway_dataplane::policy::{BackendSpec, Error, PolicyBackend, PolicyOptions};
use podway_model::{ClusterState, Update};
use podway_plan::policy::{PolicyChange, PolicyPlanner};

use super::Counters;
use crate::attachments::pod_of;
use crate::feature::{Feature, Report, Scope, WriteError};
use crate::status::PoliciesStatus;

/// NetworkPolicies, for the pods of this node.
pub(crate) struct Policies {
    node: Arc<str>,
    name: &'static str,
    planner: PolicyPlanner,
    backend: Box<dyn PolicyBackend>,
    /// What was planned since the last write.
    change: PolicyChange,
    counters: Counters,
}

impl Policies {
    /// Opens the backend in the calling thread's network namespace.
    pub(crate) fn open(
        spec: &BackendSpec,
        options: PolicyOptions,
        node: Arc<str>,
        counters: Counters,
    ) -> Result<Self, Error> {
        Ok(Self {
            planner: PolicyPlanner::new(Some(node.clone())),
            node,
            name: spec.name,
            backend: (spec.open)(options)?,
            change: PolicyChange::default(),
            counters,
        })
    }

    pub(crate) fn netlink_port(&self) -> Option<u32> {
        self.backend.netlink_port()
    }
}

impl Feature for Policies {
    fn name(&self) -> &'static str {
        "policies"
    }

    fn guards_pods(&self) -> bool {
        true
    }

    fn plan_all(&mut self, state: &ClusterState) {
        self.planner = PolicyPlanner::plan(Some(self.node.clone()), state);
        self.change = PolicyChange::default();
    }

    fn plan(&mut self, state: &ClusterState, updates: &[Update]) {
        self.change = self.planner.update(state, updates);
    }

    fn attach(&mut self, state: &ClusterState, attachment: &Attachment) {
        let (uid, addresses) = (&attachment.uid, &attachment.addresses);
        let pod = pod_of(attachment);
        self.change = self.planner.attach(state, &pod, uid, addresses);
    }

    fn detach(&mut self, state: &ClusterState, attachment: &Attachment) {
        let pod = pod_of(attachment);
        self.change = self.planner.detach(state, &pod, &attachment.addresses);
    }

    fn write(&mut self, scope: Scope) -> Result<(), WriteError> {
        let change = std::mem::take(&mut self.change);
        let change = match scope {
            Scope::Change if change.is_empty() => return Ok(()),
            Scope::Change => Some(&change),
            Scope::Everything => None,
        };
        let report = self.backend.sync(self.planner.table(), change)?;
        self.counters
            .transaction(report.writes > 0, report.elements);
        Ok(())
    }

    fn follow_up(&mut self, now: Instant) -> Result<Option<Instant>, WriteError> {
        Ok(self.backend.follow_up(now)?)
    }

    fn describe(&self, report: &mut Report) {
        let table = self.planner.table();
        let directions = table
            .pods
            .values()
            .flat_map(|rules| [&rules.ingress, &rules.egress]);
        let isolating: BTreeSet<_> = directions
            .flatten()
            .flat_map(|rules| &rules.isolated_by)
            .collect();
        report.status.policies = Some(PoliciesStatus {
            backend: self.name.to_owned(),
            policies: isolating.len(),
            pods: table.pods.len(),
        });
    }
}
