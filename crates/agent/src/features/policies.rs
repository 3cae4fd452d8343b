mod denials;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use podway_cni::agent_protocol::Attachment;
use podway_dataplane::policy::{BackendSpec, DeniedPackets, Error, PolicyBackend, PolicyOptions};
use podway_dataplane::service::NetlinkPorts;
use podway_model::{ClusterState, Update};
use podway_plan::policy::{PolicyChange, PolicyPlanner};

use super::Counters;
use crate::attachments::pod_of;
use crate::feature::{Feature, Report, Scope, WriteError, chain};
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
    /// The packets that were denied, as last read.
    denied: Vec<DeniedPackets>,
    /// When to read them again.
    count_at: Option<Instant>,
    is_logging: bool,
}

/// How often the kernel is asked how many packets were denied.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// How often denied packets are read, where they are logged: the kernel keeps
/// them until then.
const LOG_EVERY: Duration = Duration::from_millis(250);

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
            denied: Vec::new(),
            count_at: None,
            is_logging: options.log.is_some(),
        })
    }

    /// Reads how much was denied; gives when to do so again. Where that fails
    /// policies are in force all the same.
    fn count(&mut self, now: Instant) -> Option<Instant> {
        if self.count_at.is_none_or(|at| at <= now) {
            match self.backend.denied() {
                Ok(denied) => self.denied = denied,
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(error, "denied packets not counted");
                }
            }
            self.count_at = Some(now + COUNT_EVERY);
        }
        let is_anybody_isolated = !self.planner.table().pods.is_empty();
        self.count_at.filter(|_| is_anybody_isolated)
    }

    /// Logs what was denied; gives when to do so again.
    fn log(&mut self, state: &ClusterState, now: Instant) -> Option<Instant> {
        if !self.is_logging {
            return None;
        }
        match self.backend.denials() {
            Ok(read) => {
                for denial in read {
                    denials::log(state, self.planner.table(), &denial);
                }
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "denied packets not read");
            }
        }
        Some(now + LOG_EVERY)
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

    fn follow_up(
        &mut self,
        state: &ClusterState,
        now: Instant,
    ) -> Result<Option<Instant>, WriteError> {
        let due = self.backend.follow_up(now)?;
        let observed = [self.count(now), self.log(state, now)];
        Ok(due.into_iter().chain(observed.into_iter().flatten()).min())
    }

    fn ports(&self) -> NetlinkPorts {
        Arc::new(Mutex::new(
            self.backend.netlink_port().into_iter().collect(),
        ))
    }

    fn remove(&mut self) -> Result<(), WriteError> {
        Ok(self.backend.cleanup()?)
    }

    fn describe(&self, report: &mut Report) {
        let table = self.planner.table();
        let sets = table.pods.values().flat_map(|rules| rules.sets());
        let policies: BTreeSet<_> = sets.flat_map(|set| set.policies()).collect();
        let (denied, denials) = denials::of_pods(table, &self.denied, false);
        let (would_deny, audits) = denials::of_pods(table, &self.denied, true);
        report.status.policies = Some(PoliciesStatus {
            backend: self.name.to_owned(),
            policies: policies.len(),
            pods: table.pods.len(),
            denied,
            denials,
            would_deny,
            audits,
        });
    }
}
