//! kube-proxy's flags.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{ArgAction, Args};
use podway_agent::kube_proxy::{GoDuration, KubeProxyConfiguration};

/// The flags of kube-proxy 1.36, and those of older ones that manifests still
/// have.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct KubeProxyArgs {
    /// KubeProxyConfiguration file; what it says, no flag says, but for --hostname-override and logging
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Write the configuration with every default to a file, and end
    #[arg(long, value_name = "FILE")]
    pub(crate) write_config_to: Option<PathBuf>,
    /// Remove what serves Services on this node, in any mode, and end
    #[arg(long, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, hide_default_value = true, hide_possible_values = true)]
    pub(crate) cleanup: bool,
    /// Set kernel parameters, which may need more privileges than the rest, and end
    #[arg(long, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, hide_default_value = true, hide_possible_values = true)]
    pub(crate) init_only: bool,
    /// kubeconfig file; otherwise the pod's service account
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<String>,
    /// The API server's URL, instead of the kubeconfig's
    #[arg(long, value_name = "URL")]
    pub(crate) master: Option<String>,
    /// The Node's name; otherwise the host's
    #[arg(long, value_name = "NAME")]
    hostname_override: Option<String>,
    /// iptables, ipvs, nftables, userspace
    #[arg(long, value_name = "MODE")]
    proxy_mode: Option<String>,
    /// The node's address, where not as its Node says; unspecified: as its Node says
    #[arg(long, value_name = "ADDRESS")]
    bind_address: Option<String>,
    /// Where /healthz and /livez are answered [default: 0.0.0.0:10256]; port 0: nowhere
    #[arg(long, value_name = "ADDRESS:PORT")]
    healthz_bind_address: Option<String>,
    /// Where /metrics, /proxyMode and /configz are answered [default: 127.0.0.1:10249]
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_bind_address: Option<String>,
    /// End where one of these cannot be bound
    #[arg(long, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, value_name = "BOOL")]
    bind_address_hard_fail: Option<bool>,
    /// Pods' prefixes of the whole cluster, one of each family: others are masqueraded to cluster IPs
    #[arg(long, value_name = "PREFIX,..")]
    cluster_cidr: Option<String>,
    /// How pods of this node are known: ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix
    #[arg(long, value_name = "MODE")]
    detect_local_mode: Option<String>,
    /// The bridge of mode BridgeInterface
    #[arg(long, value_name = "NAME")]
    pod_bridge_interface: Option<String>,
    /// The beginning of names of mode InterfaceNamePrefix
    #[arg(long, value_name = "PREFIX")]
    pod_interface_name_prefix: Option<String>,
    /// Addresses that serve node ports: prefixes, or primary
    #[arg(long, value_name = "PREFIX,..", value_delimiter = ',')]
    nodeport_addresses: Option<Vec<String>>,
    /// Masquerade every connection to a cluster IP
    #[arg(long, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, value_name = "BOOL")]
    masquerade_all: Option<bool>,
    /// Bit of the mark of what is masqueraded
    #[arg(long, value_name = "BIT")]
    iptables_masquerade_bit: Option<i32>,
    /// Whether loopback addresses serve node ports in mode iptables [default: true]
    #[arg(long, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, value_name = "BOOL")]
    iptables_localhost_nodeports: Option<bool>,
    /// Half the time after which a change that is not in force is late
    #[arg(long, value_name = "DURATION")]
    iptables_sync_period: Option<GoDuration>,
    /// Taken, and without effect: changes are written at once
    #[arg(long, value_name = "DURATION")]
    iptables_min_sync_period: Option<GoDuration>,
    /// As --iptables-sync-period, in mode ipvs
    #[arg(long, value_name = "DURATION")]
    ipvs_sync_period: Option<GoDuration>,
    /// As --iptables-min-sync-period, in mode ipvs
    #[arg(long, value_name = "DURATION")]
    ipvs_min_sync_period: Option<GoDuration>,
    /// The scheduler of mode ipvs
    #[arg(long, value_name = "NAME")]
    ipvs_scheduler: Option<String>,
    /// Addresses whose virtual servers are somebody else's
    #[arg(long, value_name = "PREFIX,..", value_delimiter = ',')]
    ipvs_exclude_cidrs: Option<Vec<String>>,
    /// Answer ARP only for addresses of the interface that was asked
    #[arg(long, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, value_name = "BOOL")]
    ipvs_strict_arp: Option<bool>,
    /// IPVS' timeout of idle TCP connections; 0: the kernel's
    #[arg(long, value_name = "DURATION")]
    ipvs_tcp_timeout: Option<GoDuration>,
    /// IPVS' timeout after a FIN; 0: the kernel's
    #[arg(long, value_name = "DURATION")]
    ipvs_tcpfin_timeout: Option<GoDuration>,
    /// IPVS' timeout of UDP; 0: the kernel's
    #[arg(long, value_name = "DURATION")]
    ipvs_udp_timeout: Option<GoDuration>,
    /// Room for flows, for each processor; 0: as it is
    #[arg(long, value_name = "NUMBER")]
    conntrack_max_per_core: Option<i32>,
    /// Room for flows at least
    #[arg(long, value_name = "NUMBER")]
    conntrack_min: Option<i32>,
    /// How long idle TCP connections are remembered; 0: as it is
    #[arg(long, value_name = "DURATION")]
    conntrack_tcp_timeout_established: Option<GoDuration>,
    /// The same in CLOSE_WAIT
    #[arg(long, value_name = "DURATION")]
    conntrack_tcp_timeout_close_wait: Option<GoDuration>,
    /// Let segments outside of their window pass
    #[arg(long, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, value_name = "BOOL")]
    conntrack_tcp_be_liberal: Option<bool>,
    /// How long UDP flows are remembered that were never answered; 0: as it is
    #[arg(long, value_name = "DURATION")]
    conntrack_udp_timeout: Option<GoDuration>,
    /// And those that were
    #[arg(long, value_name = "DURATION")]
    conntrack_udp_timeout_stream: Option<GoDuration>,
    /// The kernel's order of killing, -1000 to 1000 [default: -999]
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    oom_score_adj: Option<i32>,
    /// Port of /healthz; 0: nowhere (deprecated: --healthz-bind-address)
    #[arg(long, value_name = "PORT")]
    healthz_port: Option<u16>,
    /// Port of /metrics; 0: nowhere (deprecated: --metrics-bind-address)
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,
    /// How much to log: from 4, everything that is done
    #[arg(short, long, value_name = "LEVEL")]
    v: Option<u8>,
    #[command(flatten)]
    unused: Unused,
}

