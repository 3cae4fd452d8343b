use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use podway_kernel::iptables::{Family, Rule};
use podway_model::IpFamily;
use podway_plan::service::Interfaces;

use super::names::{MARK_MASQ, MARK_MASQ_REMOTE};
use crate::names::MASQUERADE_MARK;
use crate::service::ServiceSettings;

/// What rules of one family need to know of their node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) family: IpFamily,
    pub(super) pods: Pods,
    /// Which of the node's addresses serve node ports; none is all of them.
    pub(super) node_ports: Vec<IpNet>,
    /// Whether packets that conntrack calls invalid are dropped: not where the
    /// operator made conntrack liberal.
    pub(super) drop_invalid: bool,
}

/// How rules tell this node's pods from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pods {
    /// By these prefixes, none inside another.
    Prefixes(Vec<IpNet>),
    /// By an interface, as rules name it.
    Interface(String),
}

impl Site {
    pub(super) fn new(family: IpFamily, settings: &ServiceSettings, drop_invalid: bool) -> Self {
        let of_family = |prefixes: &[IpNet]| {
            let mine = |prefix: &&IpNet| IpFamily::of(&prefix.addr()) == family;
            IpNet::aggregate(&prefixes.iter().filter(mine).copied().collect())
        };
        Self {
            family,
            pods: match &settings.pod_interfaces {
                Some(Interfaces::Named(name)) => Pods::Interface(name.to_string()),
                Some(Interfaces::Prefixed(prefix)) => Pods::Interface(format!("{prefix}+")),
                None => Pods::Prefixes(of_family(&settings.pod_prefixes)),
            },
            node_ports: of_family(&settings.node_port_prefixes),
            drop_invalid,
        }
    }

    /// How a rule begins that matches what is for the address and from no pod of
    /// this node, and the chain that marks it.
    pub(super) fn remote(&self, address: IpAddr) -> (Rule, &'static str) {
        let to = |rule: Rule| rule.destination(address.into());
        match &self.pods {
            Pods::Interface(interface) => (to(Rule::new()).not_input(interface), MARK_MASQ),
            Pods::Prefixes(prefixes) => match prefixes[..] {
                [] => (to(Rule::new()), MARK_MASQ),
                [pods] => (to(Rule::new().not_source(pods)), MARK_MASQ),
                // No rule can exclude several prefixes.
                _ => (to(Rule::new()), MARK_MASQ_REMOTE),
            },
        }
    }

    /// The prefixes that take a chain of their own to exclude.
    pub(super) fn several_prefixes(&self) -> Option<&[IpNet]> {
        match &self.pods {
            Pods::Prefixes(prefixes) if prefixes.len() > 1 => Some(prefixes),
            _ => None,
        }
    }

    /// How rules begin that match what is from a pod of this node.
    pub(super) fn pods_source(&self) -> Vec<Rule> {
        match &self.pods {
            Pods::Interface(interface) => vec![Rule::new().input(interface)],
            Pods::Prefixes(prefixes) => {
                let prefixes = prefixes.iter();
                prefixes.map(|prefix| Rule::new().source(*prefix)).collect()
            }
        }
    }

    /// How rules begin that match the node's own addresses which serve node
    /// ports, loopback excepted; `middle` stands before the address type.
    pub(super) fn node_port_addresses(&self, middle: impl Fn(Rule) -> Rule) -> Vec<Rule> {
        let loopback: IpNet = match self.family {
            IpFamily::V4 => "127.0.0.0/8".parse().expect("a prefix"),
            IpFamily::V6 => IpAddr::from(Ipv6Addr::LOCALHOST).into(),
        };
        let prefixes = self.node_ports.iter();
        let begins: Vec<Rule> = match self.node_ports[..] {
            [] => vec![Rule::new().not_destination(loopback)],
            _ => prefixes
                .flat_map(|prefix| without(*prefix, loopback))
                .map(|prefix| Rule::new().destination(prefix))
                .collect(),
        };
        let begins = begins.into_iter();
        begins
            .map(|rule| middle(rule).matching("addrtype --dst-type LOCAL"))
            .collect()
    }

    pub(super) const fn reject(&self) -> &'static str {
        match self.family {
            IpFamily::V4 => "REJECT --reject-with icmp-port-unreachable",
            IpFamily::V6 => "REJECT --reject-with icmp6-port-unreachable",
        }
    }
}

/// A prefix without the loopback addresses in it: a rule can have one
/// destination only, so it cannot except them itself.
fn without(prefix: IpNet, loopback: IpNet) -> Vec<IpNet> {
    if loopback.contains(&prefix) {
        return Vec::new();
    }
    if !prefix.contains(&loopback) {
        return vec![prefix];
    }
    let halves = prefix.subnets(prefix.prefix_len() + 1);
    let halves = halves.expect("longer than the prefix, no longer than loopback's");
    halves.flat_map(|half| without(half, loopback)).collect()
}

pub(super) const fn kernel_family(family: IpFamily) -> Family {
    match family {
        IpFamily::V4 => Family::V4,
        IpFamily::V6 => Family::V6,
    }
}

/// The target that gives a packet the mark.
pub(super) fn set_mark() -> String {
    format!("MARK --set-xmark {MASQUERADE_MARK:#x}/{MASQUERADE_MARK:#x}")
}

/// The target that takes it away.
pub(super) fn clear_mark() -> String {
    format!("MARK --set-xmark {MASQUERADE_MARK:#x}/0x0")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn node_port_addresses_are_never_loopback() {
        let rules = |prefixes: &[&str]| -> Vec<String> {
            let settings = ServiceSettings {
                node_port_prefixes: prefixes.iter().map(|text| text.parse().unwrap()).collect(),
                ..ServiceSettings::default()
            };
            let site = Site::new(IpFamily::V4, &settings, true);
            let rules = site.node_port_addresses(|rule| rule);
            rules.iter().map(ToString::to_string).collect()
        };
        let local = |begin: &str| format!("{begin} -m addrtype --dst-type LOCAL");
        assert_eq!(rules(&["fd00::/64"]), [local("! -d 127.0.0.0/8")]);
        assert_eq!(rules(&["192.168.0.0/24"]), [local("-d 192.168.0.0/24")]);
        assert_eq!(rules(&["127.0.0.1/32"]), [""; 0]);
        let around = ["120.0.0.0/6", "124.0.0.0/7", "126.0.0.0/8"];
        assert_eq!(
            rules(&["120.0.0.0/5"]),
            around.map(|prefix| local(&format!("-d {prefix}")))
        );
    }

    #[test]
    fn every_address_is_all_but_loopback() {
        let everything = IpNet::new(Ipv4Addr::UNSPECIFIED.into(), 0).unwrap();
        assert_eq!(without(everything, "127.0.0.0/8".parse().unwrap()).len(), 8);
    }
}
