//! A hundred calls at once, as when a node starts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Child;

use serde_json::{Value, json};

use crate::node::{Call, Node, Pod};

const PODS: usize = 100;

/// Starts them all before any has its configuration.
fn at_once(node: &Node, command: &str, pods: &[Pod], config: &Value) -> Vec<Child> {
    let mut children: Vec<Child> = pods.iter().map(|pod| node.start(command, pod)).collect();
    for child in &mut children {
        Node::configure(child, config);
    }
    children
}

fn calls(children: Vec<Child>) -> Vec<Call> {
    let ended = children.into_iter().map(Child::wait_with_output);
    ended.map(|output| Call::of(output.unwrap())).collect()
}

#[test]
fn a_hundred_pods_come_and_go_at_once() {
    let node = Node::new();
    let config = node.config();
    let pods: Vec<Pod> = (0..PODS).map(|n| node.pod(&format!("c{n}"))).collect();
    let added = calls(at_once(&node, "ADD", &pods, &config));
    let addresses: BTreeSet<IpAddr> = added.iter().flat_map(Call::addresses).collect();
    assert_eq!(addresses.len(), 2 * PODS);
    assert_eq!(node.links().len(), 1 + PODS);
    for call in calls(at_once(&node, "DEL", &pods, &config)) {
        call.silent();
    }
    assert_eq!(node.links(), ["lo"]);
    assert_eq!(node.leased(), Vec::<String>::new());
    // What was given back rests: nobody gets it as long as there is another.
    let again = node.add(&pods[0], &config).addresses();
    assert!(again.iter().all(|ip| !addresses.contains(ip)), "{again:?}");
}

#[test]
fn those_that_are_killed_do_no_harm_to_the_others() {
    let node = Node::new();
    let mut config = node.config();
    let pods: Vec<Pod> = (0..PODS).map(|n| node.pod(&format!("c{n}"))).collect();
    let mut children = at_once(&node, "ADD", &pods, &config);
    for child in children.iter_mut().step_by(3) {
        let _ = child.kill();
    }
    let mut valid = Vec::new();
    let mut addresses = BTreeSet::new();
    for (pod, child) in pods.iter().zip(children) {
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            addresses.extend(Call::of(output).addresses());
            valid.push(json!({ "containerID": pod.container, "ifname": "eth0" }));
        }
    }
    assert!(valid.len() >= PODS * 2 / 3, "{}", valid.len());
    assert_eq!(addresses.len(), 2 * valid.len());
    config["cni.dev/valid-attachments"] = json!(valid);
    node.command("GC", &pods[0], &config).silent();
    assert_eq!(node.links().len(), 1 + valid.len());
    assert_eq!(node.leased().len(), 2 * valid.len());
}
