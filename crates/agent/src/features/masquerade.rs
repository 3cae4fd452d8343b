use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;
use podway_dataplane::masquerade::{self, Error};
use podway_dataplane::service::NetlinkPorts;
use podway_kernel::nft::Nft;
use podway_model::{ClusterState, Object, Update};
use podway_plan::overlay::{MasqueradeTable, plan_masquerade};

use super::Counters;
use crate::feature::{Feature, Report, Scope, WriteError};

/// The node's address for packets that leave the cluster.
pub(crate) struct Masquerade {
    node: Arc<str>,
    unmasqueraded: Vec<IpNet>,
    backend: masquerade::Masquerade<Nft>,
    table: MasqueradeTable,
    counters: Counters,
}

impl Masquerade {
    /// Opens the backend in the calling thread's network namespace.
    pub(crate) fn open(
        unmasqueraded: &[IpNet],
        node: Arc<str>,
        counters: Counters,
    ) -> Result<Self, Error> {
        Ok(Self {
            node,
            unmasqueraded: unmasqueraded.to_vec(),
            backend: masquerade::Masquerade::open()?,
            table: MasqueradeTable::default(),
            counters,
        })
    }
}

impl Feature for Masquerade {
    fn name(&self) -> &'static str {
        "pods"
    }

    fn plan_all(&mut self, state: &ClusterState) {
        self.table = plan_masquerade(state, &self.node, &self.unmasqueraded);
    }

    fn plan(&mut self, state: &ClusterState, updates: &[Update]) {
        let concerns_nodes = |update: &Update| {
            let object = update.before.as_ref().or(update.after.as_ref());
            matches!(object, Some(Object::Node(_)))
        };
        if updates.iter().any(concerns_nodes) {
            self.plan_all(state);
        }
    }

    fn write(&mut self, scope: Scope) -> Result<(), WriteError> {
        let report = self.backend.sync(&self.table, scope == Scope::Everything)?;
        self.counters
            .transaction(report.writes > 0, report.elements);
        Ok(())
    }

    fn ports(&self) -> NetlinkPorts {
        Arc::new(Mutex::new(
            self.backend.netlink_port().into_iter().collect(),
        ))
    }

    fn remove(&mut self) -> Result<(), WriteError> {
        Ok(self.backend.cleanup()?)
    }

    fn describe(&self, _report: &mut Report) {}
}
