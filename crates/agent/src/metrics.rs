//! What the agent counts, for Prometheus.
//!
//! Names and labels that begin with `kubeproxy_` are kube-proxy's, so that
//! dashboards and alerts made for it go on working; what is ours alone begins
//! with `podway_`. docs/metrics.md lists them.

mod process;
mod text;

use std::time::{Duration, SystemTime};

use podway_model::IpFamily;

use text::{Counter, Family, Gauge, Histogram, Value};

/// `ip_family`.
pub(crate) const fn family_label(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "IPv4",
        IpFamily::V6 => "IPv6",
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// When the process began to count.
    started: SystemTime,
    sync_duration: Family<Histogram>,
    full_duration: Family<Histogram>,
    partial_duration: Family<Histogram>,
    last_sync: Family<Gauge>,
    pub(crate) last_queued: Family<Gauge>,
    pub(crate) endpoint_changes_pending: Family<Gauge>,
    pub(crate) endpoint_changes: Family<Counter>,
    pub(crate) service_changes_pending: Family<Gauge>,
    pub(crate) service_changes: Family<Counter>,
    programming: Family<Histogram>,
    pub(crate) without_local: Family<Gauge>,
    pub(crate) healthz: Family<Counter>,
    pub(crate) livez: Family<Counter>,
    restore_failures: Family<Counter>,
    partial_restore_failures: Family<Counter>,
    nftables_failures: Family<Counter>,
    pub(crate) conntrack_duration: Family<Histogram>,
    pub(crate) conntrack_deleted: Family<Counter>,
    pub(crate) build: Family<Gauge>,
    pub(crate) mode: Family<Gauge>,
    pub(crate) transactions: Family<Counter>,
    pub(crate) objects: Family<Counter>,
    pub(crate) services: Family<Gauge>,
    pub(crate) frontends: Family<Gauge>,
    pub(crate) endpoints: Family<Gauge>,
    pub(crate) faults: Family<Gauge>,
    pub(crate) conflicts: Family<Gauge>,
    pub(crate) revision: Family<Gauge>,
    pub(crate) heard: Family<Gauge>,
    pub(crate) problems: Family<Gauge>,
    pub(crate) reloads: Family<Counter>,
}

/// The label of what belongs to one family.
const FAMILY: &[&str] = &["ip_family"];
/// No label.
const PLAIN: &[&str] = &[];

/// One sync of the service rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Synced {
    /// The proxy mode.
    pub(crate) mode: &'static str,
    /// Everything was compared.
    pub(crate) is_full: bool,
    /// How long it took.
    pub(crate) took: Duration,
    /// Whether it succeeded.
    pub(crate) is_ok: bool,
}

