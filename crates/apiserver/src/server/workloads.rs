//! The hands of the controllers of workloads and nodes: watches what they decide
//! by, brings one object after the other to what they say, and does what they
//! leave for later.

mod events;
mod heartbeats;
mod observe;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{stopped, writes};
use crate::controllers::{Plan, Write};
use crate::rest::Registry;
use crate::status::Status;
use crate::watch::Cursor;
use heartbeats::Heartbeats;

/// So many objects are worked on at once: writes that wait together share one
/// durable commit.
const AT_ONCE: usize = 64;
/// After a refused write: this pause, doubled with each up to the other.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(64);

/// Which controller an object belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Deployment,
    ReplicaSet,
    DaemonSet,
    Job,
    /// Its heartbeats and taints.
    Node,
    /// Its life on a node that is not ready, and what an owner that is gone left.
    Pod,
}

/// One object that a controller looks after.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    role: Role,
    namespace: String,
    name: String,
}

/// What is to be done when.
#[derive(Default)]
struct Agenda {
    now: BTreeSet<Key>,
    later: BTreeMap<Key, Instant>,
    /// How often in a row writes for an object were refused.
    refused: BTreeMap<Key, u32>,
}

pub(super) async fn run(registry: Registry, mut stop: watch::Receiver<bool>) {
    let mut heartbeats = Heartbeats::default();
    loop {
        let followed = tokio::select! {
            followed = follow(&registry, &mut heartbeats) => followed,
            () = stopped(&mut stop) => return,
        };
        // Too far behind for the history (410): start from the state again.
        if let Err(status) = followed {
            tracing::info!(%status, "the workload controllers start over");
        }
    }
}

async fn follow(registry: &Registry, heartbeats: &mut Heartbeats) -> Result<(), Status> {
    let mut agenda = Agenda::default();
    let mut cursors: Vec<Cursor> = {
        let objects = registry.store().read();
        agenda.now = observe::all(&objects);
        heartbeats.note_all(&objects, Instant::now());
        let watched = observe::WATCHED.iter();
        let revision = objects.revision();
        watched
            .map(|resource| registry.store().watch(resource, revision))
            .collect()
    };
    loop {
        work(registry, heartbeats, &mut agenda).await;
        let next = agenda.later.values().min().copied();
        tokio::select! {
            () = super::any_moved(&mut cursors) => {}
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
        for cursor in &mut cursors {
            let news = cursor.look()?;
            let objects = registry.store().read();
            for event in &news.events {
                heartbeats.note(&event.object, Instant::now());
                observe::touched(event, &objects, &mut agenda.now);
            }
        }
        agenda.wake();
    }
}

impl Agenda {
    /// Takes over what has come due.
    fn wake(&mut self) {
        let now = Instant::now();
        let due = self.later.extract_if(.., |_, time| *time <= now);
        self.now.extend(due.map(|(key, _)| key));
    }

    fn settle(&mut self, key: Key, outcome: Result<Option<Duration>, Status>) {
        let wait = match outcome {
            Ok(again) => {
                self.refused.remove(&key);
                again
            }
            // Somebody else wrote meanwhile: look at that.
            Err(status) if status.code == 409 => Some(Duration::ZERO),
            Err(_) => {
                let times = self.refused.entry(key.clone()).or_default();
                *times += 1;
                Some(
                    FIRST_PAUSE
                        .saturating_mul(1 << (*times - 1).min(10))
                        .min(LONGEST_PAUSE),
                )
            }
        };
        match wait {
            Some(wait) => drop(self.later.insert(key, Instant::now() + wait)),
            None => drop(self.later.remove(&key)),
        }
    }
}

/// One step for every object whose turn it is.
async fn work(registry: &Registry, heartbeats: &Heartbeats, agenda: &mut Agenda) {
    let keys = std::mem::take(&mut agenda.now);
    let steps = stream::iter(keys).map(async |key| {
        let outcome = step(registry, heartbeats, &key).await;
        (key, outcome)
    });
    let outcomes: Vec<_> = steps.buffer_unordered(AT_ONCE).collect().await;
    for (key, outcome) in outcomes {
        agenda.settle(key, outcome);
    }
}

/// Answers with the time after which to look again.
async fn step(
    registry: &Registry,
    heartbeats: &Heartbeats,
    key: &Key,
) -> Result<Option<Duration>, Status> {
    let Plan { writes, again } = observe::plan(registry, heartbeats, key);
    let mut writes = writes.into_iter().peekable();
    while let Some(first) = writes.next() {
        // Writes of one sort do not depend on each other: they share a commit.
        let sort = std::mem::discriminant(&first);
        let mut group = vec![first];
        while let Some(same) = writes.next_if(|next| std::mem::discriminant(next) == sort) {
            group.push(same);
        }
        let done = join_all(group.into_iter().map(|write| apply(registry, key, write))).await;
        done.into_iter().collect::<Result<Vec<()>, Status>>()?;
    }
    // A time in the past is now.
    Ok(again.map(|again| Duration::try_from(again).unwrap_or_default()))
}

async fn apply(registry: &Registry, key: &Key, write: Write) -> Result<(), Status> {
    let story = events::story(registry, key, &write);
    let outcome = writes::apply(registry, &key.namespace, write).await;
    if let Err(status) = &outcome {
        let Key {
            role,
            namespace,
            name,
        } = key;
        tracing::debug!(?role, namespace, name, %status, "a controller's write was refused");
    }
    if let Some(story) = story {
        story.tell(registry, &outcome).await;
    }
    outcome.map(drop)
}
