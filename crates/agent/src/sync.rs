//! The sync thread: owns the state, plans, and writes.
//!
//! Whatever arrives while it writes is one batch afterwards; there is no pause
//! between batches. Nothing is written before every kind has been listed once:
//! a table planned from half a cluster would cut connections.

mod faults;
mod reconfigure;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use podway_cni::agent_protocol::{AgentStatus, Attachment, Detachment};
use podway_model::{ClusterState, ObjectKind};

use crate::attachments::{Attachments, pod_of};
use crate::feature::{Feature, Report, Tracked};
use crate::features::Counters;
use crate::health::Health;
use crate::mailbox::{Answer, Batch, Mailbox, Request};
use crate::pods::PodConfig;
use crate::publish::Live;
use crate::status::{FeatureProblem, NodeStatus};
use faults::Faults;
pub(crate) use reconfigure::Assembly;

/// What leaves the sync thread: the latest report, and the faults of objects.
pub(crate) trait Outbox: Send {
    /// Takes the latest report; called after each batch, whether it differs or not.
    fn report(&mut self, report: Report);

    /// Takes a policy that has changed, where this node is to say when it is in
    /// force everywhere.
    fn changed(&mut self, _live: Live) {}

    /// Takes what is wrong with an object that was right, or wrong otherwise.
    fn fault(&mut self, fault: &podway_watch::objects::Fault);
}

/// The sync thread's belongings.
pub(crate) struct Sync<O> {
    node: Arc<str>,
    state: ClusterState,
    features: Vec<Tracked>,
    /// How pods are attached, where the agent configures that.
    pods: Option<PodConfig>,
    attachments: Attachments,
    faults: Faults,
    /// Watches that are lost, and why.
    lost: BTreeMap<ObjectKind, String>,
    /// Requests that wait for the first complete state.
    waiting: VecDeque<Request>,
    is_synced: bool,
    /// The highest revision with which every feature agreed.
    in_force: u64,
    /// The same for each kind of object.
    revisions: BTreeMap<String, u64>,
    counters: Counters,
    health: Arc<Health>,
    readiness: Arc<Mutex<AgentStatus>>,
    outbox: O,
    /// What makes other features for another configuration.
    assembly: Option<Assembly>,
    /// What of the configuration is not in force.
    misconfigured: Option<String>,
}

/// What a [`Sync`] is made of.
pub(crate) struct Parts<O> {
    pub(crate) node: Arc<str>,
    /// In the order in which they are written.
    pub(crate) features: Vec<Tracked>,
    pub(crate) pods: Option<PodConfig>,
    pub(crate) attachments: Attachments,
    /// Counts what was written to the kernel.
    pub(crate) counters: Counters,
    /// Is told what is in force.
    pub(crate) health: Arc<Health>,
    /// Where the socket reads whether pods can be attached.
    pub(crate) readiness: Arc<Mutex<AgentStatus>>,
    pub(crate) outbox: O,
    /// `None` where the configuration does not change.
    pub(crate) assembly: Option<Assembly>,
}

impl<O: Outbox> Sync<O> {
    pub(crate) fn new(parts: Parts<O>) -> Self {
        Self {
            node: parts.node,
            state: ClusterState::default(),
            features: parts.features,
            pods: parts.pods,
            attachments: parts.attachments,
            faults: Faults::default(),
            lost: BTreeMap::new(),
            waiting: VecDeque::new(),
            is_synced: false,
            in_force: 0,
            revisions: BTreeMap::new(),
            counters: parts.counters,
            health: parts.health,
            readiness: parts.readiness,
            outbox: parts.outbox,
            assembly: parts.assembly,
            misconfigured: None,
        }
    }

    /// Takes batches until the agent ends. The kernel keeps what is written.
    pub(crate) fn run(&mut self, mailbox: &Mailbox) {
        loop {
            let deadline = self.features.iter().filter_map(Tracked::due).min();
            let batch = mailbox.take(deadline);
            if batch.is_ending {
                return;
            }
            self.take(batch, Instant::now());
        }
    }

