//! What controllers write, through the same door as everybody.

use std::sync::Arc;

use serde_json::Value;

use crate::controllers::Write;
use crate::kinds::{Kind, Part};
use crate::rest::{Change, Content, DeleteOptions, Deleted, Registry, Target};
use crate::status::Status;
use crate::store::{Object, metadata_text};

/// Returns what was written; `None` if what should go was gone.
pub(super) async fn apply(
    registry: &Registry,
    namespace: &str,
    write: Write,
) -> Result<Option<Arc<Object>>, Status> {
    match write {
        Write::Create(kind, object) => {
            let name = metadata_text(&object, "name").to_owned();
            let target = target(kind, namespace, name);
            registry.create(target, object, None, false).await.map(Some)
        }
        Write::Update(kind, object) => {
            let updated = update(registry, namespace, kind, object, Part::Object).await?;
            Ok(Some(updated))
        }
        Write::Status(kind, object) => {
            let updated = update(registry, namespace, kind, object, Part::Status).await?;
            Ok(Some(updated))
        }
        Write::Delete(kind, name) => {
            let target = target(kind, namespace, name);
            let options = DeleteOptions::default();
            match registry.delete(target, options, false).await {
                Ok(Deleted::Removed(object) | Deleted::Marked(object)) => Ok(Some(object)),
                Err(status) if status.code == 404 => Ok(None),
                Err(status) => Err(status),
            }
        }
    }
}

fn target(kind: Arc<Kind>, namespace: &str, name: String) -> Target {
    let namespace = if kind.namespaced { namespace } else { "" };
    Target {
        kind,
        namespace: namespace.to_owned(),
        name,
    }
}

async fn update(
    registry: &Registry,
    namespace: &str,
    kind: Arc<Kind>,
    object: Value,
    part: Part,
) -> Result<Arc<Object>, Status> {
    let name = metadata_text(&object, "name").to_owned();
    let change = Change {
        content: Content::Object(object),
        part,
        strict: false,
        author: None,
    };
    let target = target(kind, namespace, name);
    Ok(registry.update(target, change, false).await?.0)
}