/// What kube-proxy has and has no meaning here.
#[derive(Debug, Clone, Default, Args)]
struct Unused {
    #[arg(long, hide = true)]
    feature_gates: Option<String>,
    #[arg(long, hide = true)]
    kube_api_content_type: Option<String>,
    #[arg(long, hide = true)]
    kube_api_burst: Option<i32>,
    #[arg(long, hide = true)]
    kube_api_qps: Option<f32>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    profiling: Option<String>,
    #[arg(long, hide = true)]
    show_hidden_metrics_for_version: Option<String>,
    #[arg(long, hide = true)]
    config_sync_period: Option<GoDuration>,
    #[arg(long, hide = true)]
    proxy_port_range: Option<String>,
    #[arg(long, hide = true)]
    vmodule: Option<String>,
    #[arg(long, hide = true)]
    logging_format: Option<String>,
    #[arg(long, hide = true)]
    log_flush_frequency: Option<String>,
    #[arg(long, hide = true)]
    log_json_info_buffer_size: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    log_json_split_stream: Option<String>,
    #[arg(long, hide = true)]
    log_text_info_buffer_size: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    log_text_split_stream: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    logtostderr: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    alsologtostderr: Option<String>,
}

/// As Go's `strconv.ParseBool`.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(format!("{other:?} is neither true nor false")),
    }
}

