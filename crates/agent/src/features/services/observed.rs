use std::time::{Duration, SystemTime};

use podway_dataplane::service::SyncReport;
use podway_model::{IpFamily, Object, Update};
use podway_plan::service::ServicePlanner;

use crate::feature::Scope;
use crate::features::Counters;
use crate::metrics::{Synced, family_label, timestamp};

/// What is told of syncs in metrics.
pub(super) struct Observed {
    mode: &'static str,
    counters: Counters,
    /// When what is being written was triggered.
    triggered: Vec<(IpFamily, SystemTime)>,
    pending_services: u32,
    pending_slices: u32,
}

impl Observed {
    pub(super) fn new(mode: &'static str, counters: Counters) -> Self {
        Self {
            mode,
            counters,
            triggered: Vec::new(),
            pending_services: 0,
            pending_slices: 0,
        }
    }

    /// Changes that are to be written.
    pub(super) fn note(&mut self, updates: &[Update]) {
        let (mut services, mut slices) = (0, 0);
        for update in updates {
            match update.after.as_ref().or(update.before.as_ref()) {
                Some(Object::Service(_)) => services += 1,
                Some(Object::EndpointSlice(slice)) => {
                    slices += 1;
                    let triggered = slice.triggered.filter(|_| update.after.is_some());
                    self.triggered
                        .extend(triggered.map(|time| (slice.family, time)));
                }
                _ => {}
            }
        }
        self.pending_services += services;
        self.pending_slices += slices;
        let metrics = self.counters.metrics();
        metrics.service_changes.add(&[], services.into());
        metrics.endpoint_changes.add(&[], slices.into());
        if services + slices > 0 {
            let now = timestamp(SystemTime::now());
            for family in IpFamily::ALL {
                metrics.last_queued.set(&[family_label(family)], now);
            }
        }
        self.show_pending();
    }

    fn show_pending(&self) {
        let metrics = self.counters.metrics();
        metrics
            .service_changes_pending
            .set(&[], self.pending_services.into());
        metrics
            .endpoint_changes_pending
            .set(&[], self.pending_slices.into());
    }

    /// A write; without a report it failed.
    pub(super) fn wrote(
        &mut self,
        took: Duration,
        scope: Scope,
        report: Option<&SyncReport>,
        planner: &ServicePlanner,
    ) {
        let now = SystemTime::now();
        let metrics = self.counters.metrics();
        let sync = Synced {
            mode: self.mode,
            is_full: report.map_or(scope == Scope::Everything, |report| report.full),
            took,
            is_ok: report.is_some(),
        };
        metrics.synced(sync, now);
        if report.is_none() {
            return;
        }
        let totals = planner.totals();
        for family in IpFamily::ALL {
            let counts = totals
                .without_local
                .get(&family)
                .copied()
                .unwrap_or_default();
            for (policy, count) in [("internal", counts.internal), ("external", counts.external)] {
                let labels = [family_label(family), policy];
                metrics.without_local.set(&labels, count as f64);
            }
        }
        metrics.services.set(&[], totals.services as f64);
        metrics.endpoints.set(&[], totals.endpoints as f64);
        let frontends = planner.table().routes.len();
        metrics.frontends.set(&[], frontends as f64);
        metrics
            .conflicts
            .set(&[], planner.conflicts().count() as f64);
        self.wrote_nothing();
    }

    /// What was noted is in force, and nothing had to be written for it.
    pub(super) fn wrote_nothing(&mut self) {
        let now = SystemTime::now();
        for (family, triggered) in self.triggered.drain(..) {
            let metrics = self.counters.metrics();
            metrics.programmed(family, triggered, now);
        }
        self.pending_services = 0;
        self.pending_slices = 0;
        self.show_pending();
    }
}
