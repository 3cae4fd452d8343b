//! The configuration file while the agent runs: whatever becomes of it is told
//! to the sync thread.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use podway_kernel::file_watch::FolderWatch;
use tokio::sync::watch;

use crate::error::Error;
use crate::mailbox::Mailbox;
use crate::servers::{Facts, Settings, Shown};
use crate::source::{Loaded, Source};

/// So long nothing must happen before a file is read: whoever writes one may
/// write several times.
const QUIET: Duration = Duration::from_millis(100);

/// After a failure of the watch.
const AGAIN: Duration = Duration::from_secs(5);

/// Who is told of a new configuration.
pub(crate) struct Readers {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) servers: watch::Sender<Settings>,
}

/// Watches the file from now on, for as long as the process lives.
pub(crate) fn watch(source: Source, loaded: Loaded, readers: Readers) -> Result<(), Error> {
    let Some(file) = source.file.clone() else {
        return Ok(());
    };
    let failed = |source| Error::Start {
        what: "the watch of the configuration file",
        source,
    };
    let mut folders = FolderWatch::open().map_err(failed)?;
    follow(&mut folders, &file).map_err(failed)?;
    let thread = thread::Builder::new().name("podway-config".to_owned());
    let spawned = thread.spawn(move || {
        let mut known = Known {
            loaded,
            complaint: None,
        };
        loop {
            // Between the watch's beginning and now it may have changed.
            known.read(&source, &readers);
            if let Err(error) = folders.wait(QUIET) {
                tracing::error!(%error, "changes of the configuration file are not noticed");
                thread::sleep(AGAIN);
            }
            // It may lead elsewhere now.
            if let Err(error) = follow(&mut folders, &file) {
                tracing::warn!(%error, file = %file.display(), "configuration file not followed");
            }
        }
    });
    spawned.map(drop).map_err(failed)
}

/// Watches the folder of a file, and that of every link on the way to it.
fn follow(folders: &mut FolderWatch, file: &Path) -> std::io::Result<()> {
    for folder in folders_of(file) {
        folders.add(&folder)?;
    }
    Ok(())
}

/// How many links a path may lead through, as in the kernel.
const MOST_LINKS: usize = 40;

fn folders_of(file: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut at = file.to_owned();
    for _ in 0..MOST_LINKS {
        let folder = match at.parent() {
            Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
            Some(folder) => folder.to_owned(),
            None => break,
        };
        let target = fs::read_link(&at).map(|target| folder.join(target));
        folders.insert(folder);
        match target {
            Ok(target) => at = target,
            Err(_) => break,
        }
    }
    folders
}

/// What was last read.
struct Known {
    loaded: Loaded,
    complaint: Option<String>,
}

impl Known {
    fn read(&mut self, source: &Source, readers: &Readers) {
        let metrics = readers.facts.counters.metrics();
        match (source.read)() {
            Ok(loaded) => {
                if self.complaint.take().is_some() && loaded == self.loaded {
                    tracing::info!("configuration file is as it was");
                    readers.mailbox.configure(Ok(loaded.config.clone()));
                }
                if loaded == self.loaded {
                    return;
                }
                tracing::info!("configuration file has changed");
                metrics.reloads.add(&["read"], 1);
                *readers.facts.shown.write() = Shown::of(&loaded);
                readers.servers.send_replace(Settings::of(&loaded.config));
                readers.mailbox.configure(Ok(loaded.config.clone()));
                self.loaded = loaded;
            }
            Err(complaint) => {
                if self.complaint.as_ref() == Some(&complaint) {
                    return;
                }
                tracing::error!(
                    complaint,
                    "configuration file is wrong, the one before it stays in force"
                );
                metrics.reloads.add(&["refused"], 1);
                readers.mailbox.configure(Err(complaint.clone()));
                self.complaint = Some(complaint);
            }
        }
    }
}

#[cfg(test)]
mod tests;
