use std::sync::Arc;

use podway_dataplane::overlay::{BACKENDS, Error, OverlayBackend, SyncReport};
use podway_kernel::route::LinkIndex;
use podway_model::{ClusterState, Update};
use podway_plan::overlay::{
    OverlayChange, OverlayMode, OverlayPlanner, OverlaySettings, OverlayTable, Underlay,
};

use crate::feature::Scope;

/// One overlay: its planner and its backend.
pub(super) struct Side {
    pub(super) planner: OverlayPlanner,
    backend: Box<dyn OverlayBackend>,
    /// What was planned since the last write.
    pub(super) change: OverlayChange,
}

impl Side {
    pub(super) fn open(settings: &OverlaySettings, node: &Arc<str>) -> Result<Self, Error> {
        let mut specs = BACKENDS.iter();
        let spec = specs
            .find(|spec| spec.mode == settings.mode)
            .ok_or(Error::NoBackend(settings.mode))?;
        let backend = (spec.open)(settings)?;
        let settings = OverlaySettings {
            public_key: backend.public_key(),
            ..settings.clone()
        };
        Ok(Self {
            planner: OverlayPlanner::new(node.clone(), settings),
            backend,
            change: OverlayChange::default(),
        })
    }

    pub(super) const fn mode(&self) -> OverlayMode {
        self.planner.settings().mode
    }

    pub(super) fn netlink_ports(&self) -> Vec<u32> {
        self.backend.netlink_ports()
    }

    pub(super) fn carriers(&self) -> Vec<LinkIndex> {
        self.backend.carriers()
    }

    /// What it plans by, and what it has planned.
    pub(super) const fn plan_of(&self) -> (&OverlaySettings, &OverlayTable) {
        (self.planner.settings(), self.planner.table())
    }

    pub(super) fn plan_all(&mut self, state: &ClusterState) {
        let change = self.planner.plan_all(state);
        self.note(change);
    }

    pub(super) fn plan(&mut self, updates: &[Update]) {
        let change = self.planner.update(updates);
        self.note(change);
    }

    pub(super) fn follow_underlay(&mut self, underlay: Underlay) {
        let change = self.planner.follow_underlay(underlay);
        self.note(change);
    }

    fn note(&mut self, change: OverlayChange) {
        let refused = &self.planner.table().refused;
        for key in &change.refused {
            let (node, family) = (&key.node, key.family);
            match refused.get(key) {
                Some(reason) => tracing::info!(%node, %family, %reason, "left out of the overlay"),
                None => tracing::info!(%node, %family, "no longer left out of the overlay"),
            }
        }
        self.change.then(change);
    }

    pub(super) fn write(&mut self, scope: Scope) -> Result<SyncReport, Error> {
        let change = std::mem::take(&mut self.change);
        let change = match scope {
            Scope::Change => Some(&change),
            Scope::Everything => None,
        };
        self.backend.sync(self.planner.table(), change)
    }
}
