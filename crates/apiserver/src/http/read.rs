//! Get and list.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::accept::Form;
use super::{Answer, Api, Call, respond};
use crate::kinds::Kind;
use crate::rest::Target;
use crate::status::Status;
use crate::store::Object;
use crate::table;

/// Where a list goes on: everything after `after` (namespace, name) as it was at
/// `revision`. Clients hand it back unread.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    revision: u64,
    after: (String, String),
}

/// One page of a list.
struct Page {
    objects: Vec<Arc<Object>>,
    revision: u64,
    next: Option<Token>,
    /// How many objects come after this page, where that is known without
    /// asking selectors.
    remaining: Option<usize>,
}

impl Api {
    pub(super) fn get(&self, call: &Call) -> Answer {
        let form = call.form()?;
        let target = &call.path.target;
        let object = self.find(target)?;
        Ok(respond::object(200, &target.kind, &object, form))
    }

    /// One object as it is now, or 404.
    pub(super) fn find(&self, target: &Target) -> Result<Arc<Object>, Status> {
        let objects = self.registry.store().read();
        let found = objects.find(&target.resource(), &target.namespace, &target.name);
        found
            .cloned()
            .ok_or_else(|| Status::not_found(&target.kind, &target.name))
    }

    pub(super) fn list(&self, call: &Call) -> Answer {
        let form = call.form()?;
        let page = self.page(call)?;
        let kind = &*call.path.target.kind;
        Ok(match form {
            Form::Object => respond::json_bytes(list_json(kind, &page)),
            Form::Table(style) => {
                let objects = page.objects.iter().map(AsRef::as_ref);
                respond::json(200, &table::table(kind, style, objects, &page.metadata()))
            }
            Form::Metadata(version) => {
                let items = page
                    .objects
                    .iter()
                    .map(|object| table::partial(object, version));
                respond::json(
                    200,
                    &json!({
                        "kind": "PartialObjectMetadataList",
                        "apiVersion": format!("meta.k8s.io/{version}"),
                        "metadata": page.metadata(),
                        "items": items.collect::<Vec<Value>>(),
                    }),
                )
            }
        })
    }

    fn page(&self, call: &Call) -> Result<Page, Status> {
        let target = &call.path.target;
        let selection = call.query.selection(&target.kind)?;
        let limit: usize = call.query.number("limit")?.unwrap_or(0);
        let (mut objects, revision) = self.snapshot(call)?;
        objects.retain(|object| selection.matches(object));
        let mut page = Page {
            objects,
            revision,
            next: None,
            remaining: None,
        };
        if limit > 0 && page.objects.len() > limit {
            let rest = page.objects.len() - limit;
            page.remaining = selection.everything.then_some(rest);
            page.objects.truncate(limit);
            page.next = page.objects.last().map(|last| Token {
                revision,
                after: place(last),
            });
        }
        Ok(page)
    }

    /// The objects from which this page is taken, in order, and the revision of
    /// that state.
    fn snapshot(&self, call: &Call) -> Result<(Vec<Arc<Object>>, u64), Status> {
        let target = &call.path.target;
        let resource = target.resource();
        let namespace = Some(target.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let store = self.registry.store();
        if let Some(text) = call.query.text("continue") {
            let token = decode(text)?;
            let mut objects = store
                .list_at(&resource, namespace, token.revision)
                .map_err(|_| continue_expired())?;
            objects.retain(|object| place(object) > token.after);
            return Ok((objects, token.revision));
        }
        let wanted: Option<u64> = call.query.number("resourceVersion")?;
        if let ("Exact", Some(revision)) = (
            call.query.text("resourceVersionMatch").unwrap_or_default(),
            wanted,
        ) {
            return Ok((store.list_at(&resource, namespace, revision)?, revision));
        }
        let objects = store.read();
        let revision = objects.revision();
        if let Some(wanted) = wanted.filter(|&wanted| wanted > revision) {
            return Err(Status::too_large(wanted, revision));
        }
        Ok((
            objects.list(&resource, namespace).cloned().collect(),
            revision,
        ))
    }
}

impl Page {
    fn metadata(&self) -> Value {
        let mut metadata = json!({ "resourceVersion": self.revision.to_string() });
        if let Some(token) = &self.next {
            metadata["continue"] = json!(encode(token));
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = json!(remaining);
        }
        metadata
    }
}

fn place(object: &Object) -> (String, String) {
    (object.namespace().to_owned(), object.name().to_owned())
}

fn encode(token: &Token) -> String {
    URL_SAFE_NO_PAD.encode(json!(token).to_string())
}

fn decode(text: &str) -> Result<Token, Status> {
    URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or_else(|| Status::bad_request("continue key is not valid"))
}

fn continue_expired() -> Status {
    Status::new(
        410,
        "Expired",
        "The provided continue parameter is too old to display a consistent list result. You must \
         start a new list without the continue parameter.",
    )
}

/// The list, from the objects' stored JSON.
fn list_json(kind: &Kind, page: &Page) -> Bytes {
    let head = format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{},\"items\":[",
        kind.list_kind,
        kind.api_version(),
        page.metadata()
    );
    let objects = page.objects.iter();
    let size: usize = objects.map(|object| object.json().len() + 1).sum();
    let mut json = BytesMut::with_capacity(head.len() + size + 2);
    json.put_slice(head.as_bytes());
    for (index, object) in page.objects.iter().enumerate() {
        if index > 0 {
            json.put_u8(b',');
        }
        json.put_slice(&respond::json_of(kind, object));
    }
    json.put_slice(b"]}");
    json.freeze()
}
