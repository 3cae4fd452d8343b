//! What people do with kubectl, with each version that is installed.

mod apply;
mod create;
mod definitions;
mod scenario;
mod verbs;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::fixture::Server;

/// Long enough for any answer on a busy machine; a test that reaches it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// One kubectl, set up for one server.
pub(crate) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Kubectl {
    pub(crate) fn new(server: &Server, program: PathBuf) -> Kubectl {
        let name = program.file_name().unwrap();
        // Discovery is cached below HOME: not shared between versions.
        let home = server.dir.path().join("home").join(name);
        std::fs::create_dir_all(&home).unwrap();
        Kubectl {
            program,
            kubeconfig: server.kubeconfig(),
            home,
        }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn finish(&self, arguments: &[&str], input: &str) -> Output {
        // kubectl up to 1.31 takes for JSON what begins with a brace.
        let start = if input.starts_with('{') { "---\n" } else { "" };
        let input = format!("{start}{input}");
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs it, expects success and returns its output.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        self.run_with_input(arguments, "")
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> String {
        let output = self.finish(arguments, input);
        let (out, err) = texts(&output);
        let program = self.program.display();
        assert!(
            output.status.success(),
            "{program} {arguments:?}\n{out}{err}"
        );
        out
    }

    /// Runs it with `-o json`.
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = self.run(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap()
    }

    /// Runs it, expects failure and returns what it complains about.
    pub(crate) fn fail(&self, arguments: &[&str]) -> String {
        self.fail_with_input(arguments, "")
    }

    pub(crate) fn fail_with_input(&self, arguments: &[&str], input: &str) -> String {
        let output = self.finish(arguments, input);
        let (out, err) = texts(&output);
        let program = self.program.display();
        assert!(
            !output.status.success(),
            "{program} {arguments:?} succeeded\n{out}{err}"
        );
        err
    }

    pub(crate) fn apply(&self, manifest: &str) -> String {
        self.run_with_input(&["apply", "-f", "-"], manifest)
    }

    /// Waits for what another process does.
    pub(crate) fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(
                start.elapsed() < PATIENCE,
                "{}: {what}",
                self.program.display()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Every kubectl to test: `PODWAY_KUBECTL` (paths separated by `:`), or the one
/// on PATH with the versions beside it (`kubectl.1.27` ...): of those the oldest
/// and the newest, and all with `PODWAY_TEST_FULL`.
pub(crate) fn installed() -> Vec<PathBuf> {
    if let Some(paths) = std::env::var_os("PODWAY_KUBECTL") {
        return std::env::split_paths(&paths).collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join("kubectl"))
        .find(|file| file.is_file());
    let kubectl = found.expect(
        "no kubectl on PATH: `apt-get install kubernetes-client`, or name one with PODWAY_KUBECTL",
    );
    let versions = versions_beside(&kubectl.canonicalize().unwrap());
    if versions.is_empty() {
        vec![kubectl]
    } else {
        versions
    }
}

fn versions_beside(kubectl: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(kubectl.parent().unwrap()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut versions: Vec<PathBuf> = paths
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("kubectl.")
        })
        .collect();
    versions.sort();
    if std::env::var_os("PODWAY_TEST_FULL").is_none() && versions.len() > 2 {
        versions.drain(1..versions.len() - 1);
    }
    versions
}

pub(crate) fn newest() -> PathBuf {
    installed().pop().unwrap()
}

/// Runs a test with every version, each in a namespace of its own (the second
/// argument), all against one server.
fn with_each_version(test: impl Fn(&Kubectl, &str)) {
    let server = Server::start();
    for program in installed() {
        println!("with {}", program.display());
        let name = program.file_name().unwrap().to_string_lossy();
        let namespace = name.replace('.', "-");
        let kubectl = Kubectl::new(&server, program);
        kubectl.run(&["create", "namespace", &namespace]);
        kubectl.run(&[
            "config",
            "set-context",
            "--current",
            "--namespace",
            &namespace,
        ]);
        test(&kubectl, &namespace);
    }
}

#[test]
fn every_installed_version_works() {
    let server = Server::start();
    for program in installed() {
        println!("with {}", program.display());
        scenario::run(&Kubectl::new(&server, program));
    }
}
