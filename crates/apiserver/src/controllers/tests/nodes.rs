use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Toleration};
use serde_json::{Value, json};

use super::world::{World, is_ready, template};
use crate::controllers::nodes::{selects, tolerates};
use crate::controllers::{eviction, node};

fn condition(world: &mut World, status: &str) {
    let since = crate::clock::text(world.now);
    world.touch("Node", "n", |node| {
        node["status"]["conditions"] = json!([{
            "type": "Ready", "status": status, "lastTransitionTime": since,
        }]);
    });
}

fn world() -> World {
    let mut world = World::new();
    world.create("v1", "Node", "n", &json!({}));
    condition(&mut world, "True");
    let mut spec = template("x")["spec"].take();
    spec["nodeName"] = "n".into();
    world.create("v1", "Pod", "p", &spec);
    world.becomes("p", "Running");
    world
}

fn settle(world: &mut World, silent: bool) {
    while {
        let node: Node = world.one("Node", "n");
        let plan = node::reconcile(&node, silent, world.now);
        world.apply(plan)
    } {}
    let pods: Vec<Pod> = world.all("Pod");
    for pod in pods {
        let node: Node = world.one("Node", "n");
        let plan = eviction::reconcile(&pod, Some(&node), world.now);
        world.apply(plan);
    }
}

fn taints(world: &World) -> Vec<String> {
    let node: Node = world.one("Node", "n");
    let taints = node.spec.unwrap_or_default().taints.unwrap_or_default();
    let text =
        |taint: &k8s_openapi::api::core::v1::Taint| format!("{}:{}", taint.key, taint.effect);
    taints.iter().map(text).collect()
}

#[test]
fn a_silent_node_loses_its_endpoints_at_once_and_its_pods_later() {
    let mut world = world();
    settle(&mut world, false);
    assert_eq!(taints(&world), [""; 0]);
    settle(&mut world, true);
    assert_eq!(
        taints(&world),
        [
            "node.kubernetes.io/unreachable:NoSchedule",
            "node.kubernetes.io/unreachable:NoExecute",
        ]
    );
    assert!(world.values("Pod").all(|pod| !is_ready(pod)));
    assert_eq!(world.names("Pod"), ["p"]);
    assert_eq!(world.again.map(|again| again.as_secs()), Some(300));
    world.pass(300);
    settle(&mut world, true);
    assert_eq!(world.names("Pod"), [""; 0]);
}

#[test]
fn a_node_that_comes_back_is_free_again() {
    let mut world = world();
    settle(&mut world, true);
    condition(&mut world, "False");
    settle(&mut world, false);
    assert_eq!(
        taints(&world),
        [
            "node.kubernetes.io/not-ready:NoSchedule",
            "node.kubernetes.io/not-ready:NoExecute",
        ]
    );
    condition(&mut world, "True");
    settle(&mut world, false);
    assert_eq!(taints(&world), [""; 0]);
    assert_eq!(world.names("Pod"), ["p"]);
}

#[test]
fn pods_of_a_node_that_is_gone_go() {
    let mut world = world();
    let pod: Pod = world.one("Pod", "p");
    let plan = eviction::reconcile(&pod, None, world.now);
    world.apply(plan);
    assert_eq!(world.names("Pod"), [""; 0]);
}

#[test]
fn selectors_and_affinities_choose_nodes() {
    let node: Node = serde_json::from_value(json!({
        "metadata": { "name": "n1", "labels": { "zone": "a", "cpus": "8" } },
    }))
    .unwrap();
    let expression = |key: &str, operator: &str, values: Value| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
    let field = |name: &str| json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [name] }] });
    for (selector, terms, expected) in [
        (json!({ "zone": "a" }), None, true),
        (json!({ "zone": "b" }), None, false),
        (json!({}), Some(vec![field("n1")]), true),
        (json!({}), Some(vec![field("n2")]), false),
        (
            json!({}),
            Some(vec![field("n2"), expression("zone", "In", json!(["a"]))]),
            true,
        ),
        (
            json!({}),
            Some(vec![expression("zone", "NotIn", json!(["a"]))]),
            false,
        ),
        (
            json!({}),
            Some(vec![expression("cpus", "Gt", json!(["7"]))]),
            true,
        ),
        (
            json!({}),
            Some(vec![expression("cpus", "Lt", json!(["7"]))]),
            false,
        ),
        (
            json!({}),
            Some(vec![expression("gpu", "DoesNotExist", json!([]))]),
            true,
        ),
        (json!({}), Some(vec![json!({})]), false),
        (json!({ "zone": "b" }), Some(vec![field("n1")]), false),
    ] {
        let mut spec = json!({ "containers": [], "nodeSelector": selector });
        if let Some(terms) = &terms {
            let name = "requiredDuringSchedulingIgnoredDuringExecution";
            spec["affinity"]["nodeAffinity"][name] = json!({ "nodeSelectorTerms": terms });
        }
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        assert_eq!(selects(&spec, &node), expected, "{selector} {terms:?}");
    }
}

#[test]
fn tolerations_are_for_taints() {
    let taint = serde_json::from_value(json!({ "key": "k", "value": "v", "effect": "NoExecute" }));
    let taint = taint.unwrap();
    for (toleration, expected) in [
        (json!({ "operator": "Exists" }), true),
        (json!({ "key": "k", "operator": "Exists" }), true),
        (
            json!({ "key": "k", "operator": "Exists", "effect": "NoSchedule" }),
            false,
        ),
        (json!({ "key": "k", "value": "v" }), true),
        (json!({ "key": "k", "value": "w" }), false),
        (json!({ "key": "l", "operator": "Exists" }), false),
        (json!({}), false),
    ] {
        let parsed: Toleration = serde_json::from_value(toleration.clone()).unwrap();
        assert_eq!(tolerates(&parsed, &taint), expected, "{toleration}");
    }
}
