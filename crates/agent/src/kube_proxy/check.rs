//! What cannot be: kube-proxy's rules, in our words.

use std::net::IpAddr;

use ipnet::IpNet;
use podway_dataplane::service::BACKENDS;
use podway_model::IpFamily;
use podway_watch::yaml::nearest;

use super::meaning::listen_at;
use super::{API_VERSION, GoDuration, KIND, KubeProxyConfiguration};

type Wrong = Vec<(&'static str, String)>;

/// What is wrong with a complete configuration: fields and reasons.
pub(super) fn check(config: &KubeProxyConfiguration) -> Wrong {
    let mut wrong = Wrong::new();
    one_of(
        &mut wrong,
        "apiVersion",
        &config.api_version,
        &[API_VERSION],
    );
    one_of(&mut wrong, "kind", &config.kind, &[KIND]);
    let modes: Vec<&str> = BACKENDS.iter().map(|backend| backend.name).collect();
    one_of(&mut wrong, "mode", &config.mode, &modes);
    addresses(config, &mut wrong);
    detection(config, &mut wrong);
    periods(config, &mut wrong);
    numbers(config, &mut wrong);
    wrong
}

fn one_of(wrong: &mut Wrong, field: &'static str, value: &str, known: &[&str]) {
    if known.contains(&value) {
        return;
    }
    let guess = nearest(value, known.iter().copied())
        .map_or_else(String::new, |word| format!(" (probably {word})"));
    let known = known.join(", ");
    wrong.push((field, format!("{value:?} is not one of {known}{guess}")));
}

fn addresses(config: &KubeProxyConfiguration, wrong: &mut Wrong) {
    if config.bind_address.parse::<IpAddr>().is_err() {
        let reason = format!("{:?} is not an IP address", config.bind_address);
        wrong.push(("bindAddress", reason));
    }
    for (field, text) in [
        ("healthzBindAddress", &config.healthz_bind_address),
        ("metricsBindAddress", &config.metrics_bind_address),
    ] {
        if listen_at(text).is_none() {
            let reason =
                format!("{text:?} is not an address with a port: expected as 0.0.0.0:10256");
            wrong.push((field, reason));
        }
    }
    let ports = &config.node_port_addresses;
    let is_primary = |text: &String| text == "primary";
    if ports.len() > 1 && ports.iter().any(is_primary) {
        let reason = "primary stands alone: leave out the others, or it".to_owned();
        wrong.push(("nodePortAddresses", reason));
    }
    for text in ports.iter().filter(|text| !is_primary(text)) {
        prefix(wrong, "nodePortAddresses", text);
    }
    for text in &config.ipvs.exclude_cidrs {
        prefix(wrong, "ipvs.excludeCIDRs", text);
    }
}

fn prefix(wrong: &mut Wrong, field: &'static str, text: &str) -> Option<IpNet> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        let reason = format!("{text:?} is not a prefix: expected as 10.0.0.0/8 or fd00::/64");
        wrong.push((field, reason));
    }
    parsed
}

fn detection(config: &KubeProxyConfiguration, wrong: &mut Wrong) {
    const MODES: [&str; 4] = [
        "ClusterCIDR",
        "NodeCIDR",
        "BridgeInterface",
        "InterfaceNamePrefix",
    ];
    one_of(wrong, "detectLocalMode", &config.detect_local_mode, &MODES);
    let detect = &config.detect_local;
    for (mode, field, name) in [
        (
            MODES[2],
            "detectLocal.bridgeInterface",
            &detect.bridge_interface,
        ),
        (
            MODES[3],
            "detectLocal.interfaceNamePrefix",
            &detect.interface_name_prefix,
        ),
    ] {
        if config.detect_local_mode == mode && !(1..16).contains(&name.len()) {
            let reason = format!("{name:?}: {mode} needs 1 to 15 characters here");
            wrong.push((field, reason));
        }
    }
    if config.cluster_cidr.is_empty() {
        return;
    }
    let texts: Vec<&str> = config.cluster_cidr.split(',').map(str::trim).collect();
    let parsed: Vec<IpNet> = texts
        .iter()
        .filter_map(|text| prefix(wrong, "clusterCIDR", text))
        .collect();
    let families: Vec<IpFamily> = parsed.iter().map(|p| IpFamily::of(&p.addr())).collect();
    if texts.len() > 2 || matches!(families.as_slice(), [a, b] if a == b) {
        let reason = "expected one prefix, or one of each family".to_owned();
        wrong.push(("clusterCIDR", reason));
    }
}

