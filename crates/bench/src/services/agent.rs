//! An agent of our own: what it takes, and how soon the kernel holds what the
//! API server has told it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use podway_kernel::netns::NetNs;
use podway_kernel::nft::NftMonitor;
use tempfile::TempDir;

use super::api::Api;
use super::node;

/// Tables that tell of changes: ours, and those of the iptables programs.
const TABLES: [&str; 3] = ["podway-services", "nat", "filter"];

/// How long an agent may take for anything before the run is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// An agent in a network namespace of its own, and the API server that it knows.
pub(super) struct Agent {
    api: Api,
    process: Process,
    monitor: NftMonitor,
    epoll: Epoll,
    services: u32,
    told: u32,
    _namespace: NetNs,
    _folder: TempDir,
}

/// A process that ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody else to tell.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process holds in memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    pub(super) now: u64,
    pub(super) most: u64,
}

impl Agent {
    /// Starts one, and waits until it has nothing to do any more.
    pub(super) fn start(mode: &str, services: u32) -> anyhow::Result<Self> {
        let namespace = node::namespace()?;
        let folder = tempfile::Builder::new().prefix("podway-bench-").tempdir()?;
        let api = namespace.run(|| Api::serve(services))??;
        let config = configure(folder.path(), mode, &api)?;
        let log = fs::File::create(folder.path().join("log"))?;
        let monitor = namespace.run(|| NftMonitor::open(&TABLES, &[]))??;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&monitor, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["agent", "--config"]).arg(config);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let process = Process(namespace.run(|| command.spawn())??);
        let mut agent = Self {
            api,
            process,
            monitor,
            epoll,
            services,
            told: 0,
            _namespace: namespace,
            _folder: folder,
        };
        agent.settle().with_context(|| agent.last_words())?;
        Ok(agent)
    }

    /// Waits until it watches, has written, and uses the CPU no longer.
    fn settle(&mut self) -> anyhow::Result<()> {
        const QUIET: Duration = Duration::from_millis(700);
        let begin = Instant::now();
        let (mut used, mut since) = (0, Instant::now());
        loop {
            ensure!(
                begin.elapsed() < PATIENCE,
                "the agent does not come to rest"
            );
            if let Some(status) = self.process.0.try_wait()? {
                bail!("the agent ended: {status}");
            }
            let now = cpu_ticks(self.process.0.id())?;
            if now != used || !self.api.is_watched() {
                (used, since) = (now, Instant::now());
            } else if since.elapsed() > QUIET {
                self.monitor.changes()?;
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self._folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        format!("the agent's log ends: {}", lines.join(" | "))
    }

    pub(super) fn memory(&self) -> anyhow::Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.0.id()))?;
        let field = |name: &str| {
            let mut lines = status.lines().filter_map(|line| line.strip_prefix(name));
            let words = lines.next().and_then(|line| line.split_whitespace().next());
            let kilobytes: Option<u64> = words.and_then(|number| number.parse().ok());
            kilobytes
                .map(|number| number * 1024)
                .context("/proc/PID/status")
        };
        Ok(Memory {
            now: field("VmRSS:")?,
            most: field("VmHWM:")?,
        })
    }

    /// Changes an endpoint of one service; the time from the event's first byte
    /// to the kernel's notification of the change.
    pub(super) fn change(&mut self) -> anyhow::Result<Duration> {
        self.monitor.changes()?;
        self.told += 1;
        // A stride that is prime to the sizes visits services far from each other.
        let number = (self.told.wrapping_mul(7_919)) % self.services;
        let endpoint = 1 + (self.told / self.services + self.told) % 6;
        let begin = Instant::now();
        self.api.tell(number, endpoint, 1 + self.told)?;
        loop {
            let left = PATIENCE.checked_sub(begin.elapsed());
            let Some(left) = left else {
                bail!(
                    "no change of the kernel after {PATIENCE:?}: {}",
                    self.last_words()
                )
            };
            let wait = EpollTimeout::try_from(left).unwrap_or(EpollTimeout::NONE);
            self.epoll.wait(&mut [EpollEvent::empty()], wait)?;
            let taken = begin.elapsed();
            if !self.monitor.changes()?.is_empty() {
                return Ok(taken);
            }
        }
    }
}

/// The agent's configuration: services, and policies of which there are none.
fn configure(folder: &Path, mode: &str, api: &Api) -> anyhow::Result<std::path::PathBuf> {
    let kubeconfig = folder.join("kubeconfig");
    fs::write(
        &kubeconfig,
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: bench\n\
             clusters: [{{name: bench, cluster: {{server: \"http://{}\"}}}}]\n\
             contexts: [{{name: bench, context: {{cluster: bench, user: bench}}}}]\n\
             users: [{{name: bench, user: {{}}}}]\n",
            api.address
        ),
    )?;
    let config = folder.join("agent.yaml");
    let text = format!(
        "apiVersion: podway.dev/v1alpha1\nkind: PodwayConfiguration\nnodeName: node1\n\
         kubeconfig: {}\nstateDir: {}\nservices: {{mode: {mode}}}\npods: {{enabled: false}}\n\
         overlay: {{enabled: false}}\nobservability: {{enabled: false}}\n",
        kubeconfig.display(),
        folder.display()
    );
    fs::write(&config, text)?;
    Ok(config)
}

/// User and system time of a process, in ticks.
fn cpu_ticks(pid: u32) -> anyhow::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    Ok(fields.skip(11).take(2).flat_map(str::parse::<u64>).sum())
}
