//! A feature as the sync loop drives it, and how its failures are kept from
//! everything else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use podway_cni::agent_protocol::Attachment;
use podway_dataplane::service::NetlinkPorts;
use podway_model::{ClusterState, Update};
use podway_watch::objects::Fault;

use crate::config::Configuration;
use crate::health_checks::Wanted;
use crate::status::NodeStatus;

/// How much of the kernel a write looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What was planned since the last write. Nothing is read from the kernel.
    Change,
    /// Everything: what the kernel holds is compared with the plan.
    Everything,
}

/// Why a write failed. The kernel holds what it held before, or a part of the
/// plan; the next write has [`Scope::Everything`].
pub(crate) type WriteError = Box<dyn std::error::Error + Send + Sync>;

/// Something that a node does: plans from the state, writes to the kernel.
pub(crate) trait Feature: Send {
    /// The name in the status.
    fn name(&self) -> &'static str;

    /// Whether a pod must not start before the feature has it in its plan.
    fn guards_pods(&self) -> bool {
        false
    }

    /// Plans from the whole state, forgetting what was planned before.
    fn plan_all(&mut self, state: &ClusterState);

    /// Plans what the updates change; `state` is the state after them.
    fn plan(&mut self, state: &ClusterState, updates: &[Update]);

    /// Plans for a pod that was attached.
    fn attach(&mut self, _state: &ClusterState, _attachment: &Attachment) {}

    /// Plans for a pod that was detached.
    fn detach(&mut self, _state: &ClusterState, _attachment: &Attachment) {}

    /// Makes the kernel agree with the plan.
    fn write(&mut self, scope: Scope) -> Result<(), WriteError>;

    /// Does what a write left to be done in its own time, and says when to call
    /// again; called after each write, and then when it says.
    fn follow_up(
        &mut self,
        _state: &ClusterState,
        _now: Instant,
    ) -> Result<Option<Instant>, WriteError> {
        Ok(None)
    }

    /// Says what it has in force.
    fn describe(&self, report: &mut Report);

    /// The netlink ports by which notifications name its own changes, as they are
    /// at each moment.
    fn ports(&self) -> NetlinkPorts {
        NetlinkPorts::default()
    }

    /// Becomes what another configuration says, where it can without another
    /// one in its place; whether it could. The next write is a whole one.
    fn reconfigure(&mut self, _config: &Configuration, _state: &ClusterState) -> bool {
        false
    }

    /// Removes everything of it from the kernel.
    fn remove(&mut self) -> Result<(), WriteError> {
        Ok(())
    }
}

/// What features say about themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// For the node's ConfigMap.
    pub(crate) status: NodeStatus,
    /// Annotations of the Node object that differ from what the other nodes are
    /// to read there; `None` takes one away.
    pub(crate) annotations: BTreeMap<&'static str, Option<String>>,
    /// The MTU of pods, where a feature knows it.
    pub(crate) mtu: Option<u32>,
    /// The overlay is in force, and the Node does not say that its network is
    /// there.
    pub(crate) network_is_unannounced: bool,
    /// What of an object is left out because of another object; at most
    /// [`NodeStatus::MOST_FAULTS`].
    pub(crate) faults: Vec<Fault>,
    /// The health check node ports.
    pub(crate) health_checks: Wanted,
}

/// A feature with its history of failures.
pub(crate) struct Tracked {
    feature: Box<dyn Feature>,
    /// Something was planned since the last write.
    is_planned: bool,
    /// The kernel may not hold what the feature believes.
    is_unsure: bool,
    /// Writes that failed, one after the other.
    failures: u32,
    retry_at: Option<Instant>,
    follow_up_at: Option<Instant>,
    problem: Option<String>,
}

