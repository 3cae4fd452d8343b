//! All objects of the cluster: in memory for reading, in a redb file for
//! surviving.
//!
//! One thread owns writing. It stages the writes that wait, in order, on a
//! working copy (the maps are copied, the objects shared), commits them to
//! the file in one durable transaction, and only then shows them to readers
//! and watchers and answers the writers. So an acknowledged write is on disk,
//! nobody ever reads what could still be lost, and a commit that fails (a full
//! disk) leaves the memory as it was.

mod log;
mod object;
mod objects;
mod transaction;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::oneshot;

pub use object::Object;
pub(crate) use object::{metadata_text, owner_references, take_managed_fields};
pub use objects::Objects;
pub use transaction::Transaction;

pub(crate) use transaction::Change;

use crate::status::Status;
use crate::watch::{Cursor, Hub};
use log::Log;
use writer::{Job, Work, Writer};

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened or created.
    #[error("cannot open the store {}: is another API server using it, or is it damaged?", path.display())]
    Open {
        /// The redb file.
        path: PathBuf,
        /// What redb said.
        #[source]
        source: Box<redb::Error>,
    },
    /// The file opens but does not hold what this version writes.
    #[error("the store {} cannot be read: {why}; move it away to start with an empty one", path.display())]
    Content {
        /// The redb file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The writing thread cannot be started.
    #[error("cannot start the store's writing thread")]
    Thread(#[source] std::io::Error),
}

/// The objects, their history and the thread that writes them. Cheap to clone;
/// the file is closed when the last clone has been dropped.
#[derive(Clone)]
pub struct Store {
    committed: Arc<RwLock<Objects>>,
    hub: Arc<Hub>,
    writing: Arc<Writing>,
}

/// The way to the writing thread, and its end.
struct Writing {
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        // Without a sender the thread ends, once it has done what waits. Whoever
        // opens the file next (a restart in the same process) finds it free.
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writing thread panicked");
        }
    }
}

impl Store {
    /// Opens (or creates) the store in `dir`, keeping `window` past events of
    /// each resource for watchers that come back.
    pub fn open(dir: &Path, window: usize) -> Result<Store, StoreError> {
        let (log, objects) = Log::open(&dir.join("objects.redb"))?;
        let hub = Arc::new(Hub::new(window, objects.revision()));
        let committed = Arc::new(RwLock::new(objects.clone()));
        let (jobs, inbox) = mpsc::channel();
        let writer = Writer::new(log, objects, Arc::clone(&committed), Arc::clone(&hub));
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(&inbox))
            .map_err(StoreError::Thread)?;
        let writing = Writing {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        Ok(Store {
            committed,
            hub,
            writing: Arc::new(writing),
        })
    }

    /// The committed objects. Hold the guard briefly: the writer waits for it.
    pub fn read(&self) -> RwLockReadGuard<'_, Objects> {
        self.committed.read()
    }

    /// Runs `work` on the newest state and makes its changes durable.
    ///
    /// All changes of `work` become visible together, or none: none if it
    /// returns an error, if it calls [`Transaction::discard`] (a dry run), or if
    /// the disk refuses, which is an error 500 that says so.
    pub async fn write<T, F>(&self, work: F) -> Result<T, Status>
    where
        T: Send + 'static,
        F: FnOnce(&mut Transaction<'_>) -> Result<T, Status> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let stopped = || Status::unavailable("the API server is shutting down");
        let jobs = self.writing.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(Box::new(Work::new(work, reply)))
            .map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Follows a resource (`pods`, `networkpolicies.networking.k8s.io`) from the
    /// events after revision `after` on.
    pub fn watch(&self, resource: &str, after: u64) -> Cursor {
        Hub::follow(&self.hub, resource, after)
    }

    /// The objects of a resource as they were at `revision`, if the history
    /// still reaches back that far; 410 otherwise.
    pub fn list_at(
        &self,
        resource: &str,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Vec<Arc<Object>>, Status> {
        let objects = self.read();
        if revision > objects.revision() {
            return Err(Status::too_large(revision, objects.revision()));
        }
        let later = self.hub.since(resource, revision)?;
        Ok(objects.rewound(resource, namespace, &later))
    }
}
