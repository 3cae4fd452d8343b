use std::collections::BTreeMap;
use std::sync::Arc;

use podway_model::IpFamily;

use crate::service::{Pool, ServiceChange, ServicePlan, WithoutLocal};

/// How much a table holds, counted as it changes: nobody has to go through all
/// of it to say so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Services that want a frontend.
    pub services: usize,
    /// Endpoints of all pools.
    pub endpoints: usize,
    /// Service ports that a local policy leaves without endpoints on this node.
    pub without_local: BTreeMap<IpFamily, WithoutLocal>,
}

impl Totals {
    pub(super) fn take_in(&mut self, plan: &ServicePlan) {
        self.services += usize::from(!plan.routes.is_empty());
        for (family, ports) in &plan.without_local {
            let counts = self.without_local.entry(*family).or_default();
            counts.internal += ports.internal;
            counts.external += ports.external;
        }
    }

    pub(super) fn take_out(&mut self, plan: &ServicePlan) {
        self.services -= usize::from(!plan.routes.is_empty());
        for (family, ports) in &plan.without_local {
            let counts = self.without_local.entry(*family).or_default();
            counts.internal -= ports.internal;
            counts.external -= ports.external;
        }
    }

    pub(super) fn note(&mut self, change: &ServiceChange) {
        let count = |pool: &Option<Arc<Pool>>| pool.as_ref().map_or(0, |pool| pool.endpoints.len());
        for delta in change.pools.values() {
            self.endpoints += count(&delta.after);
            self.endpoints -= count(&delta.before);
        }
    }
}
