use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::{World, is_ready, template};
use crate::controllers::{deployment, replica_set};

fn world(replicas: u32, strategy: &Value) -> World {
    let mut world = World::new();
    let spec = json!({
        "replicas": replicas, "strategy": strategy, "template": template("one"),
        "selector": { "matchLabels": { "app": "web" } },
    });
    world.create("apps/v1", "Deployment", "web", &spec);
    world
}

/// One step of each controller; whether one of them wanted anything.
fn step(world: &mut World) -> bool {
    let (deployment, sets): (Deployment, Vec<ReplicaSet>) =
        (world.one("Deployment", "web"), world.all("ReplicaSet"));
    let plan = deployment::reconcile(&deployment::Observed {
        deployment: &deployment,
        sets: &sets,
        pods: &world.all::<Pod>("Pod"),
        names: &BTreeSet::from_iter(world.names("ReplicaSet")),
        now: world.now,
    });
    let mut busy = world.apply(plan);
    for name in world.names("ReplicaSet") {
        let set: ReplicaSet = world.one("ReplicaSet", &name);
        let uid = set.metadata.uid.clone();
        let mut pods: Vec<Pod> = world.all("Pod");
        pods.retain(|pod| {
            let owners = pod.metadata.owner_references.iter().flatten();
            owners
                .map(|owner| Some(owner.uid.clone()))
                .all(|owner| owner == uid)
        });
        let plan = replica_set::reconcile(&set, &pods, world.now);
        busy |= world.apply(plan);
    }
    busy
}

/// Until nobody wants anything; every pod becomes ready, the `order`-th first.
fn settle(world: &mut World, order: &mut impl FnMut(usize) -> usize, check: impl Fn(&World)) {
    for _ in 0..2000 {
        let busy = step(world);
        check(world);
        let waiting: Vec<String> = world
            .values("Pod")
            .filter(|pod| !is_ready(pod))
            .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        if !busy && waiting.is_empty() {
            return;
        }
        if !waiting.is_empty() && !busy {
            let chosen = &waiting[order(waiting.len()) % waiting.len()];
            world.becomes(chosen, "Running");
        }
    }
    panic!("it never comes to rest");
}

fn image(world: &mut World, image: &str) {
    world.edit("Deployment", "web", |deployment| {
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
    });
}

fn images(world: &World) -> Vec<String> {
    let pods = world.values("Pod");
    let image = |pod: &Value| {
        pod["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    pods.map(image).collect()
}

fn revision(world: &World) -> String {
    let deployment: Deployment = world.one("Deployment", "web");
    deployment.metadata.annotations.unwrap()["deployment.kubernetes.io/revision"].clone()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_rolling_update_keeps_its_promises(
        replicas in 0_u32..9, surge in 0_u32..4, unavailable in 0_u32..4,
        orders in prop::collection::vec(any::<usize>(), 8), scaled in prop::option::of(0_u32..9),
    ) {
        prop_assume!(surge + unavailable > 0);
        let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": {
            "maxSurge": surge, "maxUnavailable": unavailable,
        } });
        let mut world = world(replicas, &rolling);
        let mut turn = 0;
        let mut order = |_| { turn += 1; orders[turn % orders.len()] };
        settle(&mut world, &mut order, |_| {});
        prop_assert_eq!(images(&world).len(), replicas as usize);
        image(&mut world, "two");
        let (least, most) = (replicas.saturating_sub(unavailable), replicas + surge);
        let check = |world: &World| {
            let ready = world.values("Pod").filter(|pod| is_ready(pod)).count();
            let all = world.values("Pod").count();
            assert!(ready >= least as usize, "{ready} of {least} ready");
            assert!(all <= most as usize, "{all} pods, {most} allowed");
        };
        match scaled {
            None => settle(&mut world, &mut order, check),
            Some(scaled) => {
                for _ in 0..4 {
                    step(&mut world);
                }
                world.edit("Deployment", "web", |d| d["spec"]["replicas"] = scaled.into());
                settle(&mut world, &mut order, |_| {});
            }
        }
        let wanted = scaled.unwrap_or(replicas) as usize;
        prop_assert_eq!(images(&world), vec!["two"; wanted]);
        let deployment: Deployment = world.one("Deployment", "web");
        let status = deployment.status.unwrap();
        prop_assert_eq!(status.updated_replicas.unwrap_or(0), wanted as i32);
        prop_assert_eq!(status.available_replicas.unwrap_or(0), wanted as i32);
        prop_assert_eq!(status.unavailable_replicas, None);
    }
}

