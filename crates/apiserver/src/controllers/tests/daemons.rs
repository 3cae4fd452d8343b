use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use super::world::{World, is_ready, template};
use crate::controllers::daemon_set;

fn world(nodes: usize, strategy: &Value) -> World {
    let mut world = World::new();
    for index in 1..=nodes {
        world.create("v1", "Node", &format!("n{index}"), &json!({}));
    }
    let spec = json!({
        "template": template("one"), "updateStrategy": strategy,
        "selector": { "matchLabels": { "app": "web" } },
    });
    world.create("apps/v1", "DaemonSet", "d", &spec);
    world
}

fn step(world: &mut World) -> bool {
    let plan = daemon_set::reconcile(&daemon_set::Observed {
        set: &world.one::<DaemonSet>("DaemonSet", "d"),
        pods: &world.all("Pod"),
        revisions: &world.all("ControllerRevision"),
        nodes: &world.all::<Node>("Node"),
        now: world.now,
    });
    world.apply(plan)
}

fn node_of(pod: &Value) -> &str {
    let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/\
                 nodeSelectorTerms/0/matchFields/0/values/0";
    pod.pointer(terms).and_then(Value::as_str).unwrap()
}

/// Node and image of each pod.
fn pods(world: &World) -> Vec<String> {
    let image = |pod: &Value| {
        pod["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let mut pods: Vec<String> = world
        .values("Pod")
        .map(|pod| format!("{} {}", node_of(pod), image(pod)))
        .collect();
    pods.sort();
    pods
}

fn settle(world: &mut World, check: impl Fn(&World)) {
    for _ in 0..500 {
        let busy = step(world);
        check(world);
        let waiting = world.values("Pod").find(|pod| !is_ready(pod));
        let waiting = waiting.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned());
        match waiting {
            _ if busy => {}
            Some(name) => world.becomes(&name, "Running"),
            None => return,
        }
    }
    panic!("it never comes to rest: {:?}", pods(world));
}

#[test]
fn every_node_that_fits_has_one() {
    let mut world = world(3, &json!({}));
    settle(&mut world, |_| {});
    assert_eq!(pods(&world), ["n1 one", "n2 one", "n3 one"]);
    let taint = |effect: &str| json!([{ "key": "k", "effect": effect }]);
    world.edit("Node", "n1", |node| {
        node["spec"]["taints"] = taint("NoExecute");
    });
    world.edit("Node", "n2", |node| {
        node["spec"]["taints"] = taint("NoSchedule");
    });
    world.create("v1", "Node", "n4", &json!({ "unschedulable": true }));
    settle(&mut world, |_| {});
    assert_eq!(
        pods(&world),
        ["n2 one", "n3 one", "n4 one"],
        "no new one on n2, the old one stays"
    );
    world.delete("Node", "n3");
    settle(&mut world, |_| {});
    let status = world.one::<DaemonSet>("DaemonSet", "d").status.unwrap();
    let counts = (
        status.desired_number_scheduled,
        status.number_misscheduled,
        status.number_ready,
    );
    assert_eq!(
        counts,
        (1, 1, 1),
        "n4 wants one, n2 has one that it does not want"
    );
}

#[test]
fn an_update_leaves_no_more_nodes_without_than_allowed() {
    for (strategy, least, most) in [
        (json!({ "rollingUpdate": { "maxUnavailable": 2 } }), 3, 5),
        (
            json!({ "rollingUpdate": { "maxUnavailable": "20%" } }),
            4,
            5,
        ),
        (
            json!({ "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 2 } }),
            5,
            7,
        ),
    ] {
        let mut world = world(5, &strategy);
        settle(&mut world, |_| {});
        world.edit("DaemonSet", "d", |set| {
            set["spec"]["template"] = template("two");
        });
        settle(&mut world, |world| {
            let ready = world.values("Pod").filter(|pod| is_ready(pod)).count();
            let all = world.values("Pod").count();
            assert!(
                ready >= least && all <= most,
                "{strategy}: {ready} ready of {all}"
            );
        });
        let wanted: Vec<String> = (1..=5).map(|node| format!("n{node} two")).collect();
        assert_eq!(pods(&world), wanted, "{strategy}");
        let status = world.one::<DaemonSet>("DaemonSet", "d").status.unwrap();
        assert_eq!(status.updated_number_scheduled, Some(5), "{strategy}");
        assert_eq!(world.names("ControllerRevision").len(), 2, "{strategy}");
    }
}

#[test]
fn going_back_takes_the_old_revision_again() {
    let mut world = world(1, &json!({}));
    for image in ["one", "two", "one"] {
        world.edit("DaemonSet", "d", |set| {
            set["spec"]["template"] = template(image);
        });
        settle(&mut world, |_| {});
    }
    let mut revisions: Vec<i64> = world
        .values("ControllerRevision")
        .map(|revision| revision["revision"].as_i64().unwrap())
        .collect();
    revisions.sort_unstable();
    assert_eq!(revisions, [2, 3]);
}

#[test]
fn on_delete_waits_for_the_user() {
    let mut world = world(1, &json!({ "type": "OnDelete" }));
    settle(&mut world, |_| {});
    world.edit("DaemonSet", "d", |set| {
        set["spec"]["template"] = template("two");
    });
    settle(&mut world, |_| {});
    assert_eq!(pods(&world), ["n1 one"]);
    let pod = world.names("Pod").remove(0);
    world.delete("Pod", &pod);
    settle(&mut world, |_| {});
    assert_eq!(pods(&world), ["n1 two"]);
}
