//! Defaults, and what kube-proxy's words are in ours.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use podway_model::IpFamily;

use super::{GoDuration, KubeProxyConfiguration};
use crate::config::{
    Configuration, Conntrack, Ipvs, Listen, LoadBalancer, LocalPods, NodePortAddress,
    Observability, Overlay, Pods, Policies, Services,
};

/// kube-proxy's ports.
const HEALTH_PORT: u16 = 10_256;
const METRICS_PORT: u16 = 10_249;

impl KubeProxyConfiguration {
    /// With every default that kube-proxy has.
    pub(super) fn complete(&self) -> Self {
        let mut complete = self.clone();
        let is_v6 = complete.bind_address.contains(':');
        fill(&mut complete.bind_address, "0.0.0.0");
        let health = if is_v6 { "[::]" } else { "0.0.0.0" };
        let metrics = if is_v6 { "[::1]" } else { "127.0.0.1" };
        complete.healthz_bind_address =
            with_port(&complete.healthz_bind_address, health, HEALTH_PORT);
        complete.metrics_bind_address =
            with_port(&complete.metrics_bind_address, metrics, METRICS_PORT);
        fill(&mut complete.mode, "iptables");
        fill(&mut complete.detect_local_mode, "ClusterCIDR");
        fill(&mut complete.ipvs.scheduler, "rr");
        fill(
            &mut complete.client_connection.content_type,
            "application/json",
        );
        complete.iptables.masquerade_bit.get_or_insert(14);
        complete.nftables.masquerade_bit.get_or_insert(14);
        complete.iptables.localhost_node_ports.get_or_insert(true);
        complete.oom_score_adj.get_or_insert(-999);
        for period in [
            &mut complete.iptables.sync_period,
            &mut complete.ipvs.sync_period,
            &mut complete.nftables.sync_period,
        ] {
            last(period, 30);
        }
        last(&mut complete.iptables.min_sync_period, 1);
        last(&mut complete.nftables.min_sync_period, 1);
        last(&mut complete.config_sync_period, 15 * 60);
        let conntrack = &mut complete.conntrack;
        conntrack.max_per_core.get_or_insert(32_768);
        conntrack.min.get_or_insert(131_072);
        let established = &mut conntrack.tcp_established_timeout;
        established.get_or_insert(GoDuration::from_secs(24 * 3600));
        let close_wait = &mut conntrack.tcp_close_wait_timeout;
        close_wait.get_or_insert(GoDuration::from_secs(3600));
        complete
    }

    /// What an agent has to do for a complete configuration.
    pub(super) fn meaning(&self) -> Configuration {
        let name = self.hostname_override.trim().to_lowercase();
        let kubeconfig = &self.client_connection.kubeconfig;
        Configuration {
            node_name: (!name.is_empty()).then_some(name),
            kubeconfig: (!kubeconfig.is_empty()).then(|| kubeconfig.into()),
            pods: Pods {
                enabled: false,
                ..Pods::default()
            },
            overlay: Overlay {
                enabled: false,
                ..Overlay::default()
            },
            policies: Policies {
                enabled: false,
                ..Policies::default()
            },
            load_balancer: LoadBalancer {
                enabled: false,
                ..LoadBalancer::default()
            },
            services: self.services(),
            observability: Observability {
                enabled: true,
                health_address: Some(listen(&self.healthz_bind_address)),
                metrics_address: Some(listen(&self.metrics_bind_address)),
                bind_hard_fail: self.bind_address_hard_fail,
                late_after_seconds: self.sync_period().seconds().saturating_mul(2).max(1),
            },
            ..Configuration::default()
        }
    }

    fn sync_period(&self) -> GoDuration {
        match &*self.mode {
            "ipvs" => self.ipvs.sync_period,
            "nftables" => self.nftables.sync_period,
            _ => self.iptables.sync_period,
        }
    }

    fn services(&self) -> Services {
        let bind: Option<IpAddr> = self.bind_address.parse().ok();
        Services {
            enabled: true,
            mode: self.mode.clone(),
            masquerade_all: match &*self.mode {
                "nftables" => self.nftables.masquerade_all,
                _ => self.iptables.masquerade_all,
            },
            node_port_addresses: self.serving_addresses(),
            localhost_node_ports: self.serves_localhost(),
            node_addresses: bind
                .filter(|address| !address.is_unspecified())
                .into_iter()
                .collect(),
            local_pods: self.local_pods(),
            ipvs: Ipvs {
                scheduler: self.ipvs.scheduler.clone(),
                exclude: prefixes(&self.ipvs.exclude_cidrs).collect(),
                strict_arp: self.ipvs.strict_arp,
                tcp_timeout_seconds: self.ipvs.tcp_timeout.seconds(),
                tcp_fin_timeout_seconds: self.ipvs.tcp_fin_timeout.seconds(),
                udp_timeout_seconds: self.ipvs.udp_timeout.seconds(),
            },
            conntrack: self.flows(),
            ..Services::default()
        }
    }

