use super::*;
use crate::config::{Listen, LocalPods, NodePortAddress};

/// As kubeadm writes it: most fields null or empty.
const KUBEADM: &str = "\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: \"\"
  burst: 0
  contentType: \"\"
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: \"\"
  interfaceNamePrefix: \"\"
detectLocalMode: \"\"
enableProfiling: false
healthzBindAddress: \"\"
hostnameOverride: \"\"
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: \"\"
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: \"0\"
    text:
      infoBufferSize: \"0\"
  verbosity: 0
metricsBindAddress: \"\"
mode: \"\"
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: \"\"
showHiddenMetricsForVersion: \"\"
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: \"\"
  rootHnsEndpointName: \"\"
  sourceVip: \"\"
";

#[test]
fn a_file_of_kubeadm_means_kube_proxys_defaults() {
    let config = KubeProxyConfiguration::parse("config.conf", KUBEADM).unwrap();
    let means = config.loaded().config;
    assert!(!means.pods.enabled && !means.overlay.enabled && !means.policies.enabled);
    assert!(!means.load_balancer.enabled);
    assert_eq!(
        means.kubeconfig.as_deref(),
        Some("/var/lib/kube-proxy/kubeconfig.conf".as_ref())
    );
    assert_eq!(means.node_name, None);
    let services = &means.services;
    assert_eq!(services.mode, "iptables");
    assert_eq!(
        services.local_pods,
        LocalPods::Prefixes(vec!["10.244.0.0/16".parse().unwrap()])
    );
    assert!(services.localhost_node_ports);
    assert_eq!(services.node_port_addresses, []);
    assert_eq!(services.conntrack.tcp_established_seconds, 86_400);
    assert_eq!(services.conntrack.tcp_close_wait_seconds, 3_600);
    assert_eq!(
        (services.conntrack.max_per_core, services.conntrack.min),
        (32_768, 131_072)
    );
    let told = &means.observability;
    assert_eq!(
        told.health_address,
        Some(Listen::At("0.0.0.0:10256".parse().unwrap()))
    );
    assert_eq!(
        told.metrics_address,
        Some(Listen::At("127.0.0.1:10249".parse().unwrap()))
    );
    assert_eq!(told.late_after_seconds, 60);
}

#[test]
fn what_is_written_is_what_is_read() {
    let config = KubeProxyConfiguration::parse("config.conf", KUBEADM).unwrap();
    let text = config.to_yaml().unwrap();
    let again = KubeProxyConfiguration::parse("written", &text).unwrap();
    assert_eq!(again, config.complete(), "{text}");
    assert_eq!(again.loaded().config, config.loaded().config);
}

/// The configuration of these lines.
fn of(lines: &str) -> Result<KubeProxyConfiguration, String> {
    let text = format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{lines}");
    KubeProxyConfiguration::parse("c", &text).map_err(|wrong| wrong.to_string())
}

#[test]
fn modes_take_their_own_sections() {
    let means = |lines: &str| of(lines).unwrap().loaded().config.services;
    let nftables = means("mode: nftables\niptables: {masqueradeAll: true}\n");
    assert!(!nftables.masquerade_all && !nftables.localhost_node_ports);
    assert_eq!(nftables.node_port_addresses, [NodePortAddress::Primary]);
    assert!(means("iptables: {masqueradeAll: true}\n").masquerade_all);
    assert!(means("mode: nftables\nnftables: {masqueradeAll: true}\n").masquerade_all);
    assert!(means("nodePortAddresses: [127.0.0.0/8]\n").localhost_node_ports);
    assert!(!means("nodePortAddresses: [10.0.0.0/8]\n").localhost_node_ports);
    assert!(!means("iptables: {localhostNodePorts: false}\n").localhost_node_ports);
    assert_eq!(means("").local_pods, LocalPods::None);
    assert_eq!(
        means("detectLocalMode: NodeCIDR\n").local_pods,
        LocalPods::PodPrefixes
    );
    assert_eq!(
        means("detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}\n")
            .local_pods,
        LocalPods::Interface("cni0".to_owned())
    );
    assert_eq!(
        means("bindAddress: 10.0.0.7\n").node_addresses,
        ["10.0.0.7".parse::<std::net::IpAddr>().unwrap()]
    );
    let two = means("clusterCIDR: 10.244.0.0/16,fd00:10:244::/48\n").local_pods;
    assert!(matches!(two, LocalPods::Prefixes(p) if p.len() == 2));
}

