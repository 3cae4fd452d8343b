//! kill -9 of anything, then `up`, or `down`.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podway_lab::{Outcome, ProcessStatus};

use crate::fixture::{Lab, eventually, is_ready, traces};

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - {name: a, image: podway/toolbox, args: [serve, --http, "80"]}
"#;

fn pid(process: ProcessStatus) -> i32 {
    match process {
        ProcessStatus::Running(pid) => pid,
        ProcessStatus::Stopped => panic!("it does not run"),
    }
}

fn kill_now(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    eventually("the end of a killed process", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
}

/// The processes of the pod's state file: its pause, then its container.
fn pod_processes(lab: &Lab) -> (i32, i32) {
    let pods = lab.status().directory.join("node1/pods");
    let folder = fs::read_dir(pods)
        .unwrap()
        .flatten()
        .next()
        .expect("a pod")
        .path();
    let state = fs::read_to_string(folder.join("state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let number = |pointer: &str| {
        let number = state.pointer(pointer).and_then(serde_json::Value::as_i64);
        i32::try_from(number.unwrap_or_else(|| panic!("{pointer} of {state:#}"))).unwrap()
    };
    (
        number("/sandbox/pause/pid"),
        number("/containers/a/process/pid"),
    )
}

#[test]
fn up_restarts_what_was_killed_and_leaves_the_pods_alone() {
    let lab = Lab::up(1);
    lab.apply(POD);
    let before = lab.pod("web", is_ready);
    let processes = pod_processes(&lab);
    for role in ["control plane", "agent", "kubelet"] {
        let status = lab.status();
        let victim = match role {
            "control plane" => status.control_plane,
            "agent" => status.nodes[0].agent,
            _ => status.nodes[0].kubelet,
        };
        kill_now(pid(victim));
        let steps = lab.start();
        let made: Vec<_> = steps
            .iter()
            .filter(|step| step.outcome == Outcome::Made)
            .collect();
        assert_eq!(made.len(), 1, "{role} was killed, up did {steps:#?}");
        let after = lab.pod("web", is_ready);
        assert_eq!(
            processes,
            pod_processes(&lab),
            "{role} was killed and the pod restarted"
        );
        let (before, after) = (before.status.as_ref(), after.status.as_ref());
        let containers = |status: Option<&k8s_openapi::api::core::v1::PodStatus>| {
            status.and_then(|status| status.container_statuses.clone())
        };
        assert_eq!(containers(before), containers(after), "{role}");
    }
    assert_eq!(lab.connect("web", "127.0.0.1:80", "tcp"), "OK");
}

#[test]
fn a_dead_pause_means_a_new_sandbox_and_the_old_address_is_free() {
    let lab = Lab::up(1);
    lab.apply(POD);
    lab.pod("web", is_ready);
    let (pause, container) = pod_processes(&lab);
    kill_now(pause);
    let restarted = |pod: &k8s_openapi::api::core::v1::Pod| {
        let statuses = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_deref());
        is_ready(pod) && statuses.is_some_and(|statuses| statuses[0].restart_count == 1)
    };
    lab.pod("web", restarted);
    let (new_pause, new_container) = pod_processes(&lab);
    assert_ne!((pause, container), (new_pause, new_container));
    let namespaces = fs::read_dir(lab.status().directory.join("node1/netns")).unwrap();
    assert_eq!(namespaces.count(), 1, "the old namespace is left over");
    let leases = lab.exec("web", &["podway", "toolbox", "connect", "127.0.0.1:80"]);
    assert!(leases.status.success(), "{leases:?}");
}

#[test]
fn down_finds_everything_whatever_was_killed_before() {
    for victims in [
        &["kubelet"][..],
        &["control plane"],
        &["agent"],
        &["pause"],
        &["all"],
    ] {
        let lab = Lab::up(1);
        lab.apply(POD);
        lab.pod("web", is_ready);
        let (pause, container) = pod_processes(&lab);
        let status = lab.status();
        let node = &status.nodes[0];
        let of = |victim: &str| match victim {
            "kubelet" => vec![pid(node.kubelet)],
            "control plane" => vec![pid(status.control_plane)],
            "agent" => vec![pid(node.agent)],
            "pause" => vec![pause],
            _ => vec![
                pid(node.kubelet),
                pid(node.agent),
                pid(status.control_plane),
                pause,
                container,
            ],
        };
        victims
            .iter()
            .flat_map(|victim| of(victim))
            .for_each(kill_now);
        lab.down();
        assert_eq!(
            traces(lab.name()),
            [].into(),
            "after the end of {victims:?}"
        );
    }
}

#[test]
fn down_removes_a_lab_whose_files_are_gone_or_damaged() {
    let lab = Lab::up(1);
    let directory = lab.status().directory;
    fs::remove_dir_all(&directory).unwrap();
    lab.down();
    assert_eq!(
        traces(lab.name()),
        [].into(),
        "after its folder was deleted"
    );

    let lab = Lab::up(1);
    fs::write(lab.status().directory.join("lab.json"), "{").unwrap();
    lab.down();
    assert_eq!(
        traces(lab.name()),
        [].into(),
        "after its record was damaged"
    );
}