    /// Takes in one batch: plans, writes, answers, reports.
    pub(crate) fn take(&mut self, mut batch: Batch, now: Instant) {
        let mut updates = Vec::new();
        for change in batch.take_changes() {
            updates.extend(self.state.apply(change));
        }
        for (kind, cause) in std::mem::take(&mut batch.watches) {
            match cause {
                Some(cause) => self.lost.insert(kind, cause),
                None => self.lost.remove(&kind),
            };
        }
        for (object, faults) in std::mem::take(&mut batch.faults) {
            for fault in self.faults.note(object, faults) {
                self.outbox.fault(&fault);
            }
        }
        self.waiting.append(&mut batch.requests);
        if self.is_synced {
            for object in updates.iter().filter_map(|update| update.after.as_ref()) {
                if let Some(live) = Live::of(&self.state, &self.node, object) {
                    self.outbox.changed(live);
                }
            }
        }
        if let Some(configuration) = batch.configuration.take() {
            self.configure(configuration);
        }
        if self.is_synced && !updates.is_empty() {
            self.plan(|feature, state| feature.plan(state, &updates));
        } else if !self.is_synced && batch.is_synced {
            self.start();
        }
        if batch.is_disturbed {
            tracing::warn!("somebody else changed our kernel objects, comparing everything");
            self.features.iter_mut().for_each(Tracked::doubt);
        }
        let disturbed = &batch.disturbed;
        let is_disturbed = |feature: &&mut Tracked| disturbed.contains(feature.name());
        let disturbed = self.features.iter_mut().filter(is_disturbed);
        disturbed.for_each(Tracked::doubt);
        if self.is_synced {
            self.write(now);
            self.serve_requests(now);
        }
        let (updates, revision) = (updates.len(), self.state.revision());
        tracing::debug!(updates, revision, elapsed = ?now.elapsed(), "batch taken");
        self.report();
    }

    /// The state is complete for the first time.
    fn start(&mut self) {
        self.is_synced = true;
        self.prune_attachments();
        self.plan(|feature, state| feature.plan_all(state));
        let attached: Vec<Attachment> = self.attachments.list().cloned().collect();
        for attachment in &attached {
            self.plan(|feature, state| feature.attach(state, attachment));
        }
        tracing::info!(
            revision = self.state.revision(),
            services = self.state.services().count(),
            pods = self.state.pods().count(),
            policies = self.state.policies().count(),
            "every kind is listed"
        );
    }

    /// Pods that went while the agent was down were detached without it.
    fn prune_attachments(&mut self) {
        let state = &self.state;
        let gone = self.attachments.prune(|attachment| {
            let pod = state.pod(&pod_of(attachment));
            pod.is_some_and(|pod| attachment.uid.is_empty() || *pod.uid == *attachment.uid)
        });
        for attachment in gone {
            tracing::info!(pod = %pod_of(&attachment), "attachment of a pod that is gone");
        }
    }

    fn plan(&mut self, plan: impl Fn(&mut dyn Feature, &ClusterState)) {
        for tracked in &mut self.features {
            tracked.plan(|feature| plan(feature, &self.state));
        }
    }

    fn write(&mut self, now: Instant) {
        self.features
            .iter_mut()
            .for_each(|feature| feature.write(&self.state, now));
        if self
            .features
            .iter()
            .all(|feature| feature.problem().is_none())
        {
            self.in_force = self.state.revision();
            let revision = |kind| (format!("{kind:?}"), self.state.revision_of(kind));
            self.revisions = ObjectKind::ALL.into_iter().map(revision).collect();
        }
        let services = self.features.iter().find(|f| f.name() == "services");
        if services.is_none_or(|feature| feature.problem().is_none()) {
            self.health.in_force(SystemTime::now());
        }
    }

    fn show(&self, status: &NodeStatus) {
        let node = self.state.node(&self.node);
        let is_gone = self.is_synced && node.is_none();
        self.health
            .note_node(is_gone || node.is_some_and(|node| node.leaving));
        let metrics = self.counters.metrics();
        metrics.transactions.reach(&[], status.writes.transactions);
        metrics.objects.reach(&[], status.writes.objects);
        metrics.faults.set(&[], status.fault_count as f64);
        metrics.problems.set(&[], status.problems.len() as f64);
        metrics.heard.set(&[], status.heard as f64);
        for kind in ObjectKind::ALL {
            let (label, revision) = kind_revision(kind, &status.revisions);
            metrics.revision.set(&[label], revision as f64);
        }
        metrics.build.set(&[env!("CARGO_PKG_VERSION")], 1.0);
    }

    fn serve_requests(&mut self, now: Instant) {
        for request in std::mem::take(&mut self.waiting) {
            match request {
                Request::Attach(attachment, answer) => {
                    let outcome = self.attach(&attachment, now);
                    respond(&answer, outcome);
                }
                Request::Detach(detachment, answer) => {
                    let outcome = self.detach(&detachment, now);
                    respond(&answer, outcome);
                }
            }
        }
    }

    /// Ok once the features that guard pods have what they planned for it in
    /// force, whatever the others do.
    fn attach(&mut self, attachment: &Attachment, now: Instant) -> Result<(), String> {
        let pod = pod_of(attachment);
        self.attachments
            .add(attachment)
            .map_err(|error| format!("remember the attachment of {pod}: {error}"))?;
        self.plan(|feature, state| feature.attach(state, attachment));
        for feature in &mut self.features {
            if feature.guards_pods() {
                feature.write_now(&self.state, now);
            } else {
                feature.write(&self.state, now);
            }
        }
        tracing::debug!(%pod, addresses = ?attachment.addresses, "attached");
        self.unguarded().map_or(Ok(()), Err)
    }

