use ipnet::IpNet;
use podway_kernel::iptables::Rule;
use podway_model::IpFamily;
use podway_plan::service::Interfaces;

use crate::names::MASQUERADE_MARK;
use crate::service::ServiceSettings;

/// What rules of one family need to know of their node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) family: IpFamily,
    /// Prefixes of this node's pods, none inside another; not asked where there
    /// are interfaces.
    prefixes: Vec<IpNet>,
    interfaces: Option<Interfaces>,
}

impl Site {
    pub(super) fn new(family: IpFamily, settings: &ServiceSettings) -> Self {
        let prefixes = settings.pod_prefixes.iter();
        let mine = prefixes.filter(|prefix| IpFamily::of(&prefix.addr()) == family);
        Self {
            family,
            prefixes: IpNet::aggregate(&mine.copied().collect()),
            interfaces: settings.pod_interfaces.clone(),
        }
    }

    /// How rules begin that match what is from a pod of this node. None where
    /// pods cannot be told from others.
    pub(super) fn pods(&self) -> Vec<Rule> {
        match &self.interfaces {
            Some(interfaces) => vec![Rule::parse(&format!("-i {}", pattern(interfaces)))],
            None => self
                .prefixes
                .iter()
                .map(|prefix| Rule::new().source(*prefix))
                .collect(),
        }
    }

    /// How a rule begins that matches what is not from a pod of this node; `None`
    /// where no single match can say it.
    pub(super) fn others(&self) -> Option<Rule> {
        match (&self.interfaces, &self.prefixes[..]) {
            (Some(interfaces), _) => Some(Rule::parse(&format!("! -i {}", pattern(interfaces)))),
            (None, [prefix]) => Some(Rule::new().not_source(*prefix)),
            (None, _) => None,
        }
    }

    /// The addresses of the loopback interface.
    pub(super) fn loopback(&self) -> IpNet {
        let loopback = match self.family {
            IpFamily::V4 => "127.0.0.0/8",
            IpFamily::V6 => "::1/128",
        };
        loopback.parse().expect("a prefix")
    }

    pub(super) const fn reject(&self) -> &'static str {
        match self.family {
            IpFamily::V4 => "REJECT --reject-with icmp-port-unreachable",
            IpFamily::V6 => "REJECT --reject-with icmp6-port-unreachable",
        }
    }
}

fn pattern(interfaces: &Interfaces) -> String {
    match interfaces {
        Interfaces::Named(name) => name.to_string(),
        Interfaces::Prefixed(prefix) => format!("{prefix}+"),
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
