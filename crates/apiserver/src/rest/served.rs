//! The kinds that are served now: Kubernetes' own, and those of the stored
//! definitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::definitions;
use crate::kinds::{self, Kind, Kinds};
use crate::store::Store;

/// Follows the definitions: made anew when one of them has changed.
pub(super) struct Served {
    state: Mutex<State>,
}

struct State {
    /// The definitions' count of changes at which `kinds` was right.
    changes: u64,
    kinds: Arc<Kinds>,
    /// What each definition made, at which revision of it.
    made: BTreeMap<String, (u64, Vec<Arc<Kind>>)>,
}

impl Served {
    pub(super) fn new() -> Served {
        Served {
            state: Mutex::new(State {
                changes: 0,
                kinds: Arc::new(kinds::builtin().clone()),
                made: BTreeMap::new(),
            }),
        }
    }

    /// The kinds of what is committed.
    pub(super) fn kinds(&self, store: &Store) -> Arc<Kinds> {
        let objects = store.read();
        let changes = objects.changes(definitions::RESOURCE);
        let mut state = self.state.lock();
        if state.changes == changes {
            return Arc::clone(&state.kinds);
        }
        let mut before = std::mem::take(&mut state.made);
        for definition in objects.list(definitions::RESOURCE, None) {
            let name = definition.name().to_owned();
            let made = match before.remove(&name) {
                Some(made) if made.0 == definition.revision() => made,
                _ => {
                    let kinds = definitions::kinds(definition.value()).into_iter();
                    (definition.revision(), kinds.map(Arc::new).collect())
                }
            };
            state.made.insert(name, made);
        }
        let custom = state.made.values().flat_map(|(_, kinds)| kinds);
        let all = kinds::builtin().iter().chain(custom).cloned().collect();
        state.kinds = Arc::new(all);
        state.changes = changes;
        Arc::clone(&state.kinds)
    }
}
