//! Create, update, patch and delete.

use std::sync::Arc;

use serde_json::{Value, json};

use super::body::{self, media_type, warnings};
use super::query::FieldValidation;
use super::{Answer, Api, Call, accept, respond};
use crate::kinds::Part;
use crate::patch::PatchType;
use crate::rest::{Change, Content, DeleteOptions, Deleted};
use crate::status::Status;

/// Kinds whose delete answers with the object and not with a `Status`.
const ANSWERED_WITH_OBJECT: &[&str] = &["Pod", "Service"];

impl Call {
    fn part(&self) -> Part {
        match self.path.subresource {
            Some(_) => Part::Status,
            None => Part::Object,
        }
    }
}

impl Api {
    pub(super) async fn create(&self, call: Call) -> Answer {
        let target = call.path.target;
        if target.kind.namespaced && target.namespace.is_empty() {
            return Err(Status::method_not_allowed());
        }
        let form = accept::form(&call.parts.headers)?;
        let validation = call.query.field_validation()?;
        let dry_run = call.query.dry_run()?;
        let headers = &call.parts.headers;
        let (object, warnings) = body::object(&target.kind, headers, call.body, validation).await?;
        let kind = Arc::clone(&target.kind);
        let created = self.registry.create(target, object, dry_run).await?;
        let mut response = respond::object(201, &kind, &created, form);
        respond::warn(&mut response, &warnings);
        Ok(response)
    }

    pub(super) async fn update(&self, call: Call) -> Answer {
        let validation = call.query.field_validation()?;
        let part = call.part();
        let Call {
            path,
            query,
            parts,
            body,
        } = call;
        let (object, heard) =
            body::object(&path.target.kind, &parts.headers, body, validation).await?;
        let content = Content::Object(object);
        let change = Change {
            content,
            part,
            strict: false,
        };
        let call = Written { path, query, parts };
        self.change(call, change, heard).await
    }

    pub(super) async fn patch(&self, call: Call) -> Answer {
        let media = media_type(&call.parts.headers);
        let format = PatchType::from_content_type(media).ok_or_else(|| {
            Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format ({media}) - accepted media \
                 types include: {}",
                PatchType::CONTENT_TYPES.join(", ")
            ))
        })?;
        let strict = call.query.field_validation()? == FieldValidation::Strict;
        let part = call.part();
        let Call {
            path,
            query,
            parts,
            body,
        } = call;
        let content = Content::Patch(format, body::read(body).await?);
        let change = Change {
            content,
            part,
            strict,
        };
        self.change(Written { path, query, parts }, change, Vec::new())
            .await
    }

    async fn change(&self, call: Written, change: Change, mut heard: Vec<String>) -> Answer {
        let form = accept::form(&call.parts.headers)?;
        let dry_run = call.query.dry_run()?;
        let validation = call.query.field_validation()?;
        let kind = Arc::clone(&call.path.target.kind);
        let (object, strict) = self
            .registry
            .update(call.path.target, change, dry_run)
            .await?;
        heard.extend(warnings(strict, validation));
        let mut response = respond::object(200, &kind, &object, form);
        respond::warn(&mut response, &heard);
        Ok(response)
    }

    pub(super) async fn delete(&self, call: Call) -> Answer {
        if call.path.subresource.is_some() {
            return Err(Status::method_not_allowed());
        }
        let form = accept::form(&call.parts.headers)?;
        let (target, options, dry_run) = delete_options(call).await?;
        let kind = Arc::clone(&target.kind);
        match self.registry.delete(target, options, dry_run).await? {
            Deleted::Removed(object) if !ANSWERED_WITH_OBJECT.contains(&kind.kind.as_str()) => {
                let success = respond::success(&kind, object.name(), object.metadata("uid"));
                Ok(respond::json(200, &success))
            }
            Deleted::Removed(object) | Deleted::Marked(object) => {
                Ok(respond::object(200, &kind, &object, form))
            }
        }
    }

    pub(super) async fn delete_collection(&self, call: Call) -> Answer {
        let kind = Arc::clone(&call.path.target.kind);
        if kind.namespaced && call.path.target.namespace.is_empty() || kind.kind == "Namespace" {
            return Err(Status::method_not_allowed());
        }
        let selection = call.query.selection(&kind)?;
        let (target, options, dry_run) = delete_options(call).await?;
        let matches = move |object: &crate::store::Object| selection.matches(object);
        let deleted = self
            .registry
            .delete_collection(target, options, matches, dry_run)
            .await?;
        let items: Vec<&Value> = deleted.iter().map(|object| object.value()).collect();
        let list = json!({
            "kind": kind.list_kind, "apiVersion": kind.api_version(),
            "metadata": {}, "items": items,
        });
        Ok(respond::json(200, &list))
    }

    pub(super) async fn bind(&self, call: Call) -> Answer {
        let dry_run = call.query.dry_run()?;
        let binding = body::other("core.Binding", &call.parts.headers, call.body).await?;
        let binding = binding.unwrap_or_default();
        self.registry
            .bind(call.path.target, binding, dry_run)
            .await?;
        let success = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
        });
        Ok(respond::json(201, &success))
    }
}

/// A call whose body has been read.
struct Written {
    path: super::ResourcePath,
    query: super::Query,
    parts: hyper::http::request::Parts,
}

/// Options from the body (a `DeleteOptions`, often absent) and the query.
async fn delete_options(call: Call) -> Result<(crate::rest::Target, DeleteOptions, bool), Status> {
    let options = body::other("meta.DeleteOptions", &call.parts.headers, call.body).await?;
    let options = options.unwrap_or_default();
    let text = |pointer: &str| {
        options
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let dry_run = match options.pointer("/dryRun/0").and_then(Value::as_str) {
        Some("All") => true,
        Some(other) => {
            return Err(Status::bad_request(format!(
                "dryRun: {other:?} is not \"All\""
            )));
        }
        None => call.query.dry_run()?,
    };
    let grace = options.get("gracePeriodSeconds").and_then(Value::as_i64);
    let grace = grace.map_or_else(
        || call.query.number("gracePeriodSeconds"),
        |grace| Ok(Some(grace)),
    )?;
    let deletion = DeleteOptions {
        grace,
        uid: text("/preconditions/uid"),
        revision: text("/preconditions/resourceVersion"),
    };
    Ok((call.path.target, deletion, dry_run))
}
