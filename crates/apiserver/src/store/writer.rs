//! The thread that stages, commits and publishes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};

use parking_lot::RwLock;
use tokio::sync::oneshot;

use super::log::Log;
use super::transaction::undo;
use super::{Change, Objects, Transaction};
use crate::status::Status;
use crate::watch::{Event, Hub};

/// So many writes share one durable commit at most: enough that a burst is
/// limited by the processor and not by the disk, few enough that the first of
/// them is not kept waiting.
const BATCH: usize = 256;

/// A write on its way through the thread.
pub(crate) trait Job: Send {
    /// Stages; false if nothing of it is to be kept.
    fn stage(&mut self, transaction: &mut Transaction<'_>) -> bool;
    /// Answers: with its own outcome, or with why the commit failed.
    fn settle(self: Box<Self>, failure: Option<&Status>);
}

/// The only implementation of [`Job`]: a closure and where its answer goes.
pub(crate) struct Work<T, F> {
    run: Option<F>,
    outcome: Result<T, Status>,
    reply: oneshot::Sender<Result<T, Status>>,
}

impl<T, F> Work<T, F> {
    pub(crate) fn new(run: F, reply: oneshot::Sender<Result<T, Status>>) -> Work<T, F> {
        let outcome = Err(Status::internal("the write was not run"));
        Work {
            run: Some(run),
            outcome,
            reply,
        }
    }
}

impl<T, F> Job for Work<T, F>
where
    T: Send,
    F: FnOnce(&mut Transaction<'_>) -> Result<T, Status> + Send,
{
    fn stage(&mut self, transaction: &mut Transaction<'_>) -> bool {
        let Some(run) = self.run.take() else {
            return false;
        };
        // One bad object must not end all writing: its staged changes are undone
        // by the caller as for any refused write.
        self.outcome = catch_unwind(AssertUnwindSafe(|| run(transaction)))
            .unwrap_or_else(|_| Err(Status::internal("the write panicked; see the server's log")));
        self.outcome.is_ok() && !transaction.is_discarded()
    }

    fn settle(self: Box<Self>, failure: Option<&Status>) {
        let outcome = match failure {
            // What it answered may rest on a write of the same batch that is lost.
            Some(failure) => Err(failure.clone()),
            None => self.outcome,
        };
        // The client may have gone meanwhile; the write stands.
        let _ = self.reply.send(outcome);
    }
}

pub(crate) struct Writer {
    log: Log,
    working: Objects,
    committed: Arc<RwLock<Objects>>,
    hub: Arc<Hub>,
}

impl Writer {
    pub(crate) fn new(
        log: Log,
        working: Objects,
        committed: Arc<RwLock<Objects>>,
        hub: Arc<Hub>,
    ) -> Writer {
        Writer {
            log,
            working,
            committed,
            hub,
        }
    }

    /// Works until every [`super::Store`] is gone.
    pub(crate) fn run(mut self, inbox: &mpsc::Receiver<Box<dyn Job>>) {
        while let Ok(first) = inbox.recv() {
            let mut batch = vec![first];
            batch.extend(inbox.try_iter().take(BATCH - 1));
            self.commit(batch);
        }
    }

    fn commit(&mut self, mut batch: Vec<Box<dyn Job>>) {
        let mut changes = Vec::new();
        for job in &mut batch {
            let savepoint = changes.len();
            let mut transaction = Transaction::new(&mut self.working, &mut changes);
            if !job.stage(&mut transaction) {
                undo(&mut self.working, &mut changes, savepoint);
            }
        }
        let failure = self.persist(&mut changes).err();
        for job in batch {
            job.settle(failure.as_ref());
        }
    }

    fn persist(&mut self, changes: &mut Vec<Change>) -> Result<(), Status> {
        if changes.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.log.commit(changes, self.working.revision()) {
            tracing::error!(%error, writes = changes.len(), "cannot store changes");
            undo(&mut self.working, changes, 0);
            return Err(Status::internal(format!(
                "the change could not be stored ({error}); is the disk full?"
            )));
        }
        self.publish(changes);
        Ok(())
    }

    /// Readers and watchers see the batch at once: whoever reads revision R
    /// finds every event up to R in the hub.
    fn publish(&self, changes: &[Change]) {
        let mut committed = self.committed.write();
        for change in changes {
            let place = (change.object.namespace(), change.object.name());
            committed.replace(&change.resource, place, change.after());
        }
        committed.set_revision(self.working.revision());
        let events = changes.iter().map(Event::from);
        self.hub.publish(events.collect(), self.working.revision());
    }
}
