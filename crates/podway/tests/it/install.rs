//! `podway install` in folders of its own.

use std::fs;
use std::path::Path;

use crate::harness::{both, podway, text};

/// The arguments of an installation below a folder.
fn arguments(root: &Path, others: &[&str]) -> Vec<String> {
    let folder = |name: &str| root.join(name).display().to_string();
    let plugin = folder("plugin");
    fs::write(&plugin, "the plugin").expect("a file");
    let mut arguments = vec!["install".to_owned(), "--bin-dir".into(), folder("bin")];
    arguments.extend(["--conf-dir".into(), folder("net.d")]);
    if !others.contains(&"--uninstall") {
        arguments.extend(["--plugin".into(), plugin]);
    }
    arguments.extend(others.iter().map(ToString::to_string));
    arguments
}

#[test]
fn the_plugin_comes_and_goes() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path();
    fs::create_dir(root.join("net.d")).expect("a folder");
    fs::write(root.join("net.d/10-flannel.conflist"), "{}").expect("a file");
    let said = text(&podway(&arguments(root, &["--pod-cidr", "10.1.0.0/24"])));
    for words in [
        "net.d/10-flannel.conflist.podway-backup is the backup",
        "bin/podway-cni written",
        "net.d/10-podway.conflist written",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let said = text(&podway(&arguments(root, &["--uninstall", "--force"])));
    for words in [
        "net.d/10-flannel.conflist restored",
        "net.d/10-podway.conflist removed",
        "bin/podway-cni removed",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let said = text(&podway(&arguments(root, &["--uninstall", "--force"])));
    assert!(said.starts_with("nothing of Podway is in "), "{said}");
}

#[test]
fn wrong_input_changes_nothing() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path();
    for (others, words) in [
        (
            &["--pod-cidr", "10.1.0.0/24,10.2.0.0/24"][..],
            "podCIDRs: 10.2.0.0/24 is the second one of its family",
        ),
        (
            &["--pod-cidr", "fd00::/64", "--mtu", "1000"],
            "mtu: 1000 is not between 1280 (IPv6) and 65535",
        ),
        (&["--pod-cidr", "10.1.0.0/33"], "--pod-cidr"),
        (&["--mtu", "1400"], "--pod-cidr"),
        (&["--force"], "--uninstall"),
    ] {
        let output = podway(&arguments(root, others));
        assert_eq!(output.status.code(), Some(2), "{}", both(&output));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(words), "{words}: {said}");
        assert!(!root.join("bin").exists() && !root.join("net.d").exists());
    }
}
