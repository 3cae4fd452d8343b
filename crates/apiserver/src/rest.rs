//! The verbs on stored objects, without HTTP: what a create, update, patch or
//! delete does and what it refuses.
//!
//! Each verb is a function on a [`Transaction`], so it decides on the newest
//! state and needs no retry; a dry run is the same transaction, discarded.

mod apply;
mod binding;
mod create;
mod definitions;
mod delete;
mod owners;
mod scale;
mod served;
mod services;
mod update;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;

pub(crate) use delete::{DeleteOptions, Deleted};
pub(crate) use owners::Propagation;
pub(crate) use scale::scale_of;
use served::Served;
use services::Allocations;
use update::Owners;
pub(crate) use update::{Change, Content};

use crate::apply::{Author, Configuration};
use crate::kinds::{Kind, Kinds};
use crate::server::Settings;
use crate::status::Status;
use crate::store::{Object, Store, Transaction};
use crate::{Error, clock};

/// The store with Kubernetes' rules on top.
#[derive(Clone)]
pub(crate) struct Registry {
    store: Store,
    allocations: Arc<Allocations>,
    served: Arc<Served>,
}

/// One object, or with an empty name a collection.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) kind: Arc<Kind>,
    /// Empty for kinds of the cluster and for collections of all namespaces.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What a verb needs besides the state.
pub(crate) struct Context<'r> {
    pub(crate) allocations: &'r Allocations,
    pub(crate) now: jiff::Timestamp,
    /// What is served.
    pub(crate) kinds: &'r Kinds,
    pub(crate) pending: owners::Pending,
}

impl Target {
    /// The resource's name in the store.
    pub(crate) fn resource(&self) -> String {
        self.kind.qualified_plural()
    }

    /// A stored object in the version of the path.
    fn in_its_version(&self, object: &Object) -> Value {
        let mut value = object.to_value();
        value["apiVersion"] = self.kind.api_version().into();
        value
    }

    /// The object as the transaction has it, or 404.
    pub(crate) fn find(&self, transaction: &Transaction<'_>) -> Result<Arc<Object>, Status> {
        transaction
            .objects()
            .find(&self.resource(), &self.namespace, &self.name)
            .cloned()
            .ok_or_else(|| Status::not_found(&self.kind, &self.name))
    }
}

impl Registry {
    pub(crate) fn open(store: Store, settings: &Settings) -> Result<Registry, Error> {
        let allocations = Arc::new(Allocations::new(settings)?);
        Ok(Registry {
            store,
            allocations,
            served: Arc::new(Served::new()),
        })
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// What is served now.
    pub(crate) fn kinds(&self) -> Arc<Kinds> {
        self.served.kinds(&self.store)
    }

    async fn run<T: Send + 'static>(
        &self,
        dry_run: bool,
        verb: impl FnOnce(&mut Transaction<'_>, &Context<'_>) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let (allocations, kinds) = (Arc::clone(&self.allocations), self.kinds());
        self.store
            .write(move |transaction| {
                if dry_run {
                    transaction.discard();
                }
                let now = jiff::Timestamp::now();
                verb(
                    transaction,
                    &Context {
                        allocations: &allocations,
                        now,
                        kinds: &kinds,
                        pending: owners::Pending::default(),
                    },
                )
            })
            .await
    }

    /// Creates a decoded object in `target`'s collection.
    pub(crate) async fn create(
        &self,
        target: Target,
        object: Value,
        author: Option<Author>,
        dry_run: bool,
    ) -> Result<Arc<Object>, Status> {
        self.run(dry_run, move |transaction, context| {
            let owners = Owners::Changed(author.as_ref());
            create::create(transaction, context, &target, object, owners)
        })
        .await
    }

    /// Makes an object so that it has what a configuration says. Answers with
    /// the object, and whether it is new.
    pub(crate) async fn apply(
        &self,
        target: Target,
        configuration: Configuration,
        dry_run: bool,
    ) -> Result<(Arc<Object>, bool), Status> {
        self.run(dry_run, move |transaction, context| {
            apply::apply(transaction, context, &target, configuration)
        })
        .await
    }

    /// Replaces or patches an object, or its status. Answers with the object and
    /// what a lenient client wants to be warned about.
    pub(crate) async fn update(
        &self,
        target: Target,
        change: Change,
        dry_run: bool,
    ) -> Result<(Arc<Object>, Vec<String>), Status> {
        self.run(dry_run, move |transaction, context| {
            update::update(transaction, context, &target, change)
        })
        .await
    }

    /// Replaces or patches an object's Scale, and answers with the new one.
    pub(crate) async fn scale(
        &self,
        target: Target,
        change: Change,
        dry_run: bool,
    ) -> Result<(Value, Vec<String>), Status> {
        self.run(dry_run, move |transaction, context| {
            scale::update(transaction, context, &target, change)
        })
        .await
    }

    /// Deletes one object.
    pub(crate) async fn delete(
        &self,
        target: Target,
        options: DeleteOptions,
        dry_run: bool,
    ) -> Result<Deleted, Status> {
        self.run(dry_run, move |transaction, context| {
            delete::delete(transaction, context, &target, &options)
        })
        .await
    }

    /// Deletes the objects of a collection that `matches` accepts.
    pub(crate) async fn delete_collection(
        &self,
        target: Target,
        options: DeleteOptions,
        matches: impl Fn(&Object) -> bool + Send + 'static,
        dry_run: bool,
    ) -> Result<Vec<Arc<Object>>, Status> {
        self.run(dry_run, move |transaction, context| {
            delete::delete_collection(transaction, context, &target, &options, &matches)
        })
        .await
    }

    /// Deletes the content of a namespace that is being deleted.
    pub(crate) async fn empty_namespace(&self, name: String) -> Result<(), Status> {
        self.run(false, move |transaction, context| {
            delete::empty_namespace(transaction, context, &name)
        })
        .await
    }

    /// `POST pods/NAME/binding`: gives a pod to a node.
    pub(crate) async fn bind(
        &self,
        target: Target,
        binding: Value,
        dry_run: bool,
    ) -> Result<(), Status> {
        self.run(dry_run, move |transaction, context| {
            binding::bind(transaction, context, &target, &binding)
        })
        .await
    }
}

/// Sets a text field of `metadata`.
fn set_metadata(object: &mut Value, field: &str, text: impl Into<Value>) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert(field.to_owned(), text.into());
    }
}

/// Whether the object is on its way out.
pub(crate) fn is_terminating(object: &Object) -> bool {
    !object.metadata("deletionTimestamp").is_empty()
}

fn has_finalizers(object: &Value) -> bool {
    object
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array)
        .is_some_and(|finalizers| !finalizers.is_empty())
}

fn timestamp(context: &Context<'_>) -> String {
    clock::text(context.now)
}