    /// In mode nftables nobody serves node ports at every address unasked.
    fn serving_addresses(&self) -> Vec<NodePortAddress> {
        if self.node_port_addresses.is_empty() && self.mode == "nftables" {
            return vec![NodePortAddress::Primary];
        }
        let given = self.node_port_addresses.iter();
        given.filter_map(|text| text.parse().ok()).collect()
    }

    fn serves_localhost(&self) -> bool {
        let asked = self.iptables.localhost_node_ports.unwrap_or(true);
        let addresses = &self.node_port_addresses;
        let is_served =
            addresses.is_empty() || prefixes(addresses).any(|prefix| prefix.addr().is_loopback());
        self.mode == "iptables" && asked && is_served
    }

    fn local_pods(&self) -> LocalPods {
        match &*self.detect_local_mode {
            "NodeCIDR" => LocalPods::PodPrefixes,
            "BridgeInterface" => LocalPods::Interface(self.detect_local.bridge_interface.clone()),
            "InterfaceNamePrefix" => {
                LocalPods::InterfacePrefix(self.detect_local.interface_name_prefix.clone())
            }
            _ => cluster_prefixes(&self.cluster_cidr),
        }
    }

    fn flows(&self) -> Conntrack {
        let count = |number: Option<i32>| number.and_then(|n| u32::try_from(n).ok());
        let seconds = |time: Option<GoDuration>| time.map_or(0, |time| time.seconds());
        let given = &self.conntrack;
        Conntrack {
            max_per_core: count(given.max_per_core).unwrap_or(0),
            min: count(given.min).unwrap_or(0),
            tcp_established_seconds: seconds(given.tcp_established_timeout),
            tcp_close_wait_seconds: seconds(given.tcp_close_wait_timeout),
            tcp_be_liberal: given.tcp_be_liberal,
            udp_seconds: given.udp_timeout.seconds(),
            udp_stream_seconds: given.udp_stream_timeout.seconds(),
        }
    }
}

fn fill(field: &mut String, default: &str) {
    if field.is_empty() {
        default.clone_into(field);
    }
}

fn last(period: &mut GoDuration, seconds: u64) {
    if period.is_zero() {
        *period = GoDuration::from_secs(seconds);
    }
}

/// An address alone gets the default port.
fn with_port(given: &str, host: &str, port: u16) -> String {
    match given {
        "" => format!("{host}:{port}"),
        _ => match given.parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, port).to_string(),
            Err(_) => given.to_owned(),
        },
    }
}

/// Port 0 and `off` mean nowhere. A port alone is one of every address.
pub(super) fn listen_at(text: &str) -> Option<Listen> {
    if text == "off" {
        return Some(Listen::Off);
    }
    let text = match text.strip_prefix(':') {
        Some(port) => format!("[::]:{port}"),
        None => text.to_owned(),
    };
    let address: SocketAddr = text.parse().ok()?;
    Some(match address.port() {
        0 => Listen::Off,
        _ => Listen::At(address),
    })
}

fn listen(text: &str) -> Listen {
    listen_at(text).unwrap_or(Listen::Off)
}

/// The first prefix of each family.
fn cluster_prefixes(text: &str) -> LocalPods {
    let given: Vec<IpNet> = text
        .split(',')
        .filter_map(|text| text.trim().parse().ok())
        .collect();
    let first = |family| {
        let mut given = given.iter();
        given.find(move |prefix| IpFamily::of(&prefix.addr()) == family)
    };
    let found: Vec<IpNet> = IpFamily::ALL
        .into_iter()
        .filter_map(first)
        .copied()
        .collect();
    match found.is_empty() {
        true => LocalPods::None,
        false => LocalPods::Prefixes(found),
    }
}

fn prefixes(texts: &[String]) -> impl Iterator<Item = IpNet> {
    texts.iter().filter_map(|text| text.parse().ok())
}
