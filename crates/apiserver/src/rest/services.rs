//! Cluster IPs and node ports: the allocator as part of a transaction.

use parking_lot::Mutex;
use serde_json::Value;

use super::Context;
use crate::Error;
use crate::allocate::{AllocateError, Allocator, Ranges};
use crate::kinds::Kind;
use crate::server::Settings;
use crate::status::Status;
use crate::store::Transaction;

/// What Services hold.
///
/// Claims are committed while their write is still staged, since the writes of
/// one batch see each other; if any staged write is undone, the next use reads
/// all Services again.
pub(crate) struct Allocations {
    state: Mutex<State>,
}

struct State {
    allocator: Allocator,
    /// The count of undone changes at which the allocator was right; `None`
    /// before the first use.
    valid_at: Option<u64>,
}

impl Allocations {
    pub(super) fn new(settings: &Settings) -> Result<Allocations, Error> {
        let ranges = Ranges {
            services: settings.service_prefixes.clone(),
            node_ports: settings.node_ports.clone(),
        };
        let allocator =
            Allocator::new(ranges).map_err(|error| Error::Settings(error.to_string()))?;
        Ok(Allocations {
            state: Mutex::new(State {
                allocator,
                valid_at: None,
            }),
        })
    }
}

impl State {
    fn refresh(&mut self, transaction: &Transaction<'_>) {
        let objects = transaction.objects();
        if self.valid_at == Some(objects.undone()) {
            return;
        }
        let services = objects.list("services", None);
        for complaint in self
            .allocator
            .rebuild(services.map(|service| service.value()))
        {
            tracing::warn!(complaint, "a stored service holds what it should not");
        }
        self.valid_at = Some(objects.undone());
    }
}

/// Gives an admitted Service what it asks for; nothing to do for other kinds.
pub(super) fn admit(
    transaction: &Transaction<'_>,
    context: &Context<'_>,
    kind: &Kind,
    new: &mut Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if kind.kind != "Service" {
        return Ok(());
    }
    let mut state = context.allocations.state.lock();
    state.refresh(transaction);
    let claim = match old {
        Some(old) => state.allocator.plan_update(new, old)?,
        None => state.allocator.plan_create(new)?,
    };
    state.allocator.commit(claim);
    Ok(())
}

/// Takes back what a Service held that is being removed.
pub(super) fn release(
    transaction: &Transaction<'_>,
    context: &Context<'_>,
    kind: &Kind,
    service: &Value,
) {
    if kind.kind != "Service" {
        return;
    }
    let mut state = context.allocations.state.lock();
    state.refresh(transaction);
    let claim = state.allocator.plan_delete(service);
    state.allocator.commit(claim);
}

impl From<AllocateError> for Status {
    fn from(error: AllocateError) -> Status {
        match error {
            AllocateError::Invalid(invalid) => invalid.into(),
            AllocateError::Exhausted(_) => Status::new(500, "InternalError", error.to_string()),
        }
    }
}