#[test]
fn addresses_to_listen_at_have_defaults_and_an_off() {
    let told = |lines: &str| {
        of(lines)
            .unwrap()
            .loaded()
            .config
            .observability
            .health_address
    };
    let at = |text: &str| Some(Listen::At(text.parse().unwrap()));
    assert_eq!(told("healthzBindAddress: 10.0.0.1\n"), at("10.0.0.1:10256"));
    assert_eq!(told("healthzBindAddress: \"[::]:7\"\n"), at("[::]:7"));
    assert_eq!(told("bindAddress: \"::\"\n"), at("[::]:10256"));
    assert_eq!(
        told("healthzBindAddress: \"0.0.0.0:0\"\n"),
        Some(Listen::Off)
    );
}

/// Lines, and what is said of them.
const WRONG: &[(&str, &str)] = &[
    (
        "mode: nftable\n",
        "c:3:7: mode: \"nftable\" is not one of nftables, iptables",
    ),
    ("mode: kernelspace\n", "mode: \"kernelspace\" is not one of"),
    ("modee: nftables\n", "c:3:1: unknown field \"modee\""),
    (
        "iptables: {masqueradall: true}\n",
        "probably meant: masqueradeAll",
    ),
    (
        "iptables: {masqueradeBit: 32}\n",
        "iptables.masqueradeBit: 32 is out of range",
    ),
    ("iptables: {syncPeriod: 30}\n", "iptables.syncPeriod"),
    (
        "iptables: {syncPeriod: -1s}\n",
        "iptables.syncPeriod: -1s is less than nothing",
    ),
    (
        "nftables: {syncPeriod: 1s, minSyncPeriod: 2s}\n",
        "2s is longer than syncPeriod, 1s",
    ),
    (
        "bindAddress: localhost\n",
        "bindAddress: \"localhost\" is not an IP address",
    ),
    (
        "healthzBindAddress: \"10256\"\n",
        "healthzBindAddress: \"10256\" is not an address",
    ),
    (
        "clusterCIDR: 10.0.0.0\n",
        "clusterCIDR: \"10.0.0.0\" is not a prefix",
    ),
    (
        "clusterCIDR: 10.0.0.0/8,10.1.0.0/16\n",
        "clusterCIDR: expected one prefix, or one of",
    ),
    (
        "nodePortAddresses: [primary, 10.0.0.0/8]\n",
        "primary stands alone",
    ),
    (
        "nodePortAddresses: [10.0.0.1]\n",
        "nodePortAddresses: \"10.0.0.1\" is not a prefix",
    ),
    (
        "detectLocalMode: BridgeInterface\n",
        "detectLocal.bridgeInterface: \"\"",
    ),
    ("detectLocalMode: ClusterCidr\n", "(probably ClusterCIDR)"),
    ("oomScoreAdj: -1001\n", "oomScoreAdj: -1001 is out of range"),
    (
        "conntrack: {min: -1}\n",
        "conntrack.min: -1 is less than nothing",
    ),
    (
        "ipvs: {excludeCIDRs: [x]}\n",
        "ipvs.excludeCIDRs: \"x\" is not a prefix",
    ),
    ("kind: Deployment\n", "kind"),
];

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (lines, expected) in WRONG {
        let wrong = of(lines).expect_err(lines);
        assert!(wrong.contains(expected), "{expected:?} in\n{wrong}");
    }
}