/// The first pause after a failure; doubled with each, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl Tracked {
    /// A feature that has not written yet: its first write is a whole one.
    pub(crate) fn new(feature: Box<dyn Feature>) -> Self {
        Self {
            feature,
            is_planned: false,
            is_unsure: true,
            failures: 0,
            retry_at: None,
            follow_up_at: None,
            problem: None,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.feature.name()
    }

    pub(crate) fn guards_pods(&self) -> bool {
        self.feature.guards_pods()
    }

    /// What is wrong with the last write.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// When there is something to do though nothing has happened.
    pub(crate) fn due(&self) -> Option<Instant> {
        // Nothing is followed up before a failed write is mended.
        self.retry_at.or(self.follow_up_at)
    }

    pub(crate) fn describe(&self, report: &mut Report) {
        self.feature.describe(report);
    }

    /// Somebody else may have changed what the kernel holds, or what kept it from
    /// taking the last write: no reason to pause any longer.
    pub(crate) fn doubt(&mut self) {
        self.is_unsure = true;
        self.retry_at = None;
    }

    /// Becomes what a configuration says; false where only another can.
    pub(crate) fn reconfigure(&mut self, config: &Configuration, state: &ClusterState) -> bool {
        let could = self.feature.reconfigure(config, state);
        if could {
            self.doubt();
        }
        could
    }

    /// Another feature goes on with its work: it has the same objects in the
    /// kernel, and compares them.
    pub(crate) fn succeed(&mut self, feature: Box<dyn Feature>) {
        self.feature = feature;
        self.follow_up_at = None;
        self.doubt();
    }

    /// Removes everything of it from the kernel.
    pub(crate) fn remove(&mut self) -> Result<(), WriteError> {
        self.feature.remove()
    }

    /// Plans, without writing.
    pub(crate) fn plan(&mut self, plan: impl FnOnce(&mut dyn Feature)) {
        self.is_planned = true;
        plan(&mut *self.feature);
    }

    /// Writes what was planned, unless the feature pauses after a failure.
    pub(crate) fn write(&mut self, state: &ClusterState, now: Instant) {
        let has_reason = self.is_planned || self.is_unsure;
        if has_reason && self.retry_at.is_none_or(|at| at <= now) {
            self.write_now(state, now);
        } else if !self.is_unsure
            && self.follow_up_at.is_some_and(|at| at <= now)
            && let Err(error) = self.follow_up(state, now)
        {
            self.note(Err(error), now);
        }
    }

    fn follow_up(&mut self, state: &ClusterState, now: Instant) -> Result<(), WriteError> {
        self.follow_up_at = None;
        self.follow_up_at = self.feature.follow_up(state, now)?;
        Ok(())
    }

    /// Writes what was planned, pause or not. A failed write of a change is
    /// followed by one of everything: the kernel may only have held something
    /// else than expected.
    pub(crate) fn write_now(&mut self, state: &ClusterState, now: Instant) {
        self.is_planned = false;
        let mut outcome = Ok(());
        if !self.is_unsure {
            outcome = self.feature.write(Scope::Change);
            if let Err(error) = &outcome {
                let (feature, error) = (self.name(), chain(&**error));
                tracing::warn!(feature, error, "change not written, comparing everything");
                self.is_unsure = true;
            }
        }
        if self.is_unsure {
            outcome = self.feature.write(Scope::Everything);
        }
        let outcome = outcome.and_then(|()| self.follow_up(state, now));
        self.note(outcome, now);
    }

    fn note(&mut self, outcome: Result<(), WriteError>, now: Instant) {
        let feature = self.name();
        match outcome {
            Ok(()) => {
                if self.problem.take().is_some() {
                    tracing::info!(feature, "in force again");
                }
                self.is_unsure = false;
                self.failures = 0;
                self.retry_at = None;
            }
            Err(error) => {
                let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16));
                let pause = doubled.min(LONGEST_PAUSE);
                self.failures = self.failures.saturating_add(1);
                self.is_unsure = true;
                self.retry_at = Some(now + pause);
                let error = chain(&*error);
                tracing::error!(feature, error, ?pause, "not written, trying again");
                self.problem = Some(error);
            }
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