    fn detach(&mut self, detachment: &Detachment, now: Instant) -> Result<(), String> {
        let removed = self
            .attachments
            .remove(&detachment.container_id, &detachment.ifname)
            .map_err(|error| format!("forget the attachment: {error}"))?;
        let Some(attachment) = removed else {
            // Never attached, or detached before: CNI DEL may come twice.
            return Ok(());
        };
        self.plan(|feature, state| feature.detach(state, &attachment));
        self.write(now);
        tracing::debug!(pod = %pod_of(&attachment), "detached");
        Ok(())
    }

    /// What keeps pods from being guarded.
    fn unguarded(&self) -> Option<String> {
        let guards = self.features.iter().filter(|feature| feature.guards_pods());
        let problems: Vec<String> = guards
            .filter_map(|feature| Some(format!("{}: {}", feature.name(), feature.problem()?)))
            .collect();
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    /// Tells the container runtime how to attach pods, once they would be guarded
    /// and have a network.
    fn configure_pods(&mut self, mtu: Option<u32>) {
        if self.unguarded().is_some() {
            return;
        }
        let prefixes = self
            .state
            .node(&self.node)
            .map_or(&[][..], |node| node.pod_prefixes.as_slice());
        if let Some(pods) = &mut self.pods {
            pods.configure(prefixes, mtu);
        }
    }

    fn report(&mut self) {
        let mut report = Report::default();
        self.features
            .iter()
            .for_each(|feature| feature.describe(&mut report));
        if self.is_synced {
            self.configure_pods(report.mtu);
        }
        for fault in self.faults.compare(std::mem::take(&mut report.faults)) {
            self.outbox.fault(&fault);
        }
        let status = &mut report.status;
        status.node = self.node.to_string();
        status.version = env!("CARGO_PKG_VERSION").to_owned();
        status.synced = self.is_synced;
        status.revision = self.in_force;
        status.heard = self.state.revision();
        status.revisions = self.revisions.clone();
        status.writes = self.counters.total();
        status.pods = self.pods.as_ref().map(PodConfig::status);
        status.problems = self.feature_problems();
        status.faults = self.faults.list(NodeStatus::MOST_FAULTS);
        status.fault_count = self.faults.count();
        self.show(&report.status);
        *self.readiness.lock() = self.agent_status();
        self.outbox.report(report);
    }

    fn feature_problems(&self) -> Vec<FeatureProblem> {
        let features = self.features.iter().filter_map(|feature| {
            Some(FeatureProblem {
                feature: feature.name().to_owned(),
                message: feature.problem()?.to_owned(),
            })
        });
        let pods = self.pods.iter().filter_map(|pods| {
            Some(FeatureProblem {
                feature: "pods".to_owned(),
                message: pods.problem()?,
            })
        });
        let watches = self.lost.iter().map(|(kind, cause)| FeatureProblem {
            feature: "watch".to_owned(),
            message: format!("{kind:?}: {cause}"),
        });
        let configuration = self.misconfigured.iter().map(|message| FeatureProblem {
            feature: "configuration".to_owned(),
            message: message.clone(),
        });
        features
            .chain(pods)
            .chain(watches)
            .chain(configuration)
            .collect()
    }

    fn agent_status(&self) -> AgentStatus {
        let message = if !self.is_synced {
            match self.lost.iter().next() {
                Some((kind, cause)) => {
                    format!("the API server's {kind:?}s are not listed: {cause}")
                }
                None => "the API server's objects are not listed yet".to_owned(),
            }
        } else if let Some(problems) = self.unguarded() {
            problems
        } else {
            return AgentStatus {
                ready: true,
                message: format!("revision {} is in force", self.in_force),
                revisions: self.revisions.clone(),
            };
        };
        AgentStatus {
            ready: false,
            message,
            revisions: self.revisions.clone(),
        }
    }
}

fn kind_revision(kind: ObjectKind, known: &BTreeMap<String, u64>) -> (&'static str, u64) {
    let label = match kind {
        ObjectKind::Namespace => "Namespace",
        ObjectKind::Node => "Node",
        ObjectKind::Pod => "Pod",
        ObjectKind::Service => "Service",
        ObjectKind::EndpointSlice => "EndpointSlice",
        ObjectKind::NetworkPolicy => "NetworkPolicy",
        ObjectKind::ClusterNetworkPolicy => "ClusterNetworkPolicy",
    };
    (label, known.get(label).copied().unwrap_or(0))
}

fn respond(answer: &Answer, outcome: Result<(), String>) {
    // The plugin may have given up; it is asked again by the kubelet.
    let _ = answer.try_send(outcome);
}

#[cfg(test)]
mod tests;
