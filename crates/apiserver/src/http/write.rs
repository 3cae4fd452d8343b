//! Create, update, patch and delete.

use std::sync::Arc;

use serde_json::{Value, json};

use hyper::header::USER_AGENT;

use super::body::{self, media_type, warnings};
use super::query::FieldValidation;
use super::{Answer, Api, Call, accept, respond};
use crate::apply::{Author, Configuration};
use crate::kinds::Part;
use crate::patch::PatchType;
use crate::rest::{Change, Content, DeleteOptions, Deleted, Propagation};
use crate::status::Status;
use crate::validate::Cause;

/// The Content-Type of a configuration.
const APPLY: &str = "application/apply-patch+yaml";
/// Kinds whose delete answers with the object and not with a `Status`.
const ANSWERED_WITH_OBJECT: &[&str] = &["Pod", "Service"];

impl Call {
    fn part(&self) -> Part {
        match self.path.subresource.as_deref() {
            Some("status") => Part::Status,
            _ => Part::Object,
        }
    }

    /// Who writes: as the request says, or else the program that sent it.
    pub(super) fn author(&self) -> Result<Author, Status> {
        /// Kubernetes' limit.
        const LENGTH_MAX: usize = 128;
        let agent = self.parts.headers.get(USER_AGENT);
        let agent = agent
            .and_then(|agent| agent.to_str().ok())
            .unwrap_or_default();
        let program = agent.split('/').next().unwrap_or_default();
        let name: String = match self.query.text("fieldManager") {
            Some(name) if name.len() > LENGTH_MAX => {
                return Err(Status::bad_request(format!(
                    "fieldManager: Too long: may not be more than {LENGTH_MAX} bytes"
                )));
            }
            Some(name) => name.to_owned(),
            None => program.chars().take(LENGTH_MAX).collect(),
        };
        Ok(Author {
            name,
            subresource: self.path.subresource.clone().unwrap_or_default(),
        })
    }
}

impl Api {
    pub(super) async fn create(&self, call: Call) -> Answer {
        let target = call.path.target.clone();
        if target.kind.namespaced && target.namespace.is_empty() {
            return Err(Status::method_not_allowed());
        }
        let form = call.form()?;
        let validation = call.query.field_validation()?;
        let dry_run = call.query.dry_run()?;
        let author = Some(call.author()?);
        let headers = &call.parts.headers;
        let (object, warnings) = body::object(&target.kind, headers, call.body, validation).await?;
        let kind = Arc::clone(&target.kind);
        let created = self
            .registry
            .create(target, object, author, dry_run)
            .await?;
        let mut response = respond::object(201, &kind, &created, form);
        respond::warn(&mut response, &warnings);
        Ok(response)
    }

    pub(super) async fn update(&self, call: Call) -> Answer {
        let validation = call.query.field_validation()?;
        let (part, author) = (call.part(), Some(call.author()?));
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
            author,
        };
        let call = Written { path, query, parts };
        self.change(call, change, heard).await
    }

    pub(super) async fn patch(&self, call: Call) -> Answer {
        let media = media_type(&call.parts.headers);
        if media == APPLY {
            return self.apply(call).await;
        }
        if call.query.optional_flag("force")?.is_some() {
            return Err(option_refused(
                "force",
                "Forbidden: may not be specified for non-apply patch",
            ));
        }
        let format = PatchType::from_content_type(media).ok_or_else(|| {
            Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format ({media}) - accepted media \
                 types include: {}, {APPLY}",
                PatchType::CONTENT_TYPES.join(", ")
            ))
        })?;
        let strict = call.query.field_validation()? == FieldValidation::Strict;
        let (part, author) = (call.part(), Some(call.author()?));
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
            author,
        };
        self.change(Written { path, query, parts }, change, Vec::new())
            .await
    }

    /// Server-side apply.
    async fn apply(&self, call: Call) -> Answer {
        if call.query.text("fieldManager").is_none() {
            return Err(option_refused(
                "fieldManager",
                "Required value: is required for apply patch",
            ));
        }
        let form = call.form()?;
        let (author, part) = (call.author()?, call.part());
        let (force, dry_run) = (call.query.flag("force")?, call.query.dry_run()?);
        let target = call.path.target;
        let value = body::configuration(&target.kind, call.body).await?;
        let configuration = Configuration {
            value,
            author,
            part,
            force,
        };
        let kind = Arc::clone(&target.kind);
        let (object, created) = self.registry.apply(target, configuration, dry_run).await?;
        let code = if created { 201 } else { 200 };
        Ok(respond::object(code, &kind, &object, form))
    }

    async fn change(&self, call: Written, change: Change, mut heard: Vec<String>) -> Answer {
        let form = accept::form(&call.parts.headers, None)?;
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
        let form = call.form()?;
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

/// What becomes of dependents: said in one word, or in the older way.
fn propagation(options: &Value, query: &super::Query) -> Result<Option<Propagation>, Status> {
    let given = options.get("propagationPolicy").and_then(Value::as_str);
    if let Some(text) = given.or(query.text("propagationPolicy")) {
        let known = Propagation::parse(text);
        return known.map(Some).ok_or_else(|| {
            Status::bad_request(format!(
                "propagationPolicy: {text:?} is not \"Background\", \"Foreground\" or \"Orphan\""
            ))
        });
    }
    let orphan = options.get("orphanDependents").and_then(Value::as_bool);
    Ok(orphan.map(|orphan| match orphan {
        true => Propagation::Orphan,
        false => Propagation::Background,
    }))
}

/// 422 for an option that does not fit the patch.
fn option_refused(field: &'static str, message: &str) -> Status {
    let text = format!("PatchOptions.meta.k8s.io \"\" is invalid: {field}: {message}");
    let mut status = Status::new(422, "Invalid", text);
    status.details.causes = vec![Cause {
        reason: match message.starts_with("Required") {
            true => "FieldValueRequired",
            false => "FieldValueForbidden",
        },
        message: message.to_owned(),
        field: field.to_owned(),
    }];
    status
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
        propagation: propagation(&options, &call.query)?,
    };
    Ok((call.path.target, deletion, dry_run))
}
