use podway_model::Protocol;
use serde::{Deserialize, Deserializer};

/// A question about one connection, as a line of `--flows` spells it:
/// `{"from","to","port","protocol","node"}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Who connects: `NS/POD`, `node:NAME` or an address.
    pub from: String,
    /// What to: `NS/POD`, `svc:NS/NAME`, `node:NAME` or an address.
    pub to: String,
    /// The port, 1-65535.
    pub port: u16,
    /// The protocol; TCP where none is given.
    #[serde(default = "tcp", deserialize_with = "protocol")]
    pub protocol: Protocol,
    /// The node where a packet from outside enters.
    #[serde(default)]
    pub node: Option<String>,
}

const fn tcp() -> Protocol {
    Protocol::Tcp
}

fn protocol<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Protocol, D::Error> {
    let name = String::deserialize(deserializer)?;
    Protocol::parse(&name).ok_or_else(|| {
        serde::de::Error::custom(format!("unknown protocol `{name}`: tcp, udp or sctp"))
    })
}
