//! `/scale`: how many replicas an object wants, in one form for all kinds.

use serde_json::{Value, json};

use super::update::{self, Owners};
use super::{Change, Content, Context, Target};
use crate::kinds::{self, Part, ScalePaths};
use crate::patch;
use crate::selector;
use crate::status::Status;
use crate::store::{Object, Transaction, metadata_text};

/// The Scale of an object.
pub(crate) fn scale_of(target: &Target, object: &Object) -> Result<Value, Status> {
    let paths = paths(target)?;
    let value = object.value();
    let number = |path: &str| value.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let mut metadata = json!({});
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        let text = object.metadata(field);
        if !text.is_empty() {
            metadata[field] = json!(text);
        }
    }
    let mut status = json!({ "replicas": number(&paths.observed) });
    let selector = paths.selector.as_ref().and_then(|path| value.pointer(path));
    if let Some(text) = selector.and_then(selector_text) {
        status["selector"] = json!(text);
    }
    Ok(json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": { "replicas": number(&paths.replicas) }, "status": status,
    }))
}

fn paths(target: &Target) -> Result<&ScalePaths, Status> {
    target.kind.scale.as_ref().ok_or_else(Status::unknown_path)
}

fn selector_text(selector: &Value) -> Option<String> {
    if let Some(text) = selector.as_str() {
        return Some(text.to_owned());
    }
    selector.is_object().then(|| selector::text(selector))
}

pub(super) fn update(
    transaction: &mut Transaction<'_>,
    context: &Context<'_>,
    target: &Target,
    change: Change,
) -> Result<(Value, Vec<String>), Status> {
    let old = target.find(transaction)?;
    let kind = kinds::scale();
    let before = scale_of(target, &old)?;
    let (scale, warnings) = match change.content {
        Content::Object(scale) => (scale, Vec::new()),
        Content::Patch(format, body) => {
            let decoded = patch::apply(kind, format, &before, &body)?;
            (decoded.object, decoded.strict)
        }
    };
    update::require_same(target, &scale, &old)?;
    let scale = kind.admit_update(scale, &before, Part::Object)?;
    let mut new = old.to_value();
    set(
        &mut new,
        &paths(target)?.replicas,
        scale.pointer("/spec/replicas"),
    );
    let given = metadata_text(&scale, "resourceVersion").to_owned();
    super::set_metadata(&mut new, "resourceVersion", given);
    let owners = Owners::Changed(change.author.as_ref());
    let stored = update::replace(
        transaction,
        context,
        target,
        new,
        &old,
        Part::Object,
        owners,
    )?;
    Ok((scale_of(target, &stored)?, warnings))
}

/// Puts a number where the pointer points; the objects on the way are made.
fn set(object: &mut Value, pointer: &str, number: Option<&Value>) {
    let number = number.cloned().unwrap_or_else(|| json!(0));
    let mut at = object;
    for name in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[name];
    }
    *at = number;
}
