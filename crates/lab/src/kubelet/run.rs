//! Containers as processes that join their pod's sandbox.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use podway_kernel::spawn::Isolation;
use tokio::process::Child;

use crate::descriptor;
use crate::kubelet::container::ContainerPlan;
use crate::kubelet::record::Exit;
use crate::paths::PodPaths;
use crate::process::Process;

/// The namespaces of a pause process that containers join.
const SHARED: [&str; 3] = ["net", "ipc", "uts"];
/// The namespaces of a container that further processes in it join.
const CONTAINER: [&str; 4] = ["net", "ipc", "uts", "mnt"];

/// Starts a container's process in the sandbox of `pause`.
pub(crate) fn start(
    plan: &ContainerPlan,
    pause: Process,
    paths: &PodPaths,
    log: &Path,
) -> io::Result<Child> {
    let mut isolation = join(pause, &SHARED)?.own_sysfs().own_session();
    for (source, target) in [
        (paths.hosts(), Path::new("/etc/hosts")),
        (paths.resolv_conf(), Path::new("/etc/resolv.conf")),
    ] {
        // A machine without the file offers nothing to mount on.
        if target.exists() {
            isolation = isolation.bind(&source, target)?;
        }
    }
    let output = OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new(&plan.program);
    command
        .args(&plan.arguments)
        .env_clear()
        .envs(&plan.environment)
        .current_dir(&plan.folder)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    isolation.apply(&mut command);
    tokio::process::Command::from(command).spawn()
}

/// A command that will run beside a container's process: in its namespaces,
/// with its environment, in its folder.
pub(crate) fn beside(
    container: Process,
    words: &[impl AsRef<std::ffi::OsStr>],
) -> io::Result<(Command, Isolation)> {
    let [program, arguments @ ..] = words else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "no command was given",
        ));
    };
    let environment = environment(container)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment);
    Ok((command, join(container, &CONTAINER)?))
}

fn environment(process: Process) -> io::Result<BTreeMap<String, String>> {
    let bytes = std::fs::read(format!("/proc/{}/environ", process.pid))?;
    let variables = bytes
        .split(|&byte| byte == 0)
        .filter_map(|entry| {
            let entry = String::from_utf8_lossy(entry);
            let (name, value) = entry.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect();
    Ok(variables)
}

fn join(process: Process, kinds: &[&str]) -> io::Result<Isolation> {
    let isolation = Isolation::new().join_process(process.pid, kinds)?;
    // The namespaces are open now: if the process is still the one that was
    // meant, so are they.
    if process.is_running() {
        Ok(isolation)
    } else {
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "its process has ended",
        ))
    }
}

/// The process of a child that was just started, unless it has ended already.
pub(crate) fn process_of(child: &Child) -> Option<Process> {
    Process::running(i32::try_from(child.id()?).ok()?)
}

/// Waits for the end of a process that this kubelet started.
pub(crate) async fn ended(mut child: Child) -> Exit {
    match child.wait().await {
        Ok(status) => Exit::from(status),
        Err(_) => Exit::Unknown,
    }
}

/// Waits for the end of a process that an earlier kubelet started.
pub(crate) async fn adopted_ended(process: Process) -> Exit {
    if let Err(error) = descriptor::end_of(process).await {
        tracing::warn!(pid = process.pid, %error, "the end of a process cannot be awaited");
    }
    Exit::Unknown
}

/// Signals a container: its process and all in the process group that it leads.
pub(crate) fn signal(container: Process, signal: Signal) {
    let Ok(Some(held)) = container.hold() else {
        return;
    };
    let sent = match killpg(Pid::from_raw(container.pid), signal) {
        // A leader that left its own group is reached by itself.
        Err(Errno::ESRCH) => held.signal(signal).map(drop),
        result => result.map_err(io::Error::from),
    };
    if let Err(error) = sent {
        tracing::warn!(pid = container.pid, %error, "a container cannot be signalled");
    }
}

/// Opens a log for reading; `None` where the run has not said anything yet.
pub(crate) fn open_log(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }
}
