//! What the plugin and the node's agent say to each other over the agent's
//! unix socket: one request line, one answer line, connection closed.
//!
//! ```text
//! {"attach":{"namespace":"x","name":"a","uid":"…","containerID":"…","ifname":"eth0","addresses":["10.244.1.2"]}}
//! {"ok":{}}
//! ```

mod client;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use client::{AgentClient, ClientError};

/// The longest line that either side reads, in bytes.
pub const LONGEST_LINE: usize = 64 * 1024;

/// What the plugin asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// A pod's interface is ready. The answer comes once the pod's policies
    /// are in force.
    Attach(Attachment),
    /// A pod's interface is gone, its addresses are free.
    Detach(Detachment),
    /// Whether the agent can serve pods.
    Status(Empty),
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Response {
    /// Done.
    Ok(Empty),
    /// The answer to [`Request::Status`].
    Status(AgentStatus),
    /// Not done.
    Error(Refusal),
}

/// A pod's interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's uid; empty where the runtime did not say.
    pub uid: String,
    /// The sandbox that the interface belongs to.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface's name in the pod.
    pub ifname: String,
    /// Its addresses, at most one of each family.
    pub addresses: Vec<IpAddr>,
}

/// A pod's interface that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detachment {
    /// The sandbox that the interface belonged to.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface's name in the pod.
    pub ifname: String,
    /// The pod's namespace; empty where the runtime did not say.
    #[serde(default)]
    pub namespace: String,
    /// The pod's name; empty where the runtime did not say.
    #[serde(default)]
    pub name: String,
    /// The addresses it had; empty where that is not known any more.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
}

/// What the agent says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Whether pods can be attached.
    pub ready: bool,
    /// Why not, or what is done.
    pub message: String,
    /// For each kind of object (`NetworkPolicy`) the highest `resourceVersion`
    /// that is in force on the node. One number for all kinds would not tell:
    /// a later Node may be heard of before an earlier NetworkPolicy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub revisions: BTreeMap<String, u64>,
}

/// Why the agent did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The reason, for a person.
    pub message: String,
}

/// `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_contract() {
        let attach = Request::Attach(Attachment {
            namespace: "x".into(),
            name: "a".into(),
            uid: "u-1".into(),
            container_id: "c1".into(),
            ifname: "eth0".into(),
            addresses: vec!["10.244.1.2".parse().unwrap(), "fd00::2".parse().unwrap()],
        });
        let text = r#"{"attach":{"namespace":"x","name":"a","uid":"u-1","containerID":"c1","ifname":"eth0","addresses":["10.244.1.2","fd00::2"]}}"#;
        assert_eq!(serde_json::to_string(&attach).unwrap(), text);
        assert_eq!(serde_json::from_str::<Request>(text).unwrap(), attach);

        let detach: Request =
            serde_json::from_str(r#"{"detach":{"containerID":"c1","ifname":"eth0"}}"#).unwrap();
        assert!(
            matches!(&detach, Request::Detach(gone) if gone.container_id == "c1"),
            "{detach:?}"
        );
        let status = Request::Status(Empty {});
        assert_eq!(serde_json::to_string(&status).unwrap(), r#"{"status":{}}"#);
        let ok = Response::Ok(Empty {});
        assert_eq!(serde_json::to_string(&ok).unwrap(), r#"{"ok":{}}"#);
        let error = Response::Error(Refusal {
            message: "not synced".into(),
        });
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"error":{"message":"not synced"}}"#
        );
    }
}