fn periods(config: &KubeProxyConfiguration, wrong: &mut Wrong) {
    let (iptables, ipvs, nftables) = (&config.iptables, &config.ipvs, &config.nftables);
    let conntrack = &config.conntrack;
    let times = [
        ("iptables.syncPeriod", Some(iptables.sync_period)),
        ("iptables.minSyncPeriod", Some(iptables.min_sync_period)),
        ("ipvs.syncPeriod", Some(ipvs.sync_period)),
        ("ipvs.minSyncPeriod", Some(ipvs.min_sync_period)),
        ("ipvs.tcpTimeout", Some(ipvs.tcp_timeout)),
        ("ipvs.tcpFinTimeout", Some(ipvs.tcp_fin_timeout)),
        ("ipvs.udpTimeout", Some(ipvs.udp_timeout)),
        ("nftables.syncPeriod", Some(nftables.sync_period)),
        ("nftables.minSyncPeriod", Some(nftables.min_sync_period)),
        (
            "conntrack.tcpEstablishedTimeout",
            conntrack.tcp_established_timeout,
        ),
        (
            "conntrack.tcpCloseWaitTimeout",
            conntrack.tcp_close_wait_timeout,
        ),
        ("conntrack.udpTimeout", Some(conntrack.udp_timeout)),
        (
            "conntrack.udpStreamTimeout",
            Some(conntrack.udp_stream_timeout),
        ),
        ("configSyncPeriod", Some(config.config_sync_period)),
    ];
    for (field, time) in times {
        if let Some(time) = time.filter(|time| time.is_negative) {
            wrong.push((field, format!("{time} is less than nothing")));
        }
    }
    for (field, least, most) in [
        (
            "iptables.minSyncPeriod",
            iptables.min_sync_period,
            iptables.sync_period,
        ),
        ("ipvs.minSyncPeriod", ipvs.min_sync_period, ipvs.sync_period),
        (
            "nftables.minSyncPeriod",
            nftables.min_sync_period,
            nftables.sync_period,
        ),
    ] {
        if is_longer(least, most) {
            wrong.push((field, format!("{least} is longer than syncPeriod, {most}")));
        }
    }
}

fn is_longer(one: GoDuration, other: GoDuration) -> bool {
    !one.is_negative && !other.is_negative && one.length > other.length
}

fn numbers(config: &KubeProxyConfiguration, wrong: &mut Wrong) {
    for (field, number, least, most) in [
        (
            "iptables.masqueradeBit",
            config.iptables.masquerade_bit,
            0,
            31,
        ),
        (
            "nftables.masqueradeBit",
            config.nftables.masquerade_bit,
            0,
            31,
        ),
        ("oomScoreAdj", config.oom_score_adj, -1000, 1000),
        (
            "conntrack.maxPerCore",
            config.conntrack.max_per_core,
            0,
            i32::MAX,
        ),
        ("conntrack.min", config.conntrack.min, 0, i32::MAX),
        (
            "clientConnection.burst",
            Some(config.client_connection.burst),
            0,
            i32::MAX,
        ),
    ] {
        if let Some(number) = number.filter(|number| !(least..=most).contains(number)) {
            let reason = match most {
                i32::MAX => format!("{number} is less than nothing"),
                _ => format!("{number} is out of range: expected {least} to {most}"),
            };
            wrong.push((field, reason));
        }
    }
}
