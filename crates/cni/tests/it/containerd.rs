//! Debian's containerd, with containers of busybox, calls the plugin.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::node::{Node, OURS};

/// Runs in namespaces of its own for mounts and processes, so that nothing of
/// the machine's containerd is touched and everything ends with the test. `ctr`
/// looks for plugins and configurations where it always does.
const SCRIPT: &str = r#"
set -eu
cd "$1"
for folder in /etc/cni/net.d /opt/cni/bin; do
  mkdir -p $folder
  mount --bind "$(basename $folder)" $folder
done
containerd --config config.toml >containerd.log 2>&1 &
ctr() { command ctr --address "$PWD/containerd.sock" --namespace podway-test "$@"; }
until ctr version >/dev/null 2>&1; do kill -0 $!; sleep 0.05; done

run() { id=$1; shift; ctr run --rm --cni --rootfs "$PWD/rootfs" "$id" "$@"; }
run c1 /bin/sleep 1000 &
c1=$!
until ctr task exec --exec-id e1 c1 /bin/true >/dev/null 2>&1; do kill -0 $c1; sleep 0.05; done
echo first: $(ctr task exec --exec-id e2 c1 /bin/ip -o addr show dev eth0)
run c2 /bin/ping -c 1 -w 5 10.66.0.2
run c2 /bin/ping -c 1 -w 5 fd66::2
ctr task kill --signal SIGKILL c1
wait $c1 || echo "c1 ended with $?"
echo done
"#;

/// Programs, and the packages that have them.
const NEEDED: [(&str, &str); 3] = [
    ("/usr/bin/containerd", "containerd"),
    ("/usr/sbin/runc", "runc"),
    ("/bin/busybox", "busybox-static"),
];

fn prepare(node: &Node) {
    for (program, package) in NEEDED {
        let install = "scripts/prepare test installs it";
        assert!(
            Path::new(program).exists(),
            "{program} of package {package} is missing: {install}"
        );
    }
    let folder = &node.folder;
    for name in [
        "rootfs/bin",
        "rootfs/proc",
        "rootfs/sys",
        "rootfs/dev",
        "rootfs/tmp",
    ] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    fs::copy("/bin/busybox", folder.join("rootfs/bin/busybox")).unwrap();
    for name in ["sh", "ip", "sleep", "ping", "true"] {
        symlink("busybox", folder.join("rootfs/bin").join(name)).unwrap();
    }
    fs::create_dir_all(folder.join("net.d")).unwrap();
    fs::create_dir_all(folder.join("bin")).unwrap();
    fs::copy(OURS, folder.join("bin/podway-cni")).unwrap();
    let mut plugin = node.config();
    let keys = plugin.as_object_mut().unwrap();
    keys.remove("cniVersion");
    keys.remove("name");
    plugin["podCIDRs"] = json!(["10.66.0.0/24", "fd66::/64"]);
    let list = json!({ "cniVersion": "1.0.0", "name": "pods", "plugins": [plugin] });
    fs::write(folder.join("net.d/10-podway.conflist"), list.to_string()).unwrap();
    let at = |name: &str| folder.join(name).display().to_string();
    let config = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\naddress = {:?}\n",
        at("root"),
        at("containers"),
        at("containerd.sock")
    );
    fs::write(folder.join("config.toml"), config).unwrap();
}

#[test]
fn containers_reach_each_other_and_leave_nothing() {
    let node = Node::new();
    prepare(&node);
    let run = || {
        Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", SCRIPT, "sh"])
            .arg(&node.folder)
            .output()
            .unwrap()
    };
    let output = node.namespace.run(run).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = fs::read_to_string(node.folder.join("containerd.log")).unwrap_or_default();
    let everything = format!("{said}\n{}\n{log}", String::from_utf8_lossy(&output.stderr));
    for words in [
        "inet 10.66.0.2/32",
        "inet6 fd66::2/128",
        "c1 ended with 137",
        "done",
    ] {
        assert!(said.contains(words), "{words}: {everything}");
    }
    assert_eq!(
        said.matches("1 packets received").count(),
        2,
        "{everything}"
    );
    assert_eq!(node.links(), ["lo"], "{everything}");
    assert_eq!(node.leased(), Vec::<String>::new(), "{everything}");
}