/// The flag by which a field is set, for what is wrong with it.
pub(super) fn of_field(field: &str) -> &str {
    const FLAGS: &[(&str, &str)] = &[
        ("mode", "--proxy-mode"),
        ("bindAddress", "--bind-address"),
        ("healthzBindAddress", "--healthz-bind-address"),
        ("metricsBindAddress", "--metrics-bind-address"),
        ("clusterCIDR", "--cluster-cidr"),
        ("detectLocalMode", "--detect-local-mode"),
        ("detectLocal.bridgeInterface", "--pod-bridge-interface"),
        (
            "detectLocal.interfaceNamePrefix",
            "--pod-interface-name-prefix",
        ),
        ("nodePortAddresses", "--nodeport-addresses"),
        ("iptables.masqueradeBit", "--iptables-masquerade-bit"),
        ("iptables.syncPeriod", "--iptables-sync-period"),
        ("iptables.minSyncPeriod", "--iptables-min-sync-period"),
        ("ipvs.syncPeriod", "--ipvs-sync-period"),
        ("ipvs.minSyncPeriod", "--ipvs-min-sync-period"),
        ("ipvs.excludeCIDRs", "--ipvs-exclude-cidrs"),
        ("oomScoreAdj", "--oom-score-adj"),
        ("conntrack.maxPerCore", "--conntrack-max-per-core"),
        ("conntrack.min", "--conntrack-min"),
    ];
    let found = FLAGS.iter().find(|(name, _)| *name == field);
    found.map_or(field, |(_, flag)| flag)
}

/// Takes a flag's value over, where it was given.
fn put<T: Clone>(field: &mut T, flag: Option<&T>) {
    if let Some(value) = flag {
        *field = value.clone();
    }
}

impl KubeProxyArgs {
    /// `-v`; kube-proxy's default is 0.
    pub(super) fn verbosity(&self) -> u8 {
        self.v.unwrap_or(0)
    }

    /// The configuration that the flags mean.
    pub(super) fn configuration(&self) -> KubeProxyConfiguration {
        let mut config = KubeProxyConfiguration::default();
        put(
            &mut config.client_connection.kubeconfig,
            self.kubeconfig.as_ref(),
        );
        put(&mut config.mode, self.proxy_mode.as_ref());
        put(&mut config.bind_address, self.bind_address.as_ref());
        put(
            &mut config.bind_address_hard_fail,
            self.bind_address_hard_fail.as_ref(),
        );
        config.healthz_bind_address = address(
            self.healthz_bind_address.as_ref(),
            self.healthz_port,
            "0.0.0.0",
        );
        config.metrics_bind_address = address(
            self.metrics_bind_address.as_ref(),
            self.metrics_port,
            "127.0.0.1",
        );
        put(&mut config.cluster_cidr, self.cluster_cidr.as_ref());
        put(
            &mut config.detect_local_mode,
            self.detect_local_mode.as_ref(),
        );
        let detect = &mut config.detect_local;
        put(
            &mut detect.bridge_interface,
            self.pod_bridge_interface.as_ref(),
        );
        put(
            &mut detect.interface_name_prefix,
            self.pod_interface_name_prefix.as_ref(),
        );
        put(
            &mut config.node_port_addresses,
            self.nodeport_addresses.as_ref(),
        );
        config.oom_score_adj = self.oom_score_adj;
        self.put_modes(&mut config);
        self.put_conntrack(&mut config);
        self.override_name(&mut config);
        config
    }

    fn put_modes(&self, config: &mut KubeProxyConfiguration) {
        let (iptables, nftables) = (&mut config.iptables, &mut config.nftables);
        iptables.masquerade_bit = self.iptables_masquerade_bit;
        nftables.masquerade_bit = self.iptables_masquerade_bit;
        iptables.localhost_node_ports = self.iptables_localhost_nodeports;
        put(&mut iptables.masquerade_all, self.masquerade_all.as_ref());
        put(&mut nftables.masquerade_all, self.masquerade_all.as_ref());
        for period in [&mut iptables.sync_period, &mut nftables.sync_period] {
            put(period, self.iptables_sync_period.as_ref());
        }
        for period in [&mut iptables.min_sync_period, &mut nftables.min_sync_period] {
            put(period, self.iptables_min_sync_period.as_ref());
        }
        let ipvs = &mut config.ipvs;
        put(&mut ipvs.sync_period, self.ipvs_sync_period.as_ref());
        put(
            &mut ipvs.min_sync_period,
            self.ipvs_min_sync_period.as_ref(),
        );
        put(&mut ipvs.scheduler, self.ipvs_scheduler.as_ref());
        put(&mut ipvs.exclude_cidrs, self.ipvs_exclude_cidrs.as_ref());
        put(&mut ipvs.strict_arp, self.ipvs_strict_arp.as_ref());
        put(&mut ipvs.tcp_timeout, self.ipvs_tcp_timeout.as_ref());
        put(&mut ipvs.tcp_fin_timeout, self.ipvs_tcpfin_timeout.as_ref());
        put(&mut ipvs.udp_timeout, self.ipvs_udp_timeout.as_ref());
    }

