//! The binary as a user runs it, and labs that are gone when a test ends.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub(crate) const PODWAY: &str = env!("CARGO_BIN_EXE_podway");

/// How long a condition may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the binary.
pub(crate) fn podway<S: AsRef<OsStr>>(arguments: &[S]) -> Output {
    Command::new(PODWAY)
        .args(arguments)
        .env_remove("KUBECONFIG")
        .output()
        .expect("the binary podway runs")
}

/// Standard output of a command that must succeed.
pub(crate) fn text(output: &Output) -> String {
    assert!(output.status.success(), "failed: {}", both(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Everything that a command said, for a message of failure.
pub(crate) fn both(output: &Output) -> String {
    format!(
        "{}\nstdout: {}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Asks until the answer is there.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(value) => return value,
            Err(state) => {
                assert!(begun.elapsed() < PATIENCE, "{what} did not happen: {state}");
                sleep(Duration::from_millis(50));
            }
        }
    }
}

/// A lab of one test, removed with it.
pub(crate) struct Lab {
    name: &'static str,
}

impl Lab {
    /// A lab of this name that is not up yet; what a killed test run left is
    /// removed.
    pub(crate) fn new(name: &'static str) -> Self {
        assert!(
            is_root(),
            "this test makes network namespaces: run the tests as root"
        );
        let cni = Path::new(PODWAY).with_file_name("podway-cni");
        assert!(
            cni.exists(),
            "{} is missing: run the tests of the whole workspace, or cargo build first",
            cni.display()
        );
        let lab = Self { name };
        lab.verb("down", &[]);
        lab
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        Path::new("/run/podway")
            .join(self.name)
            .join("control-plane/kubeconfig")
    }

    /// `podway lab VERB --name NAME ARGUMENTS`.
    pub(crate) fn verb(&self, verb: &str, arguments: &[&str]) -> Output {
        let mut all = vec!["lab", verb, "--name", self.name];
        all.extend(arguments);
        podway(&all)
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Output {
        Command::new("kubectl")
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            .output()
            .expect("kubectl runs: apt-get install kubernetes-client")
    }

    /// The processes of the lab by what they are: `agent node1`, `pause`.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        let mark = format!("PODWAY_LAB={}", self.name);
        let entries = fs::read_dir("/proc").expect("/proc is mounted");
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid: i32| {
                let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
                let ours = environment.split(|b| *b == 0).any(|v| v == mark.as_bytes());
                let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                ours.then_some((pid, command))
            })
            .collect()
    }

    /// The one process whose command line has all these words.
    pub(crate) fn process(&self, words: &[&str]) -> i32 {
        let all = self.processes();
        let found: Vec<_> = all
            .iter()
            .filter(|(_, command)| words.iter().all(|word| command.contains(word)))
            .collect();
        assert_eq!(found.len(), 1, "processes with {words:?} among {all:#?}");
        found[0].0
    }

    /// What of the lab is on this machine.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = self.processes().into_iter().map(|(_, c)| c).collect();
        let namespaces = fs::read_dir("/run/netns").into_iter().flatten().flatten();
        let prefix = format!("podway-{}-", self.name);
        left.extend(
            namespaces
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .filter(|name| name.starts_with(&prefix)),
        );
        let folder = Path::new("/run/podway").join(self.name);
        left.extend(folder.exists().then(|| folder.display().to_string()));
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let path = format!("/run/podway/{}/", self.name);
        left.extend(
            mounts
                .lines()
                .filter(|m| m.contains(&path))
                .map(str::to_owned),
        );
        left
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let down = self.verb("down", &[]);
        if !std::thread::panicking() {
            assert!(down.status.success(), "down: {}", both(&down));
            assert_eq!(self.leftovers(), Vec::<String>::new(), "left by down");
        }
    }
}

pub(crate) fn kill_9(pid: i32) {
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(killed.expect("kill runs").success(), "kill -9 {pid}");
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}