#[test]
fn going_back_takes_the_old_revision_again() {
    let mut world = world(2, &json!({}));
    let mut first = |_| 0;
    settle(&mut world, &mut first, |_| {});
    assert_eq!(revision(&world), "1");
    let sets = world.names("ReplicaSet");
    image(&mut world, "two");
    settle(&mut world, &mut first, |_| {});
    assert_eq!(revision(&world), "2");
    image(&mut world, "one");
    settle(&mut world, &mut first, |_| {});
    assert_eq!(revision(&world), "3");
    assert_eq!(world.names("ReplicaSet").len(), 2);
    let old: ReplicaSet = world.one("ReplicaSet", &sets[0]);
    assert_eq!(old.spec.unwrap().replicas, Some(2));
    let history = &old.metadata.annotations.unwrap()["deployment.kubernetes.io/revision-history"];
    assert_eq!(history, "1");
}

#[test]
fn old_revisions_are_kept_as_many_as_asked() {
    let mut world = world(1, &json!({}));
    world.edit("Deployment", "web", |d| {
        d["spec"]["revisionHistoryLimit"] = 2.into();
    });
    for version in ["two", "three", "four", "five"] {
        image(&mut world, version);
        settle(&mut world, &mut |_| 0, |_| {});
    }
    assert_eq!(
        world.names("ReplicaSet").len(),
        3,
        "the present one and two"
    );
}

#[test]
fn recreate_never_mixes_revisions() {
    let mut world = world(3, &json!({ "type": "Recreate" }));
    settle(&mut world, &mut |_| 0, |_| {});
    image(&mut world, "two");
    settle(&mut world, &mut |_| 0, |world| {
        let images = BTreeSet::from_iter(images(world));
        assert!(images.len() < 2, "{images:?}");
    });
    assert_eq!(images(&world), ["two"; 3]);
}

#[test]
fn a_paused_deployment_is_scaled_and_not_rolled() {
    let mut world = world(2, &json!({}));
    settle(&mut world, &mut |_| 0, |_| {});
    world.edit("Deployment", "web", |deployment| {
        deployment["spec"]["paused"] = true.into();
        deployment["spec"]["replicas"] = 4.into();
    });
    image(&mut world, "two");
    settle(&mut world, &mut |_| 0, |_| {});
    assert_eq!(images(&world), ["one"; 4]);
    world.edit("Deployment", "web", |d| d["spec"]["paused"] = false.into());
    settle(&mut world, &mut |_| 0, |_| {});
    assert_eq!(images(&world), ["two"; 4]);
}

#[test]
fn a_rollout_that_does_not_get_on_is_told() {
    let mut world = world(1, &json!({}));
    world.edit("Deployment", "web", |d| {
        d["spec"]["progressDeadlineSeconds"] = 60.into();
    });
    while step(&mut world) {}
    let reason = |world: &World| -> String {
        let deployment: Deployment = world.one("Deployment", "web");
        let conditions = deployment.status.unwrap().conditions.unwrap();
        let progressing = conditions
            .iter()
            .find(|c| c.type_ == "Progressing")
            .unwrap();
        progressing.reason.clone().unwrap()
    };
    assert_eq!(reason(&world), "NewReplicaSetCreated");
    world.pass(62);
    while step(&mut world) {}
    assert_eq!(reason(&world), "ProgressDeadlineExceeded");
    settle(&mut world, &mut |_| 0, |_| {});
    assert_eq!(reason(&world), "NewReplicaSetAvailable");
}