impl Default for Metrics {
    #[allow(clippy::too_many_lines, reason = "a list: one entry for each metric")]
    fn default() -> Self {
        Self {
            started: SystemTime::now(),
            sync_duration: Family::new(
                "kubeproxy_sync_proxy_rules_duration_seconds",
                FAMILY,
                "How long syncs of the rules took.",
            ),
            full_duration: Family::new(
                "kubeproxy_sync_full_proxy_rules_duration_seconds",
                FAMILY,
                "How long syncs took that compared everything.",
            ),
            partial_duration: Family::new(
                "kubeproxy_sync_partial_proxy_rules_duration_seconds",
                FAMILY,
                "How long syncs took that wrote a change only.",
            ),
            last_sync: Family::new(
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                FAMILY,
                "When rules were last in force.",
            ),
            last_queued: Family::new(
                "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
                FAMILY,
                "When a change last came in.",
            ),
            endpoint_changes_pending: Family::new(
                "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
                PLAIN,
                "Changes of EndpointSlices that are not in force.",
            ),
            endpoint_changes: Family::new(
                "kubeproxy_sync_proxy_rules_endpoint_changes_total",
                PLAIN,
                "Changes of EndpointSlices.",
            ),
            service_changes_pending: Family::new(
                "kubeproxy_sync_proxy_rules_service_changes_pending",
                PLAIN,
                "Changes of Services that are not in force.",
            ),
            service_changes: Family::new(
                "kubeproxy_sync_proxy_rules_service_changes_total",
                PLAIN,
                "Changes of Services.",
            ),
            programming: Family::new(
                "kubeproxy_network_programming_duration_seconds",
                FAMILY,
                "From the change of a Pod or Service to its rules being in force.",
            ),
            without_local: Family::new(
                "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
                &["ip_family", "traffic_policy"],
                "Service ports with policy Local that have no endpoint on this node.",
            ),
            healthz: Family::new(
                "kubeproxy_proxy_healthz_total",
                &["code"],
                "Answers of /healthz.",
            ),
            livez: Family::new(
                "kubeproxy_proxy_livez_total",
                &["code"],
                "Answers of /livez.",
            ),
            restore_failures: Family::new(
                "kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
                FAMILY,
                "Syncs of mode iptables that failed.",
            ),
            partial_restore_failures: Family::new(
                "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total",
                FAMILY,
                "Changes of mode iptables that were not taken, so that everything was compared.",
            ),
            nftables_failures: Family::new(
                "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
                FAMILY,
                "Syncs of mode nftables that failed.",
            ),
            conntrack_duration: Family::new(
                "kubeproxy_conntrack_reconciler_sync_duration_seconds",
                FAMILY,
                "How long looking for flows to endpoints that are gone took.",
            ),
            conntrack_deleted: Family::new(
                "kubeproxy_conntrack_reconciler_deleted_entries_total",
                FAMILY,
                "Flows that were ended because their endpoint is gone.",
            ),
            build: Family::new("podway_build_info", &["version"], "The agent's version."),
            mode: Family::new("podway_proxy_mode", &["mode"], "The proxy mode in use."),
            transactions: Family::new(
                "podway_kernel_transactions_total",
                PLAIN,
                "Transactions and requests that were written to the kernel.",
            ),
            objects: Family::new(
                "podway_kernel_objects_total",
                PLAIN,
                "Kernel objects in them.",
            ),
            services: Family::new("podway_services", PLAIN, "Services with a frontend."),
            frontends: Family::new(
                "podway_frontends",
                PLAIN,
                "Frontends: address, protocol and port.",
            ),
            endpoints: Family::new("podway_endpoints", PLAIN, "Endpoints of all pools."),
            faults: Family::new(
                "podway_object_faults",
                PLAIN,
                "Fields of objects that are not understood and left out.",
            ),
            conflicts: Family::new(
                "podway_frontend_conflicts",
                PLAIN,
                "Frontends that a Service wants and an older one has.",
            ),
            revision: Family::new(
                "podway_programmed_revision",
                &["kind"],
                "The resourceVersion up to which a kind of object is in force.",
            ),
            heard: Family::new(
                "podway_heard_revision",
                PLAIN,
                "The highest resourceVersion that the agent has heard of.",
            ),
            problems: Family::new(
                "podway_feature_problems",
                PLAIN,
                "Features that are not in force.",
            ),
            reloads: Family::new(
                "podway_configuration_reloads_total",
                &["outcome"],
                "Changes of the configuration file: applied or refused.",
            ),
        }
    }
}

impl Metrics {
    /// Notes a sync of the rules of both families, which are one transaction.
    pub(crate) fn synced(&self, sync: Synced, now: SystemTime) {
        let bounds: Vec<f64> = (0..15).map(|power| 0.001 * f64::from(1 << power)).collect();
        let seconds = sync.took.as_secs_f64();
        for family in IpFamily::ALL {
            let label = [family_label(family)];
            self.sync_duration.observe(&label, seconds, &bounds);
            let of_kind = match sync.is_full {
                true => &self.full_duration,
                false => &self.partial_duration,
            };
            of_kind.observe(&label, seconds, &bounds);
            if sync.is_ok {
                self.last_sync.set(&label, timestamp(now));
            }
            let failed = u64::from(!sync.is_ok);
            match sync.mode {
                "nftables" => self.nftables_failures.add(&label, failed),
                "iptables" if sync.is_full => self.restore_failures.add(&label, failed),
                "iptables" => self.partial_restore_failures.add(&label, failed),
                _ => {}
            }
        }
    }