    fn put_conntrack(&self, config: &mut KubeProxyConfiguration) {
        let conntrack = &mut config.conntrack;
        conntrack.max_per_core = self.conntrack_max_per_core;
        conntrack.min = self.conntrack_min;
        conntrack.tcp_established_timeout = self.conntrack_tcp_timeout_established;
        conntrack.tcp_close_wait_timeout = self.conntrack_tcp_timeout_close_wait;
        put(
            &mut conntrack.tcp_be_liberal,
            self.conntrack_tcp_be_liberal.as_ref(),
        );
        put(
            &mut conntrack.udp_timeout,
            self.conntrack_udp_timeout.as_ref(),
        );
        put(
            &mut conntrack.udp_stream_timeout,
            self.conntrack_udp_timeout_stream.as_ref(),
        );
    }

    /// The one flag of the configuration that a file leaves in force.
    pub(super) fn override_name(&self, config: &mut KubeProxyConfiguration) {
        put(
            &mut config.hostname_override,
            self.hostname_override.as_ref(),
        );
    }

    /// The flags that were given beside a file, which has the word.
    pub(super) fn ignored_with_a_file(&self) -> Vec<&'static str> {
        let flags = KubeProxyArgs {
            hostname_override: None,
            ..self.clone()
        };
        let config = flags.configuration();
        match config == KubeProxyConfiguration::default() {
            true => Vec::new(),
            false => vec!["all but --hostname-override and logging"],
        }
    }

    /// Flags that were given, and why they change nothing.
    #[allow(clippy::too_many_lines, reason = "a list: one entry for each flag")]
    pub(super) fn without_effect(&self) -> Vec<(&'static str, &'static str)> {
        const OTHER_CLIENT: &str = "the client of the API server is another one";
        const LOGS: &str = "logs go to standard error; PODWAY_LOG says what is logged";
        let unused = &self.unused;
        let given: BTreeMap<&'static str, (bool, &'static str)> = [
            (
                "--feature-gates",
                (unused.feature_gates.is_some(), "there are no gates here"),
            ),
            (
                "--kube-api-content-type",
                (unused.kube_api_content_type.is_some(), OTHER_CLIENT),
            ),
            (
                "--kube-api-burst",
                (unused.kube_api_burst.is_some(), OTHER_CLIENT),
            ),
            (
                "--kube-api-qps",
                (unused.kube_api_qps.is_some(), OTHER_CLIENT),
            ),
            (
                "--profiling",
                (
                    unused.profiling.is_some(),
                    "there is no Go runtime to profile",
                ),
            ),
            (
                "--show-hidden-metrics-for-version",
                (
                    unused.show_hidden_metrics_for_version.is_some(),
                    "no metric is hidden",
                ),
            ),
            (
                "--config-sync-period",
                (
                    unused.config_sync_period.is_some(),
                    "watches do not need resyncs",
                ),
            ),
            (
                "--proxy-port-range",
                (
                    unused.proxy_port_range.is_some(),
                    "kube-proxy ignores it too",
                ),
            ),
            ("--vmodule", (unused.vmodule.is_some(), LOGS)),
            ("--logging-format", (unused.logging_format.is_some(), LOGS)),
            (
                "--log-flush-frequency",
                (unused.log_flush_frequency.is_some(), LOGS),
            ),
            (
                "--log-json-info-buffer-size",
                (unused.log_json_info_buffer_size.is_some(), LOGS),
            ),
            (
                "--log-json-split-stream",
                (unused.log_json_split_stream.is_some(), LOGS),
            ),
            (
                "--log-text-info-buffer-size",
                (unused.log_text_info_buffer_size.is_some(), LOGS),
            ),
            (
                "--log-text-split-stream",
                (unused.log_text_split_stream.is_some(), LOGS),
            ),
            ("--logtostderr", (unused.logtostderr.is_some(), LOGS)),
            (
                "--alsologtostderr",
                (unused.alsologtostderr.is_some(), LOGS),
            ),
        ]
        .into();
        let mut without: Vec<_> = given
            .into_iter()
            .filter(|(_, (is_given, _))| *is_given)
            .map(|(flag, (_, why))| (flag, why))
            .collect();
        if self.iptables_masquerade_bit.is_some_and(|bit| bit != 14) {
            without.push(("--iptables-masquerade-bit", "the mark is bit 14, 0x4000"));
        }
        without
    }
}

