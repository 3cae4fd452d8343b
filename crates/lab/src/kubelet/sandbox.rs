//! Sandboxes: a pod's namespaces, its network and its pause process.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use k8s_openapi::api::core::v1::Pod;
use podway_kernel::netns::{self, NetNs};
use podway_kernel::route::{LinkChange, Rtnetlink};
use podway_kernel::spawn::Isolation;
use tokio::process::Child;
use uuid::Uuid;

use crate::Error;
use crate::belonging::Belonging;
use crate::cni::{self, Attached, Attachment, Network};
use crate::files::make_folder;
use crate::kubelet::etc;
use crate::kubelet::host::Host;
use crate::kubelet::record::{PodRecord, Sandbox};
use crate::kubelet::run;
use crate::kubelet::worker::chain;
use crate::paths::PodPaths;
use crate::process::Process;

/// Makes the sandbox of a pod: network namespace with `lo` up, CNI ADD, pause.
/// The record is written before each step that leaves something behind, so
/// that [`remove`] finds it after a crash or an error.
pub(crate) async fn create(host: &Host, pod: &Pod, record: &mut PodRecord) -> Result<Child, Error> {
    let paths = host.paths.pod(&record.uid);
    make_folder(paths.root())?;
    let host_network = pod
        .spec
        .as_ref()
        .is_some_and(|spec| spec.host_network == Some(true));
    let id = Uuid::new_v4().simple().to_string();
    if host_network {
        record.sandbox = Some(Sandbox {
            id,
            pause: None,
            attached: None,
        });
        record.addresses.clone_from(&host.addresses);
    } else {
        attach(host, &paths, id, record).await?;
    }
    write_etc(host, pod, record, &paths)?;
    let (pause, child) = start_pause(host, pod, record, &paths)?;
    if let Some(sandbox) = &mut record.sandbox {
        sandbox.pause = Some(pause);
    }
    record.write(&paths)?;
    Ok(child)
}

/// Makes the network namespace and attaches it to the pod network.
async fn attach(
    host: &Host,
    paths: &PodPaths,
    id: String,
    record: &mut PodRecord,
) -> Result<(), Error> {
    let configs = host.paths.network_configs();
    let network = Network::first_in(&configs)?.ok_or(Error::NoNetwork { folder: configs })?;
    let attachment = Attachment {
        container: id.clone(),
        namespace: paths.namespace().to_owned(),
        args: arguments(record, &id),
    };
    let begun = Attached {
        network: network.clone(),
        attachment: attachment.clone(),
        result: None,
    };
    record.sandbox = Some(Sandbox {
        id,
        pause: None,
        attached: Some(begun),
    });
    record.write(paths)?;
    make_folder(&host.paths.namespaces())?;
    let namespace = NetNs::create_at(paths.namespace())?;
    let mut links = Rtnetlink::open_in(&namespace)?;
    if let Some(loopback) = links.link("lo")? {
        links.change_link(loopback.index, &LinkChange::new().up())?;
    }
    let attached = cni::add(network, attachment, &host.plugin_folders()).await?;
    record.addresses = attached.addresses();
    if let Some(sandbox) = &mut record.sandbox {
        sandbox.attached = Some(attached);
    }
    record.write(paths)
}

/// `CNI_ARGS` as every Kubernetes runtime gives them.
fn arguments(record: &PodRecord, id: &str) -> String {
    format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={id};K8S_POD_UID={}",
        record.namespace, record.name, record.uid,
    )
}

fn write_etc(host: &Host, pod: &Pod, record: &PodRecord, paths: &PodPaths) -> Result<(), Error> {
    let write = |path: &Path, text: String| {
        fs::write(path, text).map_err(Error::io(format!("write {}", path.display())))
    };
    let hostname = etc::hostname(pod, &host.node);
    write(
        &paths.hosts(),
        etc::hosts(pod, &hostname, &record.addresses),
    )?;
    // A machine without the file has no name servers to hand on.
    let machine = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    write(&paths.resolv_conf(), etc::resolv_conf(pod, &machine))
}

fn start_pause(
    host: &Host,
    pod: &Pod,
    record: &PodRecord,
    paths: &PodPaths,
) -> Result<(Process, Child), Error> {
    let failed = || {
        Error::io(format!(
            "start the pause process of pod {}/{}",
            record.namespace, record.name
        ))
    };
    let attached = record
        .sandbox
        .as_ref()
        .is_some_and(|sandbox| sandbox.attached.is_some());
    let mut isolation = Isolation::new()
        .own_ipc()
        .hostname(&etc::hostname(pod, &host.node))
        .map_err(|error| failed()(error.into()))?
        .own_session();
    if attached {
        let namespace = File::open(paths.namespace()).map_err(failed())?;
        isolation = isolation.join(namespace);
    }
    let log = File::create(paths.root().join("pause.log")).map_err(failed())?;
    let mut command = Command::new(&host.program);
    command
        .args(["toolbox", "pause"])
        .env_clear()
        .envs(host.marks(&record.uid))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    isolation.apply(&mut command);
    let child = tokio::process::Command::from(command)
        .spawn()
        .map_err(failed())?;
    let pause = run::process_of(&child);
    Ok((
        pause.ok_or_else(|| failed()(io::Error::other("it ended at once")))?,
        child,
    ))
}

/// Takes a sandbox down: every process in it, its attachment, its namespace,
/// its pause. What is already gone is no error, so that a second call finishes
/// what a first one could not.
pub(crate) async fn remove(host: &Host, record: &mut PodRecord) -> Result<(), Error> {
    let paths = host.paths.pod(&record.uid);
    let Some(sandbox) = &record.sandbox else {
        return Ok(());
    };
    end_processes(host, &record.uid, sandbox.pause).await?;
    if let Some(attached) = &sandbox.attached {
        let deleted = cni::delete(attached, &host.plugin_folders()).await;
        match deleted {
            // An ADD that failed has taken back what it did, or was told to: a
            // plugin that is not there must not keep the pod for ever.
            Err(error) if attached.result.is_none() => {
                tracing::warn!(
                    error = chain(&error),
                    "an attachment that never was is left"
                );
            }
            deleted => deleted?,
        }
    }
    netns::delete_at(paths.namespace())?;
    if let Some(pause) = sandbox.pause {
        pause.kill().map_err(Error::io("end a pause process"))?;
    }
    record.sandbox = None;
    record.write(&paths)
}

/// Ends every process of the pod but its pause: those in its network namespace,
/// whose id stays its own as long as the bind mount is there, and those that
/// carry its mark.
async fn end_processes(host: &Host, uid: &str, pause: Option<Process>) -> Result<(), Error> {
    let namespace = NetNs::open(host.paths.pod(uid).namespace()).ok();
    let belonging = Belonging {
        namespaces: namespace
            .and_then(|namespace| namespace.id().ok())
            .into_iter()
            .collect(),
        marks: vec![format!("{}={uid}", crate::marks::POD)],
        spared: pause.into_iter().map(|pause| pause.pid).collect(),
    };
    let failed = Error::io(format!("end the processes of pod {uid}"));
    let ended = tokio::task::spawn_blocking(move || belonging.end_all()).await;
    ended
        .map_err(io::Error::other)
        .flatten()
        .map(drop)
        .map_err(failed)
}
