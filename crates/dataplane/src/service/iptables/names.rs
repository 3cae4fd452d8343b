//! Names that kube-proxy gave: operators, and programs of theirs, know them.

use std::net::SocketAddr;
use std::sync::Arc;

use podway_model::{IpFamily, ServicePortName};
use podway_plan::service::Reach;
use sha2::{Digest as _, Sha256};

pub(super) const SERVICES: &str = "KUBE-SERVICES";
pub(super) const NODE_PORTS: &str = "KUBE-NODEPORTS";
pub(super) const POSTROUTING: &str = "KUBE-POSTROUTING";
pub(super) const MARK_MASQ: &str = "KUBE-MARK-MASQ";
pub(super) const EXTERNAL_SERVICES: &str = "KUBE-EXTERNAL-SERVICES";
pub(super) const FORWARD: &str = "KUBE-FORWARD";
pub(super) const FIREWALL: &str = "KUBE-PROXY-FIREWALL";
pub(super) const CANARY: &str = "KUBE-PROXY-CANARY";

/// Ours alone: refuses what is sent to a cluster IP and no port of it.
pub(super) const CLUSTER_IPS: &str = "KUBE-CLUSTER-IPS";

/// Ours alone: marks what is from no pod of this node, where that takes more
/// than one prefix to say.
pub(super) const MARK_MASQ_REMOTE: &str = "KUBE-MARK-MASQ-REMOTE";

/// The chains that are there whatever the services are.
pub(super) const FIXED: [&str; 10] = [
    SERVICES,
    NODE_PORTS,
    POSTROUTING,
    MARK_MASQ,
    MARK_MASQ_REMOTE,
    EXTERNAL_SERVICES,
    FORWARD,
    FIREWALL,
    CLUSTER_IPS,
    CANARY,
];

/// The chains that built-in chains lead to.
const ENTRANCES: [&str; 7] = [
    SERVICES,
    NODE_PORTS,
    POSTROUTING,
    EXTERNAL_SERVICES,
    FORWARD,
    FIREWALL,
    CLUSTER_IPS,
];

const CLUSTER_POOL: &str = "KUBE-SVC-";
const LOCAL_POOL: &str = "KUBE-SVL-";
const EXTERNAL: &str = "KUBE-EXT-";
const SOURCE_RANGES: &str = "KUBE-FW-";
const ENDPOINT: &str = "KUBE-SEP-";
/// What kube-proxy before 1.24 had in the place of KUBE-EXT.
const FORMER_EXTERNAL: &str = "KUBE-XLB-";

/// The set of a family's cluster IPs.
pub(super) const fn cluster_ip_set(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "KUBE-CLUSTER-IPS",
        IpFamily::V6 => "KUBE-6-CLUSTER-IPS",
    }
}

/// The chain that chooses an endpoint of a pool.
pub(super) fn pool(service: &ServicePortName, reach: Reach) -> Arc<str> {
    match reach {
        Reach::Cluster => of_service(CLUSTER_POOL, service),
        Reach::Local => of_service(LOCAL_POOL, service),
    }
}

/// The chain for destinations outside the cluster network.
pub(super) fn external(service: &ServicePortName) -> Arc<str> {
    of_service(EXTERNAL, service)
}

/// The chain of source ranges.
pub(super) fn source_ranges(service: &ServicePortName) -> Arc<str> {
    of_service(SOURCE_RANGES, service)
}

/// The chain of an endpoint, and the set of clients that it keeps.
pub(super) fn endpoint(service: &ServicePortName, endpoint: SocketAddr) -> Arc<str> {
    let protocol = service.protocol;
    format!(
        "{ENDPOINT}{}",
        hash(&format!("{service}{protocol}{endpoint}"))
    )
    .into()
}

/// Whether a set is one that an endpoint keeps clients in.
pub(super) fn is_client_set(name: &str) -> bool {
    name.starts_with(ENDPOINT)
}

/// Whether a chain is one that we, or kube-proxy in our place, would make.
/// Those of the kubelet and of kube-proxy's userspace mode are not.
pub(super) fn is_ours(chain: &str) -> bool {
    FIXED.contains(&chain) || removal_rank(chain) > 0
}

/// Whether a rule of a built-in chain that leads here is ours, whatever it
/// matches: others may lead to KUBE-MARK-MASQ (CNI plugins do).
pub(super) fn is_entrance(chain: &str) -> bool {
    ENTRANCES.contains(&chain)
}