/// A deprecated port decides only where it is given: 0 is nowhere.
fn address(given: Option<&String>, port: Option<u16>, host: &str) -> String {
    match (given, port) {
        (Some(address), _) if address.is_empty() => "off".to_owned(),
        (_, Some(0)) => "off".to_owned(),
        (None, Some(port)) => format!("{host}:{port}"),
        (Some(address), _) => address.clone(),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: KubeProxyArgs,
    }

    fn parsed(line: &str) -> KubeProxyArgs {
        let words = ["kube-proxy"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).unwrap().args
    }

    #[test]
    fn flags_mean_what_the_file_means() {
        let line = "--proxy-mode=nftables --cluster-cidr 10.244.0.0/16 --masquerade-all \
                    --nodeport-addresses=10.0.0.0/8,fd00::/8 --iptables-sync-period=1m \
                    --conntrack-min=7 --oom-score-adj=-10 --healthz-port=0 --v=4 \
                    --metrics-bind-address=0.0.0.0 --ipvs-strict-arp=false --hostname-override=N1";
        let args = parsed(line);
        let flags = args.configuration();
        assert_eq!(flags.mistakes(), []);
        let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
             mode: nftables\nclusterCIDR: 10.244.0.0/16\n\
             iptables: {masqueradeAll: true, syncPeriod: 1m}\n\
             nftables: {masqueradeAll: true, syncPeriod: 1m}\n\
             nodePortAddresses: [10.0.0.0/8, fd00::/8]\nconntrack: {min: 7}\noomScoreAdj: -10\n\
             healthzBindAddress: \"off\"\nmetricsBindAddress: 0.0.0.0\nhostnameOverride: N1\n";
        let file = KubeProxyConfiguration::parse("f", text).unwrap();
        assert_eq!(flags, file);
        let means = flags.loaded().config;
        assert_eq!(means.node_name.as_deref(), Some("n1"));
        assert_eq!(args.verbosity(), 4);
    }

    #[test]
    fn booleans_are_gos() {
        for (line, expected) in [
            ("--masquerade-all", Some(true)),
            ("--masquerade-all=T", Some(true)),
            ("--masquerade-all=0", Some(false)),
            ("", None),
        ] {
            assert_eq!(parsed(line).masquerade_all, expected, "{line}");
        }
        let words = ["kube-proxy", "--masquerade-all=ja"];
        assert!(Line::try_parse_from(words).is_err());
    }

    #[test]
    fn what_is_without_effect_is_said() {
        let args = parsed("--feature-gates=A=true --profiling --iptables-masquerade-bit=13");
        let named: Vec<&str> = args.without_effect().iter().map(|(f, _)| *f).collect();
        assert_eq!(
            named,
            [
                "--feature-gates",
                "--profiling",
                "--iptables-masquerade-bit"
            ]
        );
        assert_eq!(parsed("").without_effect(), []);
    }

    #[test]
    fn a_file_has_the_word_over_flags() {
        assert!(
            !parsed("--config=f --masquerade-all")
                .ignored_with_a_file()
                .is_empty()
        );
        assert!(
            parsed("--config=f --hostname-override=a -v=2")
                .ignored_with_a_file()
                .is_empty()
        );
    }
}
