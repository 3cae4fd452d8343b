//! Which cluster is meant, and its state.

use std::path::PathBuf;

use anyhow::{Context, bail};
use podway_model::{ClusterState, ObjectKind};
use podway_watch::client::{self, Notice, WatchScope};

use crate::cli::ClusterArgs;

/// The kubeconfig: the one named, `$KUBECONFIG`, the only running lab's, the
/// user's own. `None` inside a pod, where the service account is used.
pub(crate) fn kubeconfig(args: &ClusterArgs) -> anyhow::Result<Option<PathBuf>> {
    if let Some(path) = &args.kubeconfig {
        return Ok(Some(path.clone()));
    }
    let named = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
    if let Some(path) = named {
        return Ok(Some(PathBuf::from(path)));
    }
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Ok(None);
    }
    let labs = podway_lab::running()?;
    if let [only] = labs.as_slice() {
        return Ok(Some(podway_lab::env(only)?.kubeconfig));
    }
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
    if let Some(path) = home.filter(|path| path.exists()) {
        return Ok(Some(path));
    }
    if labs.is_empty() {
        bail!("no cluster: start a lab with `podway lab up`, or name one with --kubeconfig");
    }
    let names: Vec<String> = labs.iter().map(ToString::to_string).collect();
    bail!(
        "several labs run ({}): choose one with eval \"$(podway lab env --name {})\"",
        names.join(", "),
        names[0]
    )
}

/// A client of that cluster.
pub(crate) async fn connect(args: &ClusterArgs) -> anyhow::Result<kube::Client> {
    let path = kubeconfig(args)?;
    Ok(client::connect(path.as_deref()).await?)
}

/// Runs asynchronous work of a command that ends.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?
        .block_on(work)
}

/// The state of the cluster as of now: every kind listed once.
pub(crate) async fn state(args: &ClusterArgs) -> anyhow::Result<ClusterState> {
    let client = connect(args).await?;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let watching = client::watch(client, WatchScope::everything(), move |notice| {
        // The receiver is gone once the state is complete.
        let _ = tell.send(notice);
    });
    let mut state = ClusterState::default();
    let complete = async {
        while let Some(notice) = told.recv().await {
            match notice {
                Notice::Change(change) => {
                    state.apply(change);
                }
                Notice::Synced => return Ok(()),
                Notice::Lost(kind, cause) => return Err(lost(kind, &cause)),
                Notice::Faults(..) | Notice::Regained(_) => {}
            }
        }
        bail!("the watch of the cluster ended before its objects were listed")
    };
    tokio::select! {
        outcome = complete => outcome?,
        () = watching => bail!("the watch of the cluster ended before its objects were listed"),
    }
    Ok(state)
}

fn lost(kind: ObjectKind, cause: &str) -> anyhow::Error {
    anyhow::anyhow!("cannot list {kind:?} objects: {cause}")
}