/// The order in which chains can be removed: those that lead to others first.
/// 0 for chains that nothing of ours leads to.
pub(super) fn removal_rank(chain: &str) -> u8 {
    const RANKS: [(&str, u8); 9] = [
        (NODE_PORTS, 1),
        (SOURCE_RANGES, 1),
        (EXTERNAL, 2),
        (FORMER_EXTERNAL, 2),
        (CLUSTER_POOL, 3),
        (LOCAL_POOL, 3),
        (ENDPOINT, 4),
        (MARK_MASQ_REMOTE, 5),
        (MARK_MASQ, 6),
    ];
    let is_of = |name: &str| match name.ends_with('-') {
        true => chain.starts_with(name),
        false => chain == name,
    };
    let known = RANKS.iter().find(|(name, _)| is_of(name));
    known.map_or(0, |(_, rank)| *rank)
}

fn of_service(prefix: &str, service: &ServicePortName) -> Arc<str> {
    let protocol = service.protocol;
    format!("{prefix}{}", hash(&format!("{service}{protocol}"))).into()
}

/// The first 16 characters of the base32 form (RFC 4648) of the SHA-256.
fn hash(text: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    const CHARACTERS: u32 = 16;
    let digest = Sha256::digest(text.as_bytes());
    // 16 characters of 5 bits are the first 80 bits.
    let bits = digest
        .iter()
        .take(10)
        .fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    (0..CHARACTERS)
        .rev()
        .map(|place| char::from(ALPHABET[(bits >> (5 * place) & 31) as usize]))
        .collect()
}

#[cfg(test)]
mod tests {
    use podway_kernel::iptables::MAX_CHAIN_NAME;
    use podway_model::{ObjectName, Protocol};

    use super::*;

    fn service(name: &str, port: &str, protocol: Protocol) -> ServicePortName {
        ServicePortName {
            service: ObjectName::parse(name).unwrap(),
            port: port.into(),
            protocol,
        }
    }

    #[test]
    fn hashes_are_those_of_kube_proxy() {
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        for (name, port, protocol, hash) in [
            ("ns1/svc1", "p80", tcp, "XPGD46QRK7WJZT7O"),
            ("ns4/svc4", "p80", tcp, "4SW47YFZTEDKD3PK"),
            ("default/kubernetes", "https", tcp, "NPX46M4PTMTKRN6Y"),
            ("kube-system/kube-dns", "dns", udp, "TCOU7JCQXEZGVUNU"),
            ("kube-system/kube-dns", "dns-tcp", tcp, "ERIFXISQEP7F7OF4"),
            ("kube-system/kube-dns", "metrics", tcp, "JD5MR3NA4I4DYORP"),
        ] {
            let service = service(name, port, protocol);
            for (chain, prefix) in [
                (pool(&service, Reach::Cluster), "KUBE-SVC-"),
                (pool(&service, Reach::Local), "KUBE-SVL-"),
                (external(&service), "KUBE-EXT-"),
                (source_ranges(&service), "KUBE-FW-"),
            ] {
                assert_eq!(*chain, format!("{prefix}{hash}"), "{service} {protocol}");
                assert!(is_ours(&chain) && chain.len() <= MAX_CHAIN_NAME);
            }
        }
        for (name, address, hash) in [
            ("ns1/svc1", "10.180.0.1:80", "SXIVWICOYRO3J4NJ"),
            ("ns4/svc4", "10.180.0.4:80", "UKSFD7AGPMPPLUHC"),
        ] {
            let chain = endpoint(&service(name, "p80", tcp), address.parse().unwrap());
            assert_eq!(*chain, format!("KUBE-SEP-{hash}"), "{name} {address}");
        }
    }

    #[test]
    fn other_programs_chains_are_not_ours() {
        for chain in [
            "KUBE-FIREWALL",
            "KUBE-KUBELET-CANARY",
            "KUBE-IPTABLES-HINT",
            "KUBE-PORTALS-CONTAINER",
            "KUBE-PORTALS-HOST",
            "KUBE-NODEPORT-CONTAINER",
            "KUBE-NODEPORT-HOST",
            "KUBE-NODEPORT-NON-LOCAL",
            "KUBE-MARK-DROP",
            "KUBE-NODE-PORT",
            "KUBE-LOAD-BALANCER",
            "CNI-HOSTPORT-DNAT",
            "PREROUTING",
        ] {
            assert!(!is_ours(chain), "{chain}");
        }
        for chain in FIXED {
            assert!(is_ours(chain) && chain.len() <= MAX_CHAIN_NAME, "{chain}");
        }
    }
}
