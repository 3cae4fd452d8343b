//! A node without anything on it, its pods, and calls of the plugin there.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use podway_kernel::netns::{self, NetNs};
use podway_kernel::route::Rtnetlink;
use serde_json::{Value, json};

/// A node: a network namespace and a folder, both gone with the value.
pub(crate) struct Node {
    pub(crate) namespace: NetNs,
    pub(crate) folder: PathBuf,
}

/// A pod: a namespace at a path, as a runtime makes it.
pub(crate) struct Pod {
    pub(crate) namespace: NetNs,
    pub(crate) container: String,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The plugin under test.
pub(crate) const OURS: &str = env!("CARGO_BIN_EXE_podway-cni");

/// Where Debian's package containernetworking-plugins puts its programs.
const DEBIANS: &str = "/usr/lib/cni";

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Node {
    pub(crate) fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("podway-cni-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let namespace = NetNs::anonymous().expect("tests of the CNI plugin need root");
        Self { namespace, folder }
    }

    /// A pod's namespace with `lo` up, before ADD.
    pub(crate) fn pod(&self, container: &str) -> Pod {
        let namespace = NetNs::create_at(self.folder.join(container)).unwrap();
        let mut socket = Rtnetlink::open_in(&namespace).unwrap();
        let lo = socket.link("lo").unwrap().unwrap();
        let up = podway_kernel::route::LinkChange::new().up();
        socket.change_link(lo.index, &up).unwrap();
        Pod {
            namespace,
            container: container.into(),
        }
    }

    /// The configuration that most tests use: dual stack, no agent.
    pub(crate) fn config(&self) -> Value {
        json!({
            "cniVersion": "1.1.0",
            "name": "pods",
            "type": "podway-cni",
            "mtu": 1450,
            "podCIDRs": ["10.244.1.0/24", "fd00:10:244:1::/64"],
            "dataDir": self.folder.join("state"),
        })
    }

    /// Calls the plugin in the node's namespace with these variables.
    pub(crate) fn call(&self, variables: &[(&str, &str)], input: &str) -> Call {
        let mut child = self.spawn(Path::new(OURS), variables);
        // A plugin that fails early closes its end.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Call::of(child.wait_with_output().unwrap())
    }

    fn spawn(&self, program: &Path, variables: &[(&str, &str)]) -> Child {
        let run = || {
            Command::new(program)
                .env_clear()
                .envs(variables.iter().copied())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        };
        self.namespace.run(run).unwrap()
    }

    pub(crate) fn add(&self, pod: &Pod, config: &Value) -> Call {
        self.command("ADD", pod, config)
    }

    pub(crate) fn del(&self, pod: &Pod, config: &Value) -> Call {
        self.command("DEL", pod, config)
    }

    pub(crate) fn command(&self, command: &str, pod: &Pod, config: &Value) -> Call {
        let mut child = self.start(command, pod);
        Self::configure(&mut child, config);
        Call::of(child.wait_with_output().unwrap())
    }

    /// Calls the program that the configuration's `type` names: ours, or one of
    /// Debian's.
    pub(crate) fn plugin(&self, command: &str, pod: &Pod, config: &Value) -> Call {
        let name = config["type"].as_str().unwrap();
        let mut program = Path::new(OURS).to_owned();
        if name != podway_cni::PROGRAM {
            program = Path::new(DEBIANS).join(name);
            let install = "apt-get install containernetworking-plugins (scripts/prepare test)";
            assert!(
                program.exists(),
                "{} is missing: {install}",
                program.display()
            );
        }
        let mut child = self.start_program(&program, command, pod);
        Self::configure(&mut child, config);
        Call::of(child.wait_with_output().unwrap())
    }

    /// Gives a plugin the configuration that it waits for.
    pub(crate) fn configure(child: &mut Child, config: &Value) {
        let mut input = child.stdin.take().unwrap();
        let _ = input.write_all(config.to_string().as_bytes());
    }

    /// Starts the plugin and returns while it waits for its configuration.
    pub(crate) fn start(&self, command: &str, pod: &Pod) -> Child {
        self.start_program(Path::new(OURS), command, pod)
    }

    fn start_program(&self, program: &Path, command: &str, pod: &Pod) -> Child {
        let netns = pod.namespace.path().display().to_string();
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=x;K8S_POD_NAME={0};K8S_POD_UID=u-{0}",
            pod.container
        );
        let variables = [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", &pod.container),
            ("CNI_NETNS", &netns),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", &args),
            ("CNI_PATH", DEBIANS),
            // For iptables.
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ];
        self.spawn(program, &variables)
    }

    /// The names of the node's interfaces, `lo` first.
    pub(crate) fn links(&self) -> Vec<String> {
        let mut socket = Rtnetlink::open_in(&self.namespace).unwrap();
        let links = socket.links().unwrap();
        links.into_iter().map(|link| link.name).collect()
    }

    /// The addresses that are leased, as the state says.
    pub(crate) fn leased(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.folder.join("state/pods")) else {
            return Vec::new();
        };
        let mut addresses = Vec::new();
        for entry in entries {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                let state: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
                let leases = state["leases"].as_array().unwrap();
                addresses.extend(leases.iter().map(|lease| lease["address"].to_string()));
            }
        }
        addresses
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.path().is_file() {
                let _ = netns::delete_at(&entry.path());
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Call {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().expect("ended by itself"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The result of a call that must have succeeded.
    pub(crate) fn result(&self) -> Value {
        assert_eq!(self.code, 0, "{self:#?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The error object of a call that must have failed.
    pub(crate) fn error(&self) -> Value {
        assert_ne!(self.code, 0, "{self:#?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Asserts that the call succeeded and said nothing.
    pub(crate) fn silent(&self) {
        assert_eq!((self.code, self.stdout.as_str()), (0, ""), "{self:#?}");
    }

    /// The addresses of a result, IPv4 first.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let result = self.result();
        let ips = result["ips"].as_array().unwrap();
        let text = |ip: &Value| ip["address"].as_str().unwrap().to_owned();
        ips.iter()
            .map(|ip| text(ip).split('/').next().unwrap().parse().unwrap())
            .collect()
    }
}

/// An agent that answers every request with `answer`, and the requests it got.
pub(crate) fn agent(socket: &Path, answer: &'static str) -> std::sync::mpsc::Receiver<Value> {
    let listener = UnixListener::bind(socket).unwrap();
    let (sender, requests) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            // Before the answer: who gets that may look for the request.
            if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                return;
            }
            writeln!(stream, "{answer}").unwrap();
        }
    });
    requests
}
