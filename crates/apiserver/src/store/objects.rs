//! The maps of one state of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Object;
use super::object::owner_references;
use crate::watch::Event;

/// Namespace (empty for objects of the cluster) and name, in listing order.
type Place = (String, String);

/// All objects at one revision, ordered by resource, namespace and name.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    resources: BTreeMap<Arc<str>, Resource>,
    /// Resource and place of the objects that name an owner, by its uid.
    owned: BTreeMap<Box<str>, BTreeSet<(Arc<str>, Place)>>,
    revision: u64,
    undone: u64,
}

/// The objects of one resource.
#[derive(Debug, Clone, Default)]
struct Resource {
    objects: BTreeMap<Place, Arc<Object>>,
    /// How often one of them came, changed or went.
    changes: u64,
}

impl Objects {
    pub(crate) fn at(revision: u64) -> Objects {
        Objects {
            revision,
            ..Objects::default()
        }
    }

    /// The newest change that this state contains.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How often staged changes were taken back. Who derives state of its own
    /// from staged changes derives it anew when this has moved.
    pub(crate) fn undone(&self) -> u64 {
        self.undone
    }

    pub(crate) fn count_undo(&mut self) {
        self.undone += 1;
    }

    pub(crate) fn set_revision(&mut self, revision: u64) {
        self.revision = revision;
    }

    /// One object; `namespace` is empty for resources of the cluster.
    pub fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<&Arc<Object>> {
        let place = (namespace.to_owned(), name.to_owned());
        self.resources.get(resource)?.objects.get(&place)
    }

    /// A number that moves whenever an object of the resource does.
    pub(crate) fn changes(&self, resource: &str) -> u64 {
        let resource = self.resources.get(resource);
        resource.map_or(0, |resource| resource.changes)
    }

    /// The objects of a resource in order, all or those of one namespace.
    pub fn list<'o>(
        &'o self,
        resource: &str,
        namespace: Option<&'o str>,
    ) -> impl Iterator<Item = &'o Arc<Object>> + use<'o> {
        let start = (namespace.unwrap_or_default().to_owned(), String::new());
        self.resources
            .get(resource)
            .into_iter()
            .flat_map(move |resource| resource.objects.range(start.clone()..))
            .take_while(move |((place, _), _)| namespace.is_none_or(|wanted| wanted == place))
            .map(|(_, object)| object)
    }

    /// Every resource that has objects in `namespace`, with them.
    pub fn inside<'o>(
        &'o self,
        namespace: &'o str,
    ) -> impl Iterator<Item = (&'o Arc<str>, &'o Arc<Object>)> {
        self.resources.keys().flat_map(move |resource| {
            self.list(resource, Some(namespace))
                .map(move |object| (resource, object))
        })
    }

    /// The objects that name this uid as an owner's, with their resources.
    pub(crate) fn dependents(&self, uid: &str) -> impl Iterator<Item = (&str, &Arc<Object>)> {
        let owned = self.owned.get(uid).into_iter().flatten();
        owned.filter_map(|(resource, place)| {
            let object = self.resources.get(resource)?.objects.get(place)?;
            Some((&**resource, object))
        })
    }

    fn set_owned(&mut self, resource: &Arc<str>, place: &Place, object: &Object, owned: bool) {
        for owner in owner_references(object.value()) {
            let uid = owner["uid"].as_str().unwrap_or_default();
            let entry = (Arc::clone(resource), place.clone());
            if owned {
                self.owned.entry(Box::from(uid)).or_default().insert(entry);
            } else if let Some(entries) = self.owned.get_mut(uid) {
                entries.remove(&entry);
                if entries.is_empty() {
                    self.owned.remove(uid);
                }
            }
        }
    }

    /// Puts or (with `None`) removes, and returns what was there.
    pub(crate) fn replace(
        &mut self,
        resource: &Arc<str>,
        (namespace, name): (&str, &str),
        object: Option<&Arc<Object>>,
    ) -> Option<Arc<Object>> {
        let place = (namespace.to_owned(), name.to_owned());
        let all = self.resources.entry(Arc::clone(resource)).or_default();
        all.changes += 1;
        let before = match object {
            Some(object) => all.objects.insert(place.clone(), Arc::clone(object)),
            None => all.objects.remove(&place),
        };
        if let Some(before) = &before {
            self.set_owned(resource, &place, before, false);
        }
        if let Some(object) = object {
            self.set_owned(resource, &place, object, true);
        }
        before
    }

    /// The objects of a resource before the `later` events (oldest first).
    pub(crate) fn rewound(
        &self,
        resource: &str,
        namespace: Option<&str>,
        later: &[Arc<Event>],
    ) -> Vec<Arc<Object>> {
        let place = |object: &Object| (object.namespace().to_owned(), object.name().to_owned());
        let mut objects: BTreeMap<Place, Arc<Object>> = self
            .list(resource, namespace)
            .map(|object| (place(object), Arc::clone(object)))
            .collect();
        for event in later.iter().rev() {
            if namespace.is_some_and(|wanted| wanted != event.object.namespace()) {
                continue;
            }
            match &event.before {
                Some(before) => objects.insert(place(before), Arc::clone(before)),
                None => objects.remove(&place(&event.object)),
            };
        }
        objects.into_values().collect()
    }
}
