//! Packets in UDP, moved by the agent.

use podway_model::Node;
use podway_plan::overlay::OverlaySettings;

use super::nodes::{LIMIT, TestNode, UDP, Underlay, connect, serve};

/// node1 and node2 on one segment, node3 behind the router.
fn three(settings: &OverlaySettings) -> (Underlay, [TestNode; 3], [Node; 3]) {
    let mut underlay = Underlay::new();
    let mut nodes = [(0, 1), (0, 2), (1, 3)]
        .map(|(segment, number)| underlay.node_on(segment, number, settings));
    let objects = [0, 1, 2].map(|i: usize| nodes[i].object());
    for node in &mut nodes {
        node.follow(&objects);
    }
    (underlay, nodes, objects)
}

fn assert_reaches(from: &mut TestNode, to: &mut TestNode) {
    let (client, server) = (from.pod(5), to.pod(6));
    serve(&server.namespace);
    for (to, own) in server.addresses.iter().zip(client.addresses) {
        let seen = connect(&client.namespace, *to, LIMIT);
        let seen = seen.unwrap_or_else(|error| panic!("to {to}: {error}"));
        assert_eq!(seen, own, "source as the server at {to} saw it");
    }
}

#[test]
fn pods_reach_pods_of_other_nodes_and_segments_in_both_families() {
    let (_underlay, [mut a, mut b, mut c], _) = three(&UDP);
    assert_reaches(&mut a, &mut b);
    assert_reaches(&mut c, &mut a);
}
