//! The lab from end to end, as its user meets it.

mod kills;
mod kubectl;

use std::process::Command;

use crate::harness::{Lab, PODWAY, both, text};

/// The demo's connections: pod to pod on one node and across nodes, cluster IP,
/// hairpin, node port from outside, allowed and denied, in both families, each
/// as `explain` says.
fn walk(lab: &Lab, arguments: &[&str]) {
    let said = text(&lab.verb("tour", arguments));
    assert!(
        said.contains("Every connection went as explained"),
        "{arguments:?}: {said}"
    );
    assert!(!said.contains("???"), "{arguments:?}: {said}");
    let families = ["IPv4", "IPv6"].map(|family| {
        (
            said.matches(&format!(" yes {family}")).count(),
            said.matches(&format!("  no {family}")).count(),
        )
    });
    assert_eq!(families, [(9, 3), (9, 3)], "{arguments:?}: {said}");
}

/// Twice, as people do.
#[test]
fn the_tour_goes_as_explained_twice() {
    let lab = Lab::new("e2e-tour");
    walk(&lab, &[]);
    walk(&lab, &[]);
}

/// Every proxy mode and every overlay that this kernel can do behaves the same.
#[test]
fn the_tour_goes_as_explained_in_every_mode() {
    for service in podway_dataplane::service::BACKENDS {
        match (service.probe)() {
            Ok(()) => walk(&Lab::new("e2e-mode"), &["--proxy-mode", service.name]),
            Err(error) => println!("NOT CHECKED: {}: {error}", service.name),
        }
    }
    walk(&Lab::new("e2e-mode"), &["--overlay", "host-gw"]);
}

#[test]
fn the_hosts_own_namespace_gets_nothing() {
    let interfaces = || {
        let output = Command::new("ip")
            .args(["-o", "addr"])
            .output()
            .expect("ip runs");
        let routes = Command::new("ip")
            .args(["route", "show", "table", "all"])
            .output();
        (text(&output), text(&routes.expect("ip runs")))
    };
    let lab = Lab::new("e2e-host");
    let before = interfaces();
    text(&lab.verb("up", &["--nodes", "2"]));
    assert_eq!(interfaces(), before);
}

#[test]
fn names_of_labs_are_checked() {
    let output = Command::new(PODWAY)
        .args(["lab", "up", "--name", "Not/A Name"])
        .output();
    let output = output.expect("podway runs");
    assert_eq!(output.status.code(), Some(2), "{}", both(&output));
    assert!(
        both(&output).contains("lower-case letters"),
        "{}",
        both(&output)
    );
}
