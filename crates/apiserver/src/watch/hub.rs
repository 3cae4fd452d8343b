//! The windows and the cursors into them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;

use super::Event;
use crate::status::Status;

/// Past events of all resources.
pub(crate) struct Hub {
    capacity: usize,
    /// Nothing older than the server itself is known.
    first: u64,
    state: RwLock<State>,
}

struct State {
    windows: HashMap<Arc<str>, Window>,
    revision: u64,
}

/// Past events of one resource, oldest first. Each resource has its own, so that
/// a flood of one (Events, say) does not push out the history of the others.
struct Window {
    events: VecDeque<Arc<Event>>,
    /// Every event after this revision is held.
    complete_after: u64,
    moved: watch::Sender<()>,
}

/// What a cursor finds.
#[derive(Debug)]
pub struct News {
    /// The events since the last look, oldest first.
    pub events: Vec<Arc<Event>>,
    /// With them the watcher has seen everything up to this revision.
    pub revision: u64,
}

/// One watcher's place in the history.
pub struct Cursor {
    hub: Arc<Hub>,
    resource: Arc<str>,
    after: u64,
    moved: watch::Receiver<()>,
}

impl Hub {
    pub(crate) fn new(capacity: usize, revision: u64) -> Hub {
        let state = State {
            windows: HashMap::new(),
            revision,
        };
        Hub {
            capacity,
            first: revision,
            state: RwLock::new(state),
        }
    }

    /// Appends events, oldest first; afterwards everything up to `revision` is known.
    pub(crate) fn publish(&self, events: Vec<Event>, revision: u64) {
        let mut state = self.state.write();
        for event in events {
            let window = state.window(&event.resource, self.first);
            window.events.push_back(Arc::new(event));
            if window.events.len() > self.capacity
                && let Some(dropped) = window.events.pop_front()
            {
                window.complete_after = dropped.object.revision();
            }
            window.moved.send_replace(());
        }
        state.revision = revision;
    }

    /// The held events of `resource` after `revision`.
    pub(crate) fn since(&self, resource: &str, revision: u64) -> Result<Vec<Arc<Event>>, Status> {
        self.news(resource, revision).map(|news| news.events)
    }

    /// A cursor after `after`. (A function, not a method: it keeps the `Arc`.)
    pub(crate) fn follow(hub: &Arc<Hub>, resource: &str, after: u64) -> Cursor {
        let resource: Arc<str> = Arc::from(resource);
        let moved = hub
            .state
            .write()
            .window(&resource, hub.first)
            .moved
            .subscribe();
        Cursor {
            hub: Arc::clone(hub),
            resource,
            after,
            moved,
        }
    }

    fn news(&self, resource: &str, after: u64) -> Result<News, Status> {
        let state = self.state.read();
        let revision = state.revision;
        // The watcher knows another store's history (this one was emptied, say).
        // Kubernetes lets it wait for a revision that may never come.
        if after > revision {
            return Err(Status::from_the_future(after, revision));
        }
        let Some(window) = state.windows.get(resource) else {
            return match after < self.first {
                true => Err(Status::too_old(after, self.first)),
                false => Ok(News {
                    events: Vec::new(),
                    revision,
                }),
            };
        };
        if after < window.complete_after {
            return Err(Status::too_old(after, window.complete_after));
        }
        let seen = window
            .events
            .partition_point(|event| event.object.revision() <= after);
        let events = window.events.range(seen..).cloned().collect();
        Ok(News { events, revision })
    }
}

impl State {
    fn window(&mut self, resource: &Arc<str>, first: u64) -> &mut Window {
        self.windows
            .entry(Arc::clone(resource))
            .or_insert_with(|| Window {
                events: VecDeque::new(),
                complete_after: first,
                moved: watch::Sender::new(()),
            })
    }
}

impl Cursor {
    /// What is new now, perhaps nothing. 410 if the history has been dropped
    /// before this watcher read it.
    pub fn look(&mut self) -> Result<News, Status> {
        self.moved.mark_unchanged();
        let news = self.hub.news(&self.resource, self.after)?;
        self.after = self.after.max(news.revision);
        Ok(news)
    }

    /// Waits until something may be new. Cancel safe.
    pub async fn moved(&mut self) {
        // The sender lives in the hub, which this cursor keeps.
        let _ = self.moved.changed().await;
    }

    /// Waits for the next events.
    pub async fn next(&mut self) -> Result<News, Status> {
        loop {
            let news = self.look()?;
            if !news.events.is_empty() {
                return Ok(news);
            }
            self.moved().await;
        }
    }
}
