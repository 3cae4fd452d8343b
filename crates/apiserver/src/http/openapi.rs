//! OpenAPI v3, as much as kubectl needs of it: which paths take which kinds and
//! that they validate fields, and the outline of each kind.

mod fields;
pub(super) mod v2;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::kinds::{Kind, Kinds};

/// `/openapi/v3`: the documents, with a hash of their content so that clients
/// may keep them.
pub(super) fn index(kinds: &Kinds) -> Value {
    let mut paths = Map::new();
    for (group, version) in kinds.versions() {
        let path = path_of(group, version);
        let text = render(kinds, group, version).to_string();
        let hash = Sha256::digest(&text);
        let hash: String = hash.iter().map(|byte| format!("{byte:02X}")).collect();
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.insert(path, json!({ "serverRelativeURL": url }));
    }
    json!({ "paths": paths })
}

/// The document of `api/v1`, `apis/GROUP/VERSION`.
pub(super) fn document(kinds: &Kinds, path: &str) -> Option<Value> {
    let (group, version) = kinds
        .versions()
        .into_iter()
        .find(|(group, version)| path_of(group, version) == path)?;
    Some(render(kinds, group, version))
}

fn path_of(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        group => format!("apis/{group}/{version}"),
    }
}

fn render(kinds: &Kinds, group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for kind in kinds.of(group, version) {
        let base = collection_url(kind);
        paths.insert(format!("{base}/{{name}}"), object_path(kind));
        paths.insert(base, collection_path(kind));
        schemas.insert(schema_name(kind), schema(kind));
    }
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Podway", "version": "v1.33.0" },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn schema_name(kind: &Kind) -> String {
    if kind.is_custom() {
        let reversed: Vec<&str> = kind.group.rsplit('.').collect();
        return format!("{}.{}.{}", reversed.join("."), kind.version, kind.kind);
    }
    let group = match kind.group.as_str() {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    format!("io.k8s.api.{group}.{}.{}", kind.version, kind.kind)
}

/// `/api/v1/namespaces/{namespace}/pods`.
fn collection_url(kind: &Kind) -> String {
    let base = path_of(&kind.group, &kind.version);
    match kind.namespaced {
        true => format!("/{base}/namespaces/{{namespace}}/{}", kind.plural),
        false => format!("/{base}/{}", kind.plural),
    }
}

fn group_version_kind(kind: &Kind) -> Value {
    json!({ "group": kind.group, "version": kind.version, "kind": kind.kind })
}

fn operation(kind: &Kind, action: &str, writes: bool) -> Value {
    let reference = json!({ "$ref": format!("#/components/schemas/{}", schema_name(kind)) });
    let content = json!({ "application/json": { "schema": reference } });
    let mut operation = json!({
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": group_version_kind(kind),
        "responses": { "200": { "description": "OK", "content": content } },
    });
    if writes {
        let parameter = |name: &str, description: &str| {
            json!({
                "name": name, "in": "query", "description": description,
                "schema": { "type": "string", "uniqueItems": true },
            })
        };
        operation["parameters"] = json!([
            parameter("dryRun", "All: nothing is stored."),
            parameter("fieldManager", "Who writes."),
            parameter("fieldValidation", "Ignore, Warn or Strict."),
        ]);
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

fn object_path(kind: &Kind) -> Value {
    json!({
        "get": operation(kind, "get", false),
        "put": operation(kind, "put", true),
        "patch": operation(kind, "patch", true),
        "delete": operation(kind, "delete", false),
    })
}

fn collection_path(kind: &Kind) -> Value {
    json!({
        "get": operation(kind, "list", false),
        "post": operation(kind, "post", true),
    })
}

/// A definition's own schema, with what every object has.
fn custom_schema(kind: &Kind, source: &Value) -> Value {
    let mut schema = source.clone();
    let outline = json!({
        "apiVersion": { "type": "string" }, "kind": { "type": "string" },
        "metadata": { "type": "object" },
    });
    for (name, property) in outline.as_object().into_iter().flatten() {
        let described = schema["properties"]
            .get(name)
            .is_some_and(|p| p["type"] == property["type"]);
        if !described {
            schema["properties"][name] = property.clone();
        }
    }
    schema["x-kubernetes-group-version-kind"] = json!([group_version_kind(kind)]);
    schema
}

/// A kind with its fields, for `kubectl explain`. Nothing in it is required and
/// no value restricted: the server itself validates, and says more than a schema
/// could.
fn schema(kind: &Kind) -> Value {
    if let Some(source) = &kind.open_api {
        return custom_schema(kind, source);
    }
    let text = |description: &str| json!({ "type": "string", "description": description });
    let open = |description: &str| {
        json!({
            "type": "object", "description": description,
            "x-kubernetes-preserve-unknown-fields": true,
        })
    };
    let mut properties = json!({
        "apiVersion": text("The version of this kind's schema."),
        "kind": text("The kind of this object."),
        "metadata": open("Name, namespace, labels and annotations."),
    });
    let all = kind.fields.iter().flat_map(|fields| &fields.fields);
    for field in all.filter(|field| field.name != "metadata") {
        properties[&field.name] = fields::of_shape(&field.shape);
        properties[&field.name]["description"] = match field.name.as_str() {
            "spec" => "What is wanted.".into(),
            "status" => "What is observed.".into(),
            other => other.into(),
        };
    }
    json!({
        "type": "object",
        "description": format!("{} ({})", kind.kind, kind.api_version()),
        "properties": properties,
        "x-kubernetes-group-version-kind": [group_version_kind(kind)],
    })
}
