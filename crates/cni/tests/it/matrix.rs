//! Every command in every version of the specification, as a runtime calls them
//! one after the other.

use serde_json::{Value, json};

use crate::node::{Call, Node, Pod};
use crate::protocol::VERSIONS;

/// What is on standard input besides the configuration, or in the environment.
#[derive(Debug, Clone, Copy)]
enum With {
    Nothing,
    /// podCIDRs that have no address left.
    NoAddress,
    /// The result of ADD, which old versions do not hand over.
    Result,
    /// GC: these containers are valid.
    Valid(&'static [&'static str]),
    /// DEL: this is `CNI_NETNS`, or it is not set at all.
    Netns(Option<&'static str>),
}

/// How a call ends.
#[derive(Debug, Clone, Copy)]
enum Ends {
    WithResult,
    Silent,
    WithCode(u32),
}

/// What a call leaves on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Nothing,
    Pod,
}

use Ends::{Silent, WithCode, WithResult};
use Leaves::{Nothing, Pod as ThePod};

/// The command, the first version that has it (before that: code 1, and nothing
/// changes), what it is called with, and how it must end.
type Step = (&'static str, &'static str, With, Ends, Leaves);

const STEPS: [Step; 24] = [
    ("VERSION", "0.1.0", With::Nothing, WithResult, Nothing),
    ("STATUS", "1.1.0", With::Nothing, Silent, Nothing),
    ("STATUS", "1.1.0", With::NoAddress, WithCode(50), Nothing),
    ("DEL", "0.1.0", With::Nothing, Silent, Nothing),
    ("ADD", "0.1.0", With::NoAddress, WithCode(11), Nothing),
    ("ADD", "0.1.0", With::Nothing, WithResult, ThePod),
    ("ADD", "0.1.0", With::Nothing, WithCode(100), ThePod),
    ("CHECK", "0.4.0", With::Nothing, WithCode(7), ThePod),
    ("CHECK", "0.4.0", With::Result, Silent, ThePod),
    ("GC", "1.1.0", With::Nothing, WithCode(7), ThePod),
    ("GC", "1.1.0", With::Valid(&["c1", "c9"]), Silent, ThePod),
    ("VERSION", "0.1.0", With::Nothing, WithResult, ThePod),
    ("STATUS", "1.1.0", With::Nothing, Silent, ThePod),
    ("DEL", "0.1.0", With::Result, Silent, Nothing),
    ("DEL", "0.1.0", With::Result, Silent, Nothing),
    ("CHECK", "0.4.0", With::Result, WithCode(102), Nothing),
    ("ADD", "0.1.0", With::Nothing, WithResult, ThePod),
    ("DEL", "0.1.0", With::Netns(None), Silent, Nothing),
    ("ADD", "0.1.0", With::Nothing, WithResult, ThePod),
    ("DEL", "0.1.0", With::Netns(Some("")), Silent, Nothing),
    ("ADD", "0.1.0", With::Nothing, WithResult, ThePod),
    ("DEL", "0.1.0", With::Netns(Some("/gone")), Silent, Nothing),
    ("ADD", "0.1.0", With::Nothing, WithResult, ThePod),
    ("GC", "1.1.0", With::Valid(&[]), Silent, Nothing),
];

/// Whether a version is `since` or later.
fn has(version: &str, since: &str) -> bool {
    let place = |wanted: &str| VERSIONS.iter().position(|version| *version == wanted);
    place(version) >= place(since)
}

#[test]
fn every_command_in_every_version() {
    for version in VERSIONS {
        let node = Node::new();
        let pod = node.pod("c1");
        let mut config = node.config();
        config["cniVersion"] = json!(version);
        let mut result = Value::Null;
        let mut left = Nothing;
        for (number, (command, since, with, ends, leaves)) in STEPS.into_iter().enumerate() {
            let case = format!("{version}, step {number}: {command} with {with:?}");
            let call = call(&node, &pod, &config, &result, command, with);
            let is_known = has(version, since);
            match if is_known { ends } else { WithCode(1) } {
                Silent => assert_eq!(
                    (call.code, call.stdout.as_str()),
                    (0, ""),
                    "{case}: {call:?}"
                ),
                WithCode(code) => assert_eq!(call.error()["code"], code, "{case}: {call:?}"),
                WithResult if command == "ADD" => {
                    result = call.result();
                    assert_eq!(result["cniVersion"], version, "{case}");
                }
                WithResult => assert_eq!(call.result()["supportedVersions"], json!(VERSIONS)),
            }
            if is_known {
                left = leaves;
            }
            let (links, leases) = if left == ThePod { (2, 2) } else { (1, 0) };
            assert_eq!(node.links().len(), links, "{case}: {:?}", node.links());
            assert_eq!(node.leased().len(), leases, "{case}: {:?}", node.leased());
        }
    }
}

fn call(node: &Node, pod: &Pod, config: &Value, result: &Value, command: &str, with: With) -> Call {
    let mut config = config.clone();
    match with {
        With::Nothing => {}
        With::NoAddress => config["reserved"] = json!(["10.244.1.0/24"]),
        With::Result if has(config["cniVersion"].as_str().unwrap(), "0.4.0") => {
            config["prevResult"] = result.clone();
        }
        With::Result => {}
        With::Valid(containers) => {
            let attachment = |id: &&str| json!({ "containerID": id, "ifname": "eth0" });
            config["cni.dev/valid-attachments"] = containers.iter().map(attachment).collect();
        }
        With::Netns(path) => {
            let mut variables = vec![
                ("CNI_COMMAND", command),
                ("CNI_CONTAINERID", &pod.container),
                ("CNI_IFNAME", "eth0"),
            ];
            variables.extend(path.map(|path| ("CNI_NETNS", path)));
            return node.call(&variables, &config.to_string());
        }
    }
    node.command(command, pod, &config)
}
