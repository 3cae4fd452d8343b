//! The lab from end to end, as its user meets it.

mod kills;
mod kubectl;

use std::process::Command;

use crate::harness::{Lab, PODWAY, both, text};

/// The demo's connections: pod to pod on one node and across nodes, cluster IP,
/// hairpin, node port from outside, allowed and denied, in both families, each
/// as `explain` says. Twice, as people do.
#[test]
fn the_tour_goes_as_explained_twice() {
    let lab = Lab::new("e2e-tour");
    for round in 1..=2 {
        let tour = lab.verb("tour", &[]);
        let said = text(&tour);
        assert!(
            said.contains("Every connection went as explained"),
            "round {round}: {said}"
        );
        assert!(!said.contains("???"), "round {round}: {said}");
        assert_eq!(
            said.matches(" yes IPv6").count(),
            said.matches(" yes IPv4").count(),
            "{said}"
        );
        assert_eq!(said.matches("  no IPv6").count(), 3, "{said}");
    }
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
