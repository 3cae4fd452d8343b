//! The architecture's own rules: who depends on whom, and that the documents
//! name what exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each crate and the crates of ours that it may depend on. What is not listed
/// is forbidden (design section 2).
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("podway-model", &[]),
    ("podway-plan", &["model"]),
    ("podway-wire", &["model"]),
    ("podway-kernel", &[]),
    ("podway-dataplane", &["model", "plan", "wire", "kernel"]),
    ("podway-watch", &["model"]),
    ("podway-apiserver", &["model"]),
    ("podway-cni", &["model", "kernel"]),
    (
        "podway-agent",
        &[
            "model",
            "plan",
            "wire",
            "dataplane",
            "kernel",
            "watch",
            "cni",
        ],
    ),
    ("podway-controller", &["model", "plan", "watch"]),
    (
        "podway-lab",
        &[
            "model",
            "kernel",
            "apiserver",
            "agent",
            "controller",
            "watch",
            "cni",
        ],
    ),
    (
        "podway-bench",
        &[
            "model",
            "plan",
            "dataplane",
            "kernel",
            "watch",
            "cni",
            "agent",
        ],
    ),
    (
        "podway",
        &[
            "model",
            "plan",
            "dataplane",
            "kernel",
            "watch",
            "apiserver",
            "cni",
            "agent",
            "controller",
            "lab",
            "bench",
        ],
    ),
    ("podway-testkit", &["model", "plan", "kernel"]),
];

/// Libraries that one crate alone may use: the boundary that they stand for.
const RESERVED: &[(&str, &[&str])] = &[
    ("netlink-packet-route", &["podway-kernel"]),
    ("netlink-packet-core", &["podway-kernel"]),
    ("libc", &["podway-kernel"]),
    ("redb", &["podway-apiserver"]),
    ("axum", &["podway-apiserver", "podway-lab", "podway-agent"]),
    (
        "kube",
        &[
            "podway-watch",
            "podway-agent",
            "podway-controller",
            "podway-lab",
            "podway",
        ],
    ),
    (
        "k8s-openapi",
        &[
            "podway-watch",
            "podway-apiserver",
            "podway-agent",
            "podway-controller",
            "podway-lab",
            "podway",
        ],
    ),
    (
        "tokio",
        &[
            "podway-watch",
            "podway-apiserver",
            "podway-agent",
            "podway-controller",
            "podway-lab",
            "podway",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace's folder")
}

/// Direct dependencies of every crate of ours; dev-dependencies left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages.iter().map(package_dependencies).collect()
}

fn package_dependencies(package: &serde_json::Value) -> (String, BTreeSet<String>) {
    let text = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
    let wanted = package["dependencies"]
        .as_array()
        .expect("dependencies")
        .iter()
        .filter(|dependency| dependency["kind"] != "dev")
        .map(|dependency| text(&dependency["name"]))
        .collect();
    (text(&package["name"]), wanted)
}

#[test]
fn crates_depend_in_one_direction() {
    let found = dependencies();
    let mut wrong = Vec::new();
    for (name, wanted) in &found {
        let Some((_, allowed)) = MAY_DEPEND_ON.iter().find(|(krate, _)| krate == name) else {
            wrong.push(format!("{name} is not in the table of this test"));
            continue;
        };
        for ours in wanted.iter().filter(|w| w.starts_with("podway")) {
            if !allowed.iter().any(|a| *ours == format!("podway-{a}")) {
                wrong.push(format!("{name} must not depend on {ours}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(
        found.len(),
        MAY_DEPEND_ON.len(),
        "crates: {:?}",
        found.keys()
    );
}

#[test]
fn reserved_libraries_stay_where_they_are() {
    let mut wrong = Vec::new();
    for (name, wanted) in dependencies() {
        for (library, users) in RESERVED {
            if wanted.contains(*library) && !users.contains(&name.as_str()) {
                wrong.push(format!("{name} must not use {library}: only {users:?} may"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_is_forbidden_outside_kernel() {
    let missing: Vec<_> = MAY_DEPEND_ON
        .iter()
        .map(|(name, _)| name.strip_prefix("podway-").unwrap_or(name))
        .filter(|folder| *folder != "kernel")
        .flat_map(|folder| {
            ["src/lib.rs", "src/main.rs"].map(|file| root().join("crates").join(folder).join(file))
        })
        .filter(|path| path.exists())
        .filter(|path| !read(path).contains("#![forbid(unsafe_code)]"))
        .collect();
    assert!(
        missing.is_empty(),
        "without #![forbid(unsafe_code)]: {missing:#?}"
    );
}

#[test]
fn documents_name_paths_that_exist() {
    let mut missing = Vec::new();
    for document in documents() {
        let text = read(&document);
        let folder = document.parent().expect("a file has a folder");
        let named = text.split('`').skip(1).step_by(2).filter_map(path_of);
        let named = named.map(|path| root().join(path));
        let linked = text.split("](").skip(1).filter_map(link_of);
        let linked = linked.map(|path| folder.join(path));
        let gone = named.chain(linked).filter(|path| !path.exists());
        missing.extend(gone.map(|path| format!("{} names {}", document.display(), path.display())));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Every document of the repository.
fn documents() -> Vec<PathBuf> {
    let mut folders = vec![root().join("docs")];
    let mut found: Vec<PathBuf> = [
        "ARCHITECTURE.md",
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ]
    .map(|name| root().join(name))
    .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// The target of a Markdown link, where it is a file of this repository.
fn link_of(rest: &str) -> Option<String> {
    let target = rest.split([')', '#']).next()?;
    let ours = !target.is_empty() && !target.contains("://") && !target.contains(' ');
    ours.then(|| target.to_owned())
}

/// A word in back quotes that is a path of this repository.
fn path_of(word: &str) -> Option<String> {
    let path = word.split([':', '#']).next().unwrap_or(word);
    let ours = [
        "crates/",
        "docs/",
        "examples/",
        "scripts/",
        "bpf/",
        "bench/",
        "deploy/",
    ];
    let plain = !path.contains([' ', '<', '*', '{']);
    (plain && ours.iter().any(|prefix| path.starts_with(prefix))).then(|| path.to_owned())
}

#[test]
fn every_backend_has_its_page() {
    let services = podway_dataplane::service::BACKENDS.iter().map(|b| b.name);
    let overlays = podway_dataplane::overlay::BACKENDS.iter().map(|b| b.name);
    let missing: Vec<_> = services
        .chain(overlays)
        .filter(|name| !root().join(format!("docs/backends/{name}.md")).exists())
        .collect();
    assert!(missing.is_empty(), "no docs/backends page for {missing:?}");
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
