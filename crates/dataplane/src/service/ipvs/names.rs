//! Names that kube-proxy gave: operators, and programs of theirs, know them.

use std::borrow::Cow;
use std::fmt;

use podway_kernel::ipset::{MAX_SET_NAME, SetType, TypedSet};
use podway_kernel::iptables::Family;
use podway_model::IpFamily;

/// The interface that has every address of a service.
pub const DEVICE: &str = "kube-ipvs0";

pub(super) const SERVICES: &str = "KUBE-SERVICES";
pub(super) const POSTROUTING: &str = "KUBE-POSTROUTING";
pub(super) const MARK_MASQ: &str = "KUBE-MARK-MASQ";
pub(super) const LOAD_BALANCER: &str = "KUBE-LOAD-BALANCER";
pub(super) const NODE_PORT: &str = "KUBE-NODE-PORT";
pub(super) const FORWARD: &str = "KUBE-FORWARD";
pub(super) const FIREWALL: &str = "KUBE-PROXY-FIREWALL";
pub(super) const SOURCE_RANGES: &str = "KUBE-SOURCE-RANGES-FIREWALL";
pub(super) const FILTER: &str = "KUBE-IPVS-FILTER";
pub(super) const OUT_FILTER: &str = "KUBE-IPVS-OUT-FILTER";
/// Ours alone: marks what is from no pod of this node, where that takes more
/// than one match to say.
pub(super) const MARK_MASQ_REMOTE: &str = "KUBE-MARK-MASQ-REMOTE";
/// Ours alone: gives packets the mark of another virtual server than that of
/// their destination.
pub(super) const SHORT_CIRCUIT: &str = "KUBE-SHORT-CIRCUIT";

/// Every chain of this mode.
pub(super) const CHAINS: [&str; 12] = [
    SERVICES,
    POSTROUTING,
    MARK_MASQ,
    LOAD_BALANCER,
    NODE_PORT,
    FORWARD,
    FIREWALL,
    SOURCE_RANGES,
    FILTER,
    OUT_FILTER,
    MARK_MASQ_REMOTE,
    SHORT_CIRCUIT,
];

/// How many members a set can have. kube-proxy has 65,536, and loses services
/// beyond it.
const LIMIT: u32 = 1 << 20;

/// The sets of each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// An endpoint of this node, its port, and itself: a connection to itself.
    LoopBack,
    ClusterIp,
    /// External IPs whose clients' addresses are not kept.
    ExternalIp,
    /// External IPs whose clients' addresses are kept.
    ExternalIpLocal,
    LoadBalancer,
    /// Those of them whose clients' addresses are kept.
    LoadBalancerLocal,
    /// Those of them that not everybody may use.
    LoadBalancerFirewall,
    /// Who may use them: the load balancer's address itself.
    LoadBalancerSourceIp,
    /// Who may use them: prefixes.
    LoadBalancerSourcePrefix,
    NodePortTcp,
    NodePortLocalTcp,
    NodePortUdp,
    NodePortLocalUdp,
    NodePortSctp,
    NodePortLocalSctp,
    HealthCheck,
    /// The addresses of the interface.
    Addresses,
    /// Ours alone: frontends without any endpoint.
    Reject,
    /// Ours alone: frontends that drop what is from a pod of this node, from
    /// this node, from elsewhere.
    DropPod,
    DropNode,
    DropOutside,
    /// Ours alone: frontends with other endpoints for pods of this node, or for
    /// this node, than for others, and the mark of their virtual server.
    ShortCircuitPod,
    ShortCircuitNode,
}

/// One set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Set {
    pub(super) kind: Kind,
    pub(super) family: IpFamily,
}

impl Kind {
    pub(super) const ALL: [Self; 23] = [
        Self::LoopBack,
        Self::ClusterIp,
        Self::ExternalIp,
        Self::ExternalIpLocal,
        Self::LoadBalancer,
        Self::LoadBalancerLocal,
        Self::LoadBalancerFirewall,
        Self::LoadBalancerSourceIp,
        Self::LoadBalancerSourcePrefix,
        Self::NodePortTcp,
        Self::NodePortLocalTcp,
        Self::NodePortUdp,
        Self::NodePortLocalUdp,
        Self::NodePortSctp,
        Self::NodePortLocalSctp,
        Self::HealthCheck,
        Self::Addresses,
        Self::Reject,
        Self::DropPod,
        Self::DropNode,
        Self::DropOutside,
        Self::ShortCircuitPod,
        Self::ShortCircuitNode,
    ];

