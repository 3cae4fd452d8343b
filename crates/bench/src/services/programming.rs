//! The kernel is told of services: all of them, and one.

use std::time::Duration;

use anyhow::ensure;
use podway_dataplane::service::{BackendSpec, ServiceBackend, ServiceSettings};
use podway_kernel::netns::NetNs;
use podway_model::{Change, ClusterState, Object};
use podway_plan::service::ServicePlanner;

use super::{cluster, node};
use crate::measure::time;

/// From objects that are known, planned and written to an empty kernel.
pub(super) fn first_sync(spec: &BackendSpec, state: &ClusterState) -> anyhow::Result<Duration> {
    let namespace = node::namespace()?;
    let mut backend = open(spec, &namespace)?;
    let mut planner = ServicePlanner::new(cluster::node());
    let (taken, written) = time(|| {
        planner.plan_all(state);
        backend.sync(planner.table(), None)
    });
    written?;
    backend.retire(Duration::ZERO);
    Ok(taken)
}

fn open(spec: &BackendSpec, namespace: &NetNs) -> anyhow::Result<Box<dyn ServiceBackend>> {
    Ok(namespace.run(|| spec.start(ServiceSettings::default()))??)
}

/// A node that serves.
pub(super) struct Served {
    state: ClusterState,
    planner: ServicePlanner,
    backend: Box<dyn ServiceBackend>,
    services: u32,
    round: u32,
    _namespace: NetNs,
}

impl Served {
    pub(super) fn new(spec: &BackendSpec, services: u32) -> anyhow::Result<Self> {
        Self::of(spec, node::namespace()?, cluster::state(services), services)
    }

    pub(super) fn of(
        spec: &BackendSpec,
        namespace: NetNs,
        state: ClusterState,
        services: u32,
    ) -> anyhow::Result<Self> {
        let mut backend = open(spec, &namespace)?;
        let mut planner = ServicePlanner::new(cluster::node());
        planner.plan_all(&state);
        backend.sync(planner.table(), None)?;
        Ok(Self {
            state,
            planner,
            backend,
            services,
            round: 0,
            _namespace: namespace,
        })
    }

    /// One endpoint of one service becomes another: planned and written.
    pub(super) fn change(&mut self) -> anyhow::Result<Duration> {
        self.round += 1;
        // A stride that is prime to the sizes visits services far from each other.
        let number = self.round.wrapping_mul(7_919) % self.services;
        let mut slice = cluster::slice(number, 2);
        slice.revision += u64::from(self.round);
        let other = cluster::slice(number, 8).endpoints;
        slice.endpoints[1] = other[2 + self.round as usize % 6].clone();
        let (taken, written) = time(|| {
            let updates = self
                .state
                .apply(Change::Upsert(Object::EndpointSlice(slice.into())));
            let change = self.planner.update(&self.state, &updates);
            self.backend.sync(self.planner.table(), Some(&change))
        });
        let written = written?.written;
        ensure!(written.transactions > 0, "a change was not written");
        Ok(taken)
    }
}
