//! A lab of a test's own, and what the machine has besides.

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use podway_lab::{LabName, Settings, Status, Step};
use podway_watch::manifest;

/// How long anything may take; a machine under load is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary `podway` of this build.
pub(crate) fn program() -> PathBuf {
    let tests = std::env::current_exe().expect("the test's own path");
    let program = tests
        .ancestors()
        .nth(2)
        .expect("target/debug/deps/it")
        .join("podway");
    for needed in [program.clone(), program.with_file_name("podway-cni")] {
        assert!(
            needed.exists(),
            "{} is missing: cargo build -p podway -p podway-cni",
            needed.display()
        );
    }
    program
}

/// Fails, rather than passing silently, where nothing can be tested.
pub(crate) fn require_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "these tests need root: they make namespaces"
    );
}

/// A lab that goes with this value.
pub(crate) struct Lab {
    pub(crate) settings: Settings,
}

impl Lab {
    /// A name and settings; nothing is started yet.
    pub(crate) fn planned(nodes: usize) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        require_root();
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("it-{}-{number}", std::process::id())
            .parse()
            .unwrap();
        let settings = Settings {
            nodes,
            ..Settings::new(name, program())
        };
        Self { settings }
    }

    /// A lab that is up.
    pub(crate) fn up(nodes: usize) -> Self {
        let lab = Self::planned(nodes);
        lab.start();
        lab
    }

    /// Starts or mends it and returns the steps.
    pub(crate) fn start(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        podway_lab::up(&self.settings, &mut |step| steps.push(step))
            .unwrap_or_else(|error| panic!("up: {}", chain(&error)));
        steps
    }

    pub(crate) fn down(&self) -> usize {
        podway_lab::down(self.name(), &mut |_| {})
            .unwrap_or_else(|error| panic!("down: {}", chain(&error)))
    }

    pub(crate) fn name(&self) -> &LabName {
        &self.settings.name
    }

    pub(crate) fn status(&self) -> Status {
        podway_lab::status(self.name()).unwrap_or_else(|error| panic!("status: {}", chain(&error)))
    }

    /// Applies manifests.
    pub(crate) fn apply(&self, text: &str) {
        let documents =
            manifest::parse("test.yaml", text).unwrap_or_else(|error| panic!("{error}"));
        podway_lab::apply(self.name(), &documents, &mut |_| {})
            .unwrap_or_else(|error| panic!("apply: {}", chain(&error)));
    }

    /// Runs `work` with a client of the lab's API server.
    pub(crate) fn with_client<T, F: Future<Output = T>>(
        &self,
        work: impl FnOnce(Client) -> F,
    ) -> T {
        let kubeconfig = self.status().kubeconfig;
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let client = podway_watch::client::connect(Some(&kubeconfig))
                .await
                .unwrap();
            work(client).await
        })
    }

    /// The pod of namespace `default`, once `condition` holds.
    pub(crate) fn pod(&self, name: &str, condition: impl Fn(&Pod) -> bool) -> Pod {
        self.with_client(|client| async move {
            let pods: Api<Pod> = Api::default_namespaced(client);
            let begun = Instant::now();
            loop {
                let pod = pods.get_opt(name).await.unwrap();
                match pod {
                    Some(pod) if condition(&pod) => return pod,
                    pod => assert!(begun.elapsed() < PATIENCE, "pod {name} is now {pod:#?}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    }

    /// Runs a command in a pod of namespace `default`.
    pub(crate) fn exec(&self, pod: &str, words: &[&str]) -> Output {
        let words: Vec<_> = words.iter().map(Into::into).collect();
        let command = podway_lab::exec(self.name(), "default", pod, None, &words);
        command
            .unwrap_or_else(|error| panic!("exec: {}", chain(&error)))
            .output()
            .unwrap()
    }

    /// The word that `toolbox connect` says in a pod.
    pub(crate) fn connect(&self, pod: &str, target: &str, protocol: &str) -> String {
        let output = self.exec(
            pod,
            &[
                "podway",
                "toolbox",
                "connect",
                target,
                "--protocol",
                protocol,
            ],
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = podway_lab::down(self.name(), &mut |_| {}) {
            eprintln!("lab {} is left over: {}", self.name(), chain(&error));
        }
    }
}

/// Condition Ready is True.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    let mut conditions = conditions.unwrap_or_default().iter();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// `status.podIPs`.
pub(crate) fn addresses(pod: &Pod) -> Vec<String> {
    let ips = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ips.clone());
    ips.unwrap_or_default()
        .into_iter()
        .map(|ip| ip.ip)
        .collect()
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// Everything on the machine that carries a lab's name: network namespaces,
/// mounts, files, processes by their environment; and the machine's own links.
pub(crate) fn traces(lab: &LabName) -> BTreeSet<String> {
    let text = lab.to_string();
    let mut found = BTreeSet::new();
    for folder in ["/run/netns", "/run/podway"] {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        found.extend(
            names
                .filter(|name| name.contains(&text))
                .map(|name| format!("{folder}/{name}")),
        );
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&text))
            .map(str::to_owned),
    );
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let mark = format!("PODWAY_LAB={text}");
        if environment
            .split(|&byte| byte == 0)
            .any(|line| line == mark.as_bytes())
        {
            found.insert(format!("process {}", entry.path().display()));
        }
    }
    found
}

/// The links and addresses of the machine's own namespace.
pub(crate) fn host_network() -> (String, String) {
    let links = fs::read_dir("/sys/class/net").unwrap().flatten();
    let links: BTreeSet<_> = links
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let routes = fs::read_to_string("/proc/net/fib_trie").unwrap();
    (format!("{links:?}"), routes)
}