    /// Notes that what was triggered at a time is in force. What was triggered
    /// before this process began says nothing about it.
    pub(crate) fn programmed(&self, family: IpFamily, triggered: SystemTime, now: SystemTime) {
        if triggered < self.started {
            return;
        }
        let took = now.duration_since(triggered).unwrap_or_default();
        self.programming.observe(
            &[family_label(family)],
            took.as_secs_f64(),
            &programming_bounds(),
        );
    }

    /// All of it, as text.
    pub(crate) fn render(&self) -> String {
        let mut out = String::with_capacity(16 * 1024);
        let durations = [
            &self.sync_duration,
            &self.full_duration,
            &self.partial_duration,
        ];
        write_all(&durations, &mut out);
        write_all(&[&self.programming, &self.conntrack_duration], &mut out);
        write_all(
            &[
                &self.last_sync,
                &self.last_queued,
                &self.endpoint_changes_pending,
                &self.service_changes_pending,
                &self.without_local,
                &self.build,
                &self.mode,
                &self.services,
                &self.frontends,
                &self.endpoints,
                &self.faults,
                &self.conflicts,
                &self.revision,
                &self.heard,
                &self.problems,
            ],
            &mut out,
        );
        write_all(
            &[
                &self.endpoint_changes,
                &self.service_changes,
                &self.healthz,
                &self.livez,
                &self.restore_failures,
                &self.partial_restore_failures,
                &self.nftables_failures,
                &self.conntrack_deleted,
                &self.reloads,
                &self.transactions,
                &self.objects,
            ],
            &mut out,
        );
        process::write(self.started, &mut out);
        out
    }
}

fn write_all<T: Value>(families: &[&Family<T>], out: &mut String) {
    families.iter().for_each(|family| family.write(out));
}

/// Seconds since the epoch.
pub(crate) fn timestamp(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// Finer where most changes are: kube-proxy's, which alerts were made for.
fn programming_bounds() -> Vec<f64> {
    let seconds = (1..60)
        .chain((60..120).step_by(5))
        .chain((120..=300).step_by(30));
    [0.25, 0.5]
        .into_iter()
        .chain(seconds.map(f64::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_is_counted_for_both_families() {
        let metrics = Metrics::default();
        let sync = Synced {
            mode: "nftables",
            is_full: true,
            took: Duration::from_millis(3),
            is_ok: false,
        };
        metrics.synced(sync, SystemTime::now());
        let text = metrics.render();
        for line in [
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=\"IPv4\",le=\"0.002\"} 0",
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=\"IPv6\",le=\"0.004\"} 1",
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=\"IPv6\",le=\"16.384\"} 1",
            "kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 1",
            "kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family=\"IPv4\"} 1",
            "# TYPE process_resident_memory_bytes gauge",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nin\n{text}");
        }
        let absent = "sync_proxy_rules_last_timestamp_seconds{";
        assert!(!text.contains(absent), "a failed sync is none\n{text}");
    }

    #[test]
    fn only_what_was_triggered_since_the_start_is_timed() {
        let metrics = Metrics::default();
        let later = metrics.started + Duration::from_secs(2);
        metrics.programmed(IpFamily::V4, SystemTime::UNIX_EPOCH, later);
        metrics.programmed(IpFamily::V4, metrics.started, later);
        let text = metrics.render();
        let line = "kubeproxy_network_programming_duration_seconds_sum{ip_family=\"IPv4\"} 2";
        assert!(text.lines().any(|l| l == line), "{text}");
        assert_eq!(programming_bounds().len(), 2 + 59 + 12 + 7);
    }
}