    /// What follows `KUBE-` or `KUBE-6-`.
    const fn stem(self) -> &'static str {
        match self {
            Self::LoopBack => "KUBE-LOOP-BACK",
            Self::ClusterIp => "KUBE-CLUSTER-IP",
            Self::ExternalIp => "KUBE-EXTERNAL-IP",
            Self::ExternalIpLocal => "KUBE-EXTERNAL-IP-LOCAL",
            Self::LoadBalancer => "KUBE-LOAD-BALANCER",
            Self::LoadBalancerLocal => "KUBE-LOAD-BALANCER-LOCAL",
            Self::LoadBalancerFirewall => "KUBE-LOAD-BALANCER-FW",
            Self::LoadBalancerSourceIp => "KUBE-LOAD-BALANCER-SOURCE-IP",
            Self::LoadBalancerSourcePrefix => "KUBE-LOAD-BALANCER-SOURCE-CIDR",
            Self::NodePortTcp => "KUBE-NODE-PORT-TCP",
            Self::NodePortLocalTcp => "KUBE-NODE-PORT-LOCAL-TCP",
            Self::NodePortUdp => "KUBE-NODE-PORT-UDP",
            Self::NodePortLocalUdp => "KUBE-NODE-PORT-LOCAL-UDP",
            Self::NodePortSctp => "KUBE-NODE-PORT-SCTP-HASH",
            Self::NodePortLocalSctp => "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
            Self::HealthCheck => "KUBE-HEALTH-CHECK-NODE-PORT",
            Self::Addresses => "KUBE-IPVS-IPS",
            Self::Reject => "KUBE-REJECT",
            Self::DropPod => "KUBE-DROP-POD",
            Self::DropNode => "KUBE-DROP-NODE",
            Self::DropOutside => "KUBE-DROP-OUTSIDE",
            Self::ShortCircuitPod => "KUBE-SHORT-CIRCUIT-POD",
            Self::ShortCircuitNode => "KUBE-SHORT-CIRCUIT-NODE",
        }
    }

    pub(super) const fn set_type(self) -> SetType {
        match self {
            Self::LoopBack | Self::LoadBalancerSourceIp => SetType::AddressPortAddress,
            Self::LoadBalancerSourcePrefix => SetType::AddressPortPrefix,
            Self::NodePortTcp
            | Self::NodePortLocalTcp
            | Self::NodePortUdp
            | Self::NodePortLocalUdp
            | Self::HealthCheck => SetType::Port,
            Self::Addresses => SetType::Address,
            Self::ShortCircuitPod | Self::ShortCircuitNode => SetType::AddressPortMark,
            _ => SetType::AddressPort,
        }
    }
}

impl Set {
    pub(super) const fn new(kind: Kind, family: IpFamily) -> Self {
        Self { kind, family }
    }

    /// Every set of a family.
    pub(super) fn of(family: IpFamily) -> impl Iterator<Item = Self> {
        Kind::ALL.into_iter().map(move |kind| Self { kind, family })
    }

    /// Its name: IPv6 has its own prefix, and what is then too long is cut.
    pub(super) fn name(self) -> Cow<'static, str> {
        let stem = self.kind.stem();
        match self.family {
            IpFamily::V4 => stem.into(),
            IpFamily::V6 => {
                let mut name = stem.replacen("KUBE-", "KUBE-6-", 1);
                name.truncate(MAX_SET_NAME);
                name.into()
            }
        }
    }

    /// As the kernel is told to make it.
    pub(super) fn made(self) -> TypedSet {
        let set_type = self.kind.set_type();
        let is_port = set_type == SetType::Port;
        TypedSet {
            name: self.name().into_owned(),
            set_type,
            family: (!is_port).then_some(kernel_family(self.family)),
            limit: if is_port { 0 } else { LIMIT },
        }
    }

    /// A match of rules that looks a packet up.
    pub(super) fn matching(self) -> String {
        format!("set --match-set {self} {}", self.dimensions())
    }

    /// Which parts of a packet are compared with its members.
    pub(super) const fn dimensions(self) -> &'static str {
        match self.kind.set_type() {
            SetType::Address | SetType::Port => "dst",
            SetType::AddressPort | SetType::AddressPortMark => "dst,dst",
            SetType::AddressPortAddress | SetType::AddressPortPrefix => "dst,dst,src",
        }
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

pub(super) const fn kernel_family(family: IpFamily) -> Family {
    match family {
        IpFamily::V4 => Family::V4,
        IpFamily::V6 => Family::V6,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use podway_kernel::iptables::MAX_CHAIN_NAME;

    use super::*;

    #[test]
    fn sets_have_the_names_and_types_that_operators_know() {
        let name = |stem: &str| format!("KUBE-{stem}");
        for (kind, stem, set_type) in [
            (Kind::LoopBack, "LOOP-BACK", "hash:ip,port,ip"),
            (Kind::ClusterIp, "CLUSTER-IP", "hash:ip,port"),
            (Kind::ExternalIp, "EXTERNAL-IP", "hash:ip,port"),
            (Kind::ExternalIpLocal, "EXTERNAL-IP-LOCAL", "hash:ip,port"),
            (
                Kind::LoadBalancerFirewall,
                "LOAD-BALANCER-FW",
                "hash:ip,port",
            ),
            (Kind::NodePortUdp, "NODE-PORT-UDP", "bitmap:port"),
            (Kind::HealthCheck, "HEALTH-CHECK-NODE-PORT", "bitmap:port"),
            (Kind::Addresses, "IPVS-IPS", "hash:ip"),
        ] {
            assert_eq!(Set::new(kind, IpFamily::V4).name(), name(stem));
            let v6 = name(&format!("6-{stem}"));
            assert_eq!(Set::new(kind, IpFamily::V6).name(), v6);
            assert_eq!(kind.set_type().name(), set_type, "{stem}");
        }
        // What would be longer than the kernel takes is cut.
        for (kind, v6) in [
            (
                Kind::LoadBalancerSourcePrefix,
                "KUBE-6-LOAD-BALANCER-SOURCE-CID",
            ),
            (Kind::LoadBalancerSourceIp, "KUBE-6-LOAD-BALANCER-SOURCE-IP"),
            (Kind::NodePortLocalSctp, "KUBE-6-NODE-PORT-LOCAL-SCTP-HAS"),
        ] {
            assert_eq!(Set::new(kind, IpFamily::V6).name(), v6);
        }
    }

    #[test]
    fn no_two_sets_have_one_name() {
        let names = IpFamily::ALL.into_iter().flat_map(Set::of);
        let names: BTreeSet<_> = names.map(Set::name).collect();
        assert_eq!(names.len(), 2 * Kind::ALL.len());
        assert!(names.iter().all(|name| name.len() <= MAX_SET_NAME));
        assert!(CHAINS.iter().all(|chain| chain.len() <= MAX_CHAIN_NAME));
    }
}
