use k8s_openapi::api::batch::v1::{Job, JobStatus};
use serde_json::{Value, json};

use super::world::World;
use crate::controllers::job;

fn world(spec: Value) -> World {
    let mut world = World::new();
    let mut spec = spec;
    spec["template"] = json!({ "spec": {
        "restartPolicy": "Never", "containers": [{ "name": "c", "image": "x" }],
    } });
    world.create("batch/v1", "Job", "j", &spec);
    world
}

fn settle(world: &mut World) {
    for _ in 0..100 {
        let job: Job = world.one("Job", "j");
        let plan = job::reconcile(&job, &world.all("Pod"), world.now);
        if !world.apply(plan) || world.names("Job").is_empty() {
            return;
        }
    }
    panic!("it never comes to rest");
}

fn status(world: &World) -> JobStatus {
    world.one::<Job>("Job", "j").status.unwrap()
}

/// Active, succeeded and failed.
fn counts(world: &World) -> (i32, i32, i32) {
    let status = status(world);
    let number = |count: Option<i32>| count.unwrap_or(0);
    (
        number(status.active),
        number(status.succeeded),
        number(status.failed),
    )
}

fn conditions(world: &World) -> Vec<String> {
    let conditions = status(world).conditions.unwrap_or_default();
    conditions
        .into_iter()
        .map(|condition| condition.type_)
        .collect()
}

/// The first pods that have not ended end so.
fn end(world: &mut World, number: usize, phase: &str) {
    let open = world.values("Pod").filter(|pod| {
        pod["metadata"]["deletionTimestamp"].is_null()
            && !matches!(
                pod["status"]["phase"].as_str(),
                Some("Failed" | "Succeeded")
            )
    });
    let names: Vec<String> = open
        .take(number)
        .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), number);
    names.iter().for_each(|name| world.becomes(name, phase));
}

#[test]
fn a_pod_is_counted_once_whoever_deletes_it() {
    let mut world = world(json!({ "parallelism": 2, "completions": 3 }));
    settle(&mut world);
    assert_eq!(counts(&world), (2, 0, 0));
    end(&mut world, 1, "Succeeded");
    // Deleted before anybody has counted it: the finalizer keeps it.
    let done = world
        .values("Pod")
        .find(|pod| pod["status"]["phase"] == "Succeeded")
        .unwrap();
    let done = done["metadata"]["name"].as_str().unwrap().to_owned();
    world.delete("Pod", &done);
    settle(&mut world);
    assert_eq!(counts(&world), (2, 1, 0));
    assert!(!world.names("Pod").contains(&done));
    end(&mut world, 2, "Succeeded");
    settle(&mut world);
    assert_eq!(counts(&world), (0, 3, 0));
    assert_eq!(conditions(&world), ["SuccessCriteriaMet", "Complete"]);
    assert!(
        world
            .values("Pod")
            .all(|pod| pod["metadata"].get("finalizers").is_none())
    );
}

#[test]
fn a_failed_pod_is_followed_after_a_pause_and_not_for_ever() {
    let mut world = world(json!({ "backoffLimit": 1 }));
    settle(&mut world);
    end(&mut world, 1, "Failed");
    settle(&mut world);
    assert_eq!(counts(&world), (0, 0, 1));
    assert_eq!(world.again.map(|again| again.as_secs()), Some(10));
    world.pass(10);
    settle(&mut world);
    assert_eq!(counts(&world), (1, 0, 1));
    end(&mut world, 1, "Failed");
    settle(&mut world);
    assert_eq!(counts(&world), (0, 0, 2));
    assert_eq!(conditions(&world), ["FailureTarget", "Failed"]);
}

#[test]
fn a_deadline_ends_what_runs() {
    let mut world = world(json!({ "activeDeadlineSeconds": 30, "ttlSecondsAfterFinished": 5 }));
    settle(&mut world);
    assert_eq!(world.again.map(|again| again.as_secs()), Some(30));
    world.pass(30);
    settle(&mut world);
    assert_eq!(conditions(&world), ["FailureTarget", "Failed"]);
    assert_eq!(
        status(&world).conditions.unwrap()[1].reason.as_deref(),
        Some("DeadlineExceeded")
    );
    world.pass(5);
    settle(&mut world);
    assert!(world.names("Job").is_empty(), "its time is over");
}

#[test]
fn each_index_succeeds_once() {
    let spec = json!({ "completionMode": "Indexed", "parallelism": 2, "completions": 3 });
    let mut world = world(spec);
    settle(&mut world);
    let indexes = |world: &World| -> Vec<String> {
        let starts = world.names("Pod").into_iter();
        starts
            .map(|name| name.rsplit_once('-').unwrap().0.to_owned())
            .collect()
    };
    assert_eq!(indexes(&world), ["j-0", "j-1"]);
    end(&mut world, 1, "Succeeded");
    settle(&mut world);
    assert_eq!(status(&world).completed_indexes.as_deref(), Some("0"));
    assert_eq!(indexes(&world), ["j-0", "j-1", "j-2"]);
    end(&mut world, 2, "Succeeded");
    settle(&mut world);
    assert_eq!(status(&world).completed_indexes.as_deref(), Some("0-2"));
    assert_eq!(conditions(&world), ["SuccessCriteriaMet", "Complete"]);
}

#[test]
fn a_suspended_job_has_no_pods() {
    let mut world = world(json!({ "suspend": true, "parallelism": 2 }));
    settle(&mut world);
    assert_eq!(counts(&world), (0, 0, 0));
    world.edit("Job", "j", |job| job["spec"]["suspend"] = false.into());
    settle(&mut world);
    assert_eq!(counts(&world).0, 2);
}
