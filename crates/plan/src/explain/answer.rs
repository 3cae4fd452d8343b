use std::fmt;
use std::net::SocketAddr;

use podway_model::{ObjectName, Protocol};
use serde::{Serialize, Serializer};

use crate::policy::Judgement;

/// What becomes of a connection, and why. Serialized, it is the JSON of
/// `podway explain connect -o json`, field by field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Who connects, as the question has it.
    pub from: String,
    /// What to, as the question has it.
    pub to: String,
    /// The port.
    pub port: u16,
    /// The protocol.
    #[serde(serialize_with = "name")]
    pub protocol: Protocol,
    /// What becomes of it.
    pub verdict: Verdict,
    /// The service port that takes it, where one does.
    pub service: Option<String>,
    /// Whether a service gives it the node's address as source, on the way to
    /// any of the endpoints.
    pub masquerade: bool,
    /// Where it can go: the service's endpoints, or the destination itself.
    pub endpoints: Vec<EndpointAnswer>,
    /// One sentence a step, in the order that a packet meets them.
    pub why: Vec<String>,
}

/// What becomes of a connection to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointAnswer {
    /// The endpoint.
    pub address: SocketAddr,
    /// Its pod, where it is one.
    pub pod: Option<String>,
    /// Allow or deny; unrouted where nobody has the address.
    pub verdict: Verdict,
    /// What the policies of the source say.
    pub egress: SideAnswer,
    /// What the policies of the endpoint say.
    pub ingress: SideAnswer,
}

/// What the policies of one side say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SideAnswer {
    /// Allow or deny.
    pub verdict: Verdict,
    /// The policy that allows, or the ClusterNetworkPolicy that denies; `None`
    /// where none is needed or none does.
    pub policy: Option<String>,
    /// The index of its rule, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
    /// The policies that isolate this side, where it is denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolated_by: Option<Vec<String>>,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It arrives.
    Allow,
    /// A policy denies it.
    Deny,
    /// Policies deny it on the way to some endpoints and not to others.
    Mixed,
    /// A service refuses it: no endpoint, or no such port.
    Reject,
    /// Services drop it: source ranges, a local policy without a local endpoint,
    /// or an address for cluster IPs that is no Service's.
    Drop,
    /// Nothing has that address.
    Unrouted,
}

impl Verdict {
    /// Whether the answer is yes, at least in part.
    #[must_use]
    pub const fn is_yes(self) -> bool {
        matches!(self, Self::Allow | Self::Mixed)
    }

    /// The verdict for all endpoints together.
    pub(super) fn of_all(verdicts: impl Iterator<Item = Self>) -> Self {
        verdicts
            .reduce(|all, one| if all == one { all } else { Self::Mixed })
            .unwrap_or(Self::Unrouted)
    }
}

impl SideAnswer {
    pub(super) fn of(judgement: &Judgement) -> Self {
        let mut side = Self {
            verdict: Verdict::Allow,
            policy: None,
            rule: None,
            isolated_by: None,
        };
        match judgement {
            Judgement::Open => {}
            Judgement::Allowed { policy, rule } => {
                side.policy = Some(policy.to_string());
                side.rule = Some(*rule);
            }
            Judgement::Refused { policy, rule } => {
                side.verdict = Verdict::Deny;
                side.policy = Some(policy.to_string());
                side.rule = Some(*rule);
            }
            Judgement::Denied { isolated_by } => {
                side.verdict = Verdict::Deny;
                side.isolated_by = Some(isolated_by.iter().map(ObjectName::to_string).collect());
            }
        }
        side
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Mixed => "mixed",
            Self::Reject => "reject",
            Self::Drop => "drop",
            Self::Unrouted => "unrouted",
        })
    }
}

/// The answer as text: the verdict, the steps, and the endpoints where there is
/// a choice.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from,
            to,
            port,
            protocol,
            ..
        } = self;
        writeln!(f, "{}: {from} -> {to} port {port}/{protocol}", self.verdict)?;
        for (index, step) in self.why.iter().enumerate() {
            writeln!(f, "  {}. {step}", index + 1)?;
        }
        if self.endpoints.len() > 1 {
            writeln!(f, "  endpoints:")?;
            for endpoint in &self.endpoints {
                writeln!(f, "    {endpoint}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for EndpointAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verdict, self.address)?;
        if let Some(pod) = &self.pod {
            write!(f, " {pod}")?;
        }
        Ok(())
    }
}

fn name<S: Serializer>(protocol: &Protocol, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(protocol.name())
}
