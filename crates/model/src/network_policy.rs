use ipnet::IpNet;

use crate::{ObjectName, Protocol, Selector};

/// The annotation of a policy that, with the value `audit`, has it deny nothing
/// and only report what it would deny.
pub const MODE: &str = "podway.dev/mode";

/// A NetworkPolicy with `policyTypes` already resolved: a direction that the
/// policy does not isolate is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Its name.
    pub name: ObjectName,
    /// `metadata.resourceVersion` as a number; 0 where it is none.
    pub revision: u64,
    /// `metadata.generation`.
    pub generation: u64,
    /// Whether it only reports what it would deny: annotation [`MODE`].
    pub audit: bool,
    /// `spec.podSelector`, within the policy's namespace.
    pub subjects: Selector,
    /// Ingress rules, where the policy isolates ingress; none of them = deny all.
    pub ingress: Option<Vec<PolicyRule>>,
    /// Egress rules, where the policy isolates egress.
    pub egress: Option<Vec<PolicyRule>>,
}

/// One rule: allowed where a peer AND a port match. An empty list is "any".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRule {
    /// `from` or `to`.
    pub peers: Vec<Peer>,
    /// `ports`.
    pub ports: Vec<PolicyPort>,
}

/// One peer of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// `ipBlock`: addresses in `prefix` (host bits masked) and in none of `except`.
    Block {
        /// `cidr`.
        prefix: IpNet,
        /// `except`.
        except: Vec<IpNet>,
    },
    /// Pods by namespace and label.
    Pods {
        /// `namespaceSelector`; `None` is the policy's own namespace.
        namespaces: Option<Selector>,
        /// `podSelector`; `None` is every pod.
        pods: Option<Selector>,
    },
    /// A peer that cannot be understood (today's validation would refuse it):
    /// matches nothing. The text says why.
    Invalid(String),
}

/// One port of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyPort {
    /// The protocol, TCP where the policy names none.
    pub protocol: Protocol,
    /// Which ports of it.
    pub port: PortMatch,
}

/// Which ports a policy's port entry means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortMatch {
    /// Every port.
    Any,
    /// From the first to the last, both included.
    Range(u16, u16),
    /// The container ports of this name and protocol on the destination pod.
    Name(String),
}
