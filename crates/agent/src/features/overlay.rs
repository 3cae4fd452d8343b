use std::sync::Arc;

use podway_dataplane::overlay::{BackendSpec, OverlayBackend};
use podway_model::{ClusterState, Object, Update};
use podway_plan::overlay::{
    Annotations, OverlayChange, OverlaySettings, OverlayTable, diff, plan_overlay, publish,
};

use super::Counters;
use crate::feature::{Feature, Report, Scope, WriteError};
use crate::status::OverlayStatus;

/// The network between the nodes.
pub(crate) struct Overlay {
    node: Arc<str>,
    settings: OverlaySettings,
    backend: Box<dyn OverlayBackend>,
    table: OverlayTable,
    /// What differs from the last table written.
    change: OverlayChange,
    annotations: Annotations,
    mtu: Option<u32>,
    counters: Counters,
}

impl Overlay {
    /// Opens the backend in the calling thread's network namespace.
    pub(crate) fn open(
        spec: &BackendSpec,
        vni: u32,
        node: Arc<str>,
        counters: Counters,
    ) -> Result<Self, podway_dataplane::overlay::Error> {
        let settings = OverlaySettings {
            backend: spec.name,
            vni,
        };
        let backend = (spec.open)(&settings)?;
        Ok(Self {
            node,
            settings,
            backend,
            table: OverlayTable::default(),
            change: OverlayChange::default(),
            annotations: Annotations::new(),
            mtu: None,
            counters,
        })
    }

    fn replan(&mut self, state: &ClusterState) {
        let table = plan_overlay(state, &self.node, &self.settings);
        for (key, refusal) in &table.refused {
            if self.table.refused.get(key) != Some(refusal) {
                tracing::info!(node = %key.node, family = %key.family, reason = %refusal, "left out of the overlay");
            }
        }
        self.annotations = state
            .node(&self.node)
            .map_or_else(Annotations::new, |node| {
                publish(&table, node, &self.settings)
            });
        self.change = diff(&self.table, &table);
        self.table = table;
    }
}

impl Feature for Overlay {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn plan_all(&mut self, state: &ClusterState) {
        self.replan(state);
    }

    /// A change of any Node plans the whole table: it has an entry for each node,
    /// and who wins an overlap depends on all of them.
    fn plan(&mut self, state: &ClusterState, updates: &[Update]) {
        let concerns_nodes = |update: &Update| {
            let object = update.before.as_ref().or(update.after.as_ref());
            matches!(object, Some(Object::Node(_)))
        };
        if updates.iter().any(concerns_nodes) {
            self.replan(state);
        } else {
            self.change = OverlayChange::default();
        }
    }

    fn write(&mut self, scope: Scope) -> Result<(), WriteError> {
        let change = std::mem::take(&mut self.change);
        let change = match scope {
            Scope::Change if change.is_empty() => return Ok(()),
            Scope::Change => Some(&change),
            Scope::Everything => None,
        };
        let report = self.backend.sync(&self.table, change)?;
        self.mtu = report.pod_mtu;
        self.counters.requests(report.writes);
        Ok(())
    }

    fn describe(&self, report: &mut Report) {
        report.annotations.clone_from(&self.annotations);
        report.mtu = self.mtu;
        report.status.overlay = Some(OverlayStatus {
            backend: self.settings.backend.to_owned(),
            mtu: self.mtu.unwrap_or(0),
            peers: self.table.peers.len(),
        });
    }
}
