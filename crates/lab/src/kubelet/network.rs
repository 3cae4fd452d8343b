//! Whether the pod network is ready: a CNI configuration is there.

use std::path::Path;

use nix::sys::inotify::AddWatchFlags;
use tokio::sync::watch;

use crate::Error;
use crate::changes::Changes;
use crate::cni::Network;

/// Tells `ready` whether the folder has a usable configuration, now and after
/// every change, until the future is dropped.
///
/// # Errors
/// When the folder cannot be watched.
pub(crate) async fn watch_network(folder: &Path, ready: &watch::Sender<bool>) -> Result<(), Error> {
    let failed = || Error::io(format!("watch folder {}", folder.display()));
    let what = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE;
    let changes = Changes::of(folder, what).map_err(failed())?;
    loop {
        // Looked at after the watch began, so that no change is missed.
        let found = Network::first_in(folder);
        if let Err(error) = &found {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "the CNI configuration cannot be used"
            );
        }
        ready.send_if_modified(|ready| {
            let before = std::mem::replace(ready, matches!(found, Ok(Some(_))));
            before != *ready
        });
        changes.next().await.map_err(failed())?;
    }
}
