use std::os::unix::fs::symlink;

use super::*;

/// A node's folders, gone with the value.
struct Node {
    root: PathBuf,
    installation: Installation,
}

const FLANNEL: &str = r#"{"name":"cbr0","plugins":[{"type":"flannel"}]}"#;

impl Node {
    fn new(name: &str) -> Self {
        let name = format!("podway-cni-install-{name}-{}", std::process::id());
        let root = std::env::temp_dir().join(name);
        fs::create_dir_all(root.join("net.d")).unwrap();
        fs::write(root.join("built"), "program 1").unwrap();
        let installation = Installation {
            program_dir: root.join("bin"),
            conf_dir: root.join("net.d"),
            keep_others: false,
        };
        Self { root, installation }
    }

    fn conf(&self, name: &str, text: &str) {
        fs::write(self.installation.conf_dir.join(name), text).unwrap();
    }

    fn install(&self, conflist: Option<&Conflist>) -> Result<Changes, Error> {
        self.installation
            .install(&self.root.join("built"), conflist)
    }

    /// Every file below both folders, by name, with what is in it.
    fn files(&self) -> Vec<(String, String)> {
        let mut files = Vec::new();
        for folder in ["bin", "net.d"] {
            for entry in fs::read_dir(self.root.join(folder)).into_iter().flatten() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&self.root).unwrap().display().to_string();
                files.push((name, fs::read_to_string(path).unwrap_or("a folder".into())));
            }
        }
        files.sort();
        files
    }

    fn names(&self) -> Vec<String> {
        self.files().into_iter().map(|(name, _)| name).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn conflist(mtu: u32) -> Conflist {
    Conflist {
        name: "podway".into(),
        mtu,
        pod_prefixes: vec!["10.244.1.0/24".parse().unwrap()],
        data_dir: "/run/podway/cni".into(),
        agent_socket: None,
        policy_wait_seconds: 10,
        fail_open: false,
        reserved: Vec::new(),
    }
}

#[test]
fn both_files_appear_and_foreign_configurations_become_backups() {
    let node = Node::new("both");
    node.conf("05-old.conf", r#"{"name":"old","type":"bridge"}"#);
    node.conf("10-flannel.conflist", FLANNEL);
    node.conf("99-loopback.conf", r#"{"type":"loopback"}"#);
    node.conf("README", "not a configuration");
    let before = node.files();
    let changes = node.install(Some(&conflist(1450))).unwrap();
    let ours = [
        node.root.join("bin/podway-cni"),
        node.root.join("net.d/10-podway.conflist"),
    ];
    assert_eq!(changes.written, ours);
    assert_eq!(changes.backed_up.len(), 2);
    let installed = [
        "bin/podway-cni",
        "net.d/05-old.conf.podway-backup",
        "net.d/10-flannel.conflist.podway-backup",
        "net.d/10-podway.conflist",
        "net.d/99-loopback.conf",
        "net.d/README",
    ];
    assert_eq!(node.names(), installed);
    let mode = fs::metadata(&ours[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert_eq!(
        fs::read_to_string(&ours[1]).unwrap(),
        conflist(1450).to_json()
    );

    // Once more, and with another program.
    assert_eq!(
        node.install(Some(&conflist(1450))).unwrap().backed_up.len(),
        0
    );
    fs::write(node.root.join("built"), "program 2").unwrap();
    node.install(None).unwrap();
    assert_eq!(node.names(), installed);
    assert_eq!(fs::read_to_string(&ours[0]).unwrap(), "program 2");

    let changes = node.installation.uninstall().unwrap();
    assert_eq!((changes.restored.len(), changes.removed.len()), (2, 2));
    assert_eq!(node.files(), before);
    assert_eq!(node.installation.uninstall().unwrap(), Changes::default());
}

#[test]
fn a_configuration_that_its_owner_wrote_anew_is_not_replaced_by_its_backup() {
    let node = Node::new("anew");
    node.conf("10-flannel.conflist", FLANNEL);
    node.install(None).unwrap();
    node.conf("10-flannel.conflist", "new");
    let changes = node.installation.uninstall().unwrap();
    assert_eq!(changes.restored, Vec::<PathBuf>::new());
    let only = ("net.d/10-flannel.conflist".to_owned(), "new".to_owned());
    assert_eq!(node.files(), [only], "and no backup stays");
}

#[test]
fn others_can_be_kept() {
    let node = Node::new("keep");
    node.conf("00-multus.conf", r#"{"type":"multus"}"#);
    let installation = Installation {
        keep_others: true,
        ..node.installation.clone()
    };
    let changes = installation.install(&node.root.join("built"), None);
    assert_eq!(changes.unwrap().backed_up, Vec::<PathBuf>::new());
    assert_eq!(node.names(), ["bin/podway-cni", "net.d/00-multus.conf"]);
}

/// Each step in turn cannot be taken: a folder is in its way.
#[test]
fn when_a_step_fails_everything_is_as_before() {
    for obstacle in [
        "bin/.podway-cni.new",
        "bin/podway-cni",
        "net.d/.10-podway.conflist.new",
        "net.d/10-flannel.conflist.podway-backup",
        "net.d/10-podway.conflist",
    ] {
        let node = Node::new(&obstacle.replace('/', "-"));
        node.conf("05-old.conf", "{}");
        node.conf("10-flannel.conflist", FLANNEL);
        // Not empty, so that nothing can be renamed to it.
        fs::create_dir_all(node.root.join(obstacle).join("x")).unwrap();
        let before = node.files();
        let error = node.install(Some(&conflist(1450))).unwrap_err();
        assert_eq!(error.code(), 5, "{obstacle}: {error}");
        assert_eq!(node.files(), before, "{obstacle}: {error}");
    }
}

#[test]
fn a_program_that_is_missing_changes_nothing() {
    let node = Node::new("missing");
    node.conf("10-flannel.conflist", FLANNEL);
    fs::remove_file(node.root.join("built")).unwrap();
    let error = node.install(None).unwrap_err();
    assert!(error.to_string().starts_with("cannot read "), "{error}");
    assert_eq!(node.names(), ["net.d/10-flannel.conflist"]);
}

#[test]
fn a_link_in_the_programs_place_is_replaced_and_not_followed() {
    let node = Node::new("link");
    fs::create_dir_all(node.root.join("bin")).unwrap();
    symlink(
        node.root.join("elsewhere"),
        node.root.join("bin/podway-cni"),
    )
    .unwrap();
    node.install(None).unwrap();
    assert!(!node.root.join("elsewhere").exists());
    assert_eq!(node.names(), ["bin/podway-cni"]);
}
