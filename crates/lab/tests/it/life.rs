//! `up`, `down`, and both again.

use std::panic::{AssertUnwindSafe, catch_unwind};

use podway_lab::{Error, LabName, Outcome, Settings};

use crate::fixture::{Lab, chain, host_network, program, require_root, traces};

#[test]
fn a_second_up_changes_nothing_and_down_leaves_nothing() {
    let host = host_network();
    let lab = Lab::planned(2);
    let made = lab.start();
    assert!(
        made.iter().any(|step| step.outcome == Outcome::Made),
        "{made:#?}"
    );
    let before = lab.status();
    let kept = lab.start();
    let changed: Vec<_> = kept
        .iter()
        .filter(|step| !matches!(step.outcome, Outcome::Kept | Outcome::Ready))
        .collect();
    assert!(changed.is_empty(), "a second up did {changed:#?}");
    let after = lab.status();
    assert_eq!(format!("{before:#?}"), format!("{after:#?}"));
    assert_eq!(host, host_network(), "the machine's own network is touched");
    assert!(lab.down() > 0);
    assert_eq!(traces(lab.name()), [].into(), "left over");
    assert_eq!(lab.down(), 0);
}

#[test]
fn labs_live_side_by_side_although_one_name_begins_with_the_other() {
    let first = Lab::up(1);
    let longer: LabName = format!("{}-b", first.name()).parse().unwrap();
    let mut second = Lab::planned(1);
    second.settings.name = longer;
    second.start();
    let before = traces(second.name());
    first.down();
    assert_eq!(
        traces(second.name()),
        before,
        "down took from the other lab"
    );
    let status = second.status();
    assert_eq!(status.nodes[0].ready, Some(true), "{status:#?}");
}

#[test]
fn a_lab_grows_and_its_new_node_is_ready() {
    let mut lab = Lab::up(1);
    lab.settings.nodes = 2;
    lab.start();
    let ready: Vec<_> = lab.status().nodes.iter().map(|node| node.ready).collect();
    assert_eq!(ready, [Some(true), Some(true)]);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    require_root();
    let name: LabName = format!("it-bad-{}", std::process::id()).parse().unwrap();
    let good = || Settings {
        nodes: 1,
        ..Settings::new(name.clone(), program())
    };
    let cases: [(&str, Settings, &str); 6] = [
        ("no nodes", Settings { nodes: 0, ..good() }, "1 to 150"),
        (
            "too many nodes",
            Settings {
                nodes: 500,
                ..good()
            },
            "1 to 150",
        ),
        (
            "a mode",
            Settings {
                proxy_mode: "magic".to_owned(),
                ..good()
            },
            "magic",
        ),
        (
            "an overlay",
            Settings {
                overlay: "geneve".to_owned(),
                ..good()
            },
            "geneve",
        ),
        (
            "no families",
            Settings {
                ip_families: Vec::new(),
                ..good()
            },
            "ipv4",
        ),
        (
            "no manifest",
            Settings {
                apply: vec!["/nowhere.yaml".into()],
                ..good()
            },
            "/nowhere.yaml",
        ),
    ];
    for (what, settings, word) in cases {
        let error = podway_lab::up(&settings, &mut |step| panic!("{what}: {step}")).unwrap_err();
        assert!(chain(&error).contains(word), "{what}: {}", chain(&error));
        let status = podway_lab::status(&name);
        assert!(
            matches!(status, Err(Error::NoLab(_))),
            "{what} left {status:#?}"
        );
    }
    assert_eq!(traces(&name), [].into(), "left over");
}

#[test]
fn an_up_that_ends_anywhere_is_continued_or_removed() {
    let whole = Lab::planned(1).start().len();
    for end in 0..whole {
        let lab = Lab::planned(1);
        let mut steps = 0;
        let interrupted = catch_unwind(AssertUnwindSafe(|| {
            podway_lab::up(&lab.settings, &mut |_| {
                assert!(steps < end, "interrupted as planned");
                steps += 1;
            })
        }));
        assert!(interrupted.is_err(), "step {end} of {whole} was the last");
        if end % 2 == 0 {
            lab.start();
            assert_eq!(lab.status().nodes[0].ready, Some(true), "after step {end}");
        }
        lab.down();
        assert_eq!(traces(lab.name()), [].into(), "left over after step {end}");
    }
}
