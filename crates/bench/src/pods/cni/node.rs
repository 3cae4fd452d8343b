//! A node with nothing on it, its pods, and plugins that a runtime calls there.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use podway_kernel::netns::{self, NetNs};
use podway_kernel::route::{LinkChange, NewLink, Rtnetlink, VethPeer};
use serde_json::{Value, json};

/// Where Debian's package containernetworking-plugins puts its programs.
const DEBIANS: &str = "/usr/lib/cni";

/// A network namespace and a folder, both gone with the value.
pub(super) struct Node {
    namespace: NetNs,
    folder: PathBuf,
    pods: AtomicUsize,
}

/// A pod's namespace at a path, as a runtime makes it, gone with the value.
pub(super) struct Pod {
    path: PathBuf,
    container: String,
}

/// A program and the configuration that it is called with.
#[derive(Clone)]
pub(super) struct Plugin {
    program: PathBuf,
    config: Vec<u8>,
}

impl Node {
    pub(super) fn new() -> anyhow::Result<Self> {
        let folder = env::temp_dir().join(format!("podway-bench-pods-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let namespace = NetNs::anonymous().context("make a node (as root)")?;
        Ok(Self {
            namespace,
            folder,
            pods: AtomicUsize::new(0),
        })
    }

    pub(super) fn namespace(&self) -> &NetNs {
        &self.namespace
    }

    /// The plugin beside this program.
    pub(super) fn ours(&self) -> anyhow::Result<Plugin> {
        let program = env::current_exe()?.with_file_name(podway_cni::PROGRAM);
        let build = "build it: cargo build --release -p podway-cni";
        ensure!(
            program.exists(),
            "{} is missing: {build}",
            program.display()
        );
        let config = json!({
            "cniVersion": "1.0.0",
            "name": "ours",
            "type": podway_cni::PROGRAM,
            "mtu": 1450,
            "podCIDRs": ["10.77.0.0/16", "fd77::/64"],
            "dataDir": self.folder.join("ours"),
            "hostLocalDir": self.folder.join("none"),
        });
        Ok(Plugin::new(program, &config))
    }

    /// What flannel's configuration makes of them: a gateway, hairpin, no masquerade.
    pub(super) fn debians(&self) -> anyhow::Result<Plugin> {
        let program = Path::new(DEBIANS).join("bridge");
        let install = "apt-get install containernetworking-plugins";
        ensure!(
            program.exists(),
            "{} is missing: {install}",
            program.display()
        );
        let config = json!({
            "cniVersion": "1.0.0",
            "name": "theirs",
            "type": "bridge",
            "bridge": "cni0",
            "isDefaultGateway": true,
            "hairpinMode": true,
            "mtu": 1450,
            "ipam": {
                "type": "host-local",
                "dataDir": self.folder.join("theirs"),
                "ranges": [[{ "subnet": "10.78.0.0/16" }], [{ "subnet": "fd78::/64" }]],
            },
        });
        Ok(Plugin::new(program, &config))
    }

    /// A new one with `lo` up.
    pub(super) fn pod(&self) -> anyhow::Result<Pod> {
        let number = self.pods.fetch_add(1, Ordering::Relaxed);
        let container = format!("c{number}");
        let path = self.folder.join(&container);
        let namespace = NetNs::create_at(&path)?;
        let pod = Pod { path, container };
        let mut inside = Rtnetlink::open_in(&namespace)?;
        let lo = inside.link("lo")?.context("lo")?;
        inside.change_link(lo.index, &LinkChange::new().up())?;
        Ok(pod)
    }

    /// Returns when the kernel is done with what was deleted before, so that
    /// nobody's rest is in the next one's time: a deletion waits for all of them.
    pub(super) fn settle(&self) -> anyhow::Result<()> {
        let mut socket = Rtnetlink::open_in(&self.namespace)?;
        let pair = NewLink::veth("settle0", VethPeer::new("settle1"));
        let link = socket.create_link(&pair)?;
        Ok(socket.delete_link(link)?)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = netns::delete_at(&self.path);
    }
}

impl Plugin {
    fn new(program: PathBuf, config: &Value) -> Self {
        let config = config.to_string().into_bytes();
        Self { program, config }
    }

    pub(super) fn version(&self) -> anyhow::Result<()> {
        let child = self.start("VERSION", None)?;
        self.end(child)
    }

    /// Calls it for all of these at once.
    pub(super) fn call(&self, verb: &'static str, pods: &[Pod]) -> anyhow::Result<()> {
        let children: anyhow::Result<Vec<Child>> =
            pods.iter().map(|pod| self.start(verb, Some(pod))).collect();
        children?.into_iter().try_for_each(|child| self.end(child))
    }

    fn start(&self, verb: &'static str, pod: Option<&Pod>) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("CNI_COMMAND", verb)
            .env("CNI_PATH", DEBIANS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(pod) = pod {
            command
                .env("CNI_CONTAINERID", &pod.container)
                .env("CNI_NETNS", &pod.path)
                .env("CNI_IFNAME", "eth0");
        }
        let starting = || format!("start {}", self.program.display());
        let mut child = command.spawn().with_context(starting)?;
        // A program that does not read it says so by its end.
        let _ = child
            .stdin
            .take()
            .map(|mut input| input.write_all(&self.config));
        Ok(child)
    }

    /// Reads what it says until it ends, as runtimes do.
    fn end(&self, child: Child) -> anyhow::Result<()> {
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stdout);
        bail!("{} failed: {said}", self.program.display())
    }
}

/// The processor time of all child processes that have ended (proc(5): `cutime`
/// and `cstime`, in hundredths of a second).
pub(super) fn work_of_children() -> anyhow::Result<Duration> {
    let text = fs::read_to_string("/proc/self/stat").context("read /proc/self/stat")?;
    // The program's name, in parentheses, may hold anything.
    let fields = text.rsplit(')').next().unwrap_or_default();
    let hundredths = fields.split_whitespace().skip(13).take(2);
    let hundredths: u64 = hundredths.map(str::parse::<u64>).sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(10 * hundredths))
}
