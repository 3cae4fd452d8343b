//! From a path to what it names.

use std::sync::Arc;

use crate::kinds::{Kind, Kinds};
use crate::rest::Target;

/// What a path names.
#[derive(Debug)]
pub(super) enum Route {
    /// `/healthz`, `/livez`, `/readyz`.
    Health,
    /// `/version`.
    Version,
    /// `/openapi/v3`, or below it one document (`api/v1`).
    OpenApi(Option<String>),
    /// `/openapi/v2`.
    OpenApiV2,
    /// Which groups, versions and resources there are.
    Discovery(Discovery),
    /// Objects.
    Resource(ResourcePath),
}

/// One of the discovery documents.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Discovery {
    /// `/api`.
    Core,
    /// `/apis`.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`.
    Version(String, String),
}

/// Objects, an object, or something below one.
#[derive(Debug)]
pub(super) struct ResourcePath {
    pub(super) target: Target,
    pub(super) subresource: Option<String>,
}

/// `None` for a path that names nothing.
pub(super) fn route(kinds: &Kinds, path: &str) -> Option<Route> {
    let segments: Vec<&str> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let text = |segment: &str| segment.to_owned();
    let discovery = match segments.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => return Some(Route::Health),
        ["version"] => return Some(Route::Version),
        ["openapi", "v2"] => return Some(Route::OpenApiV2),
        ["openapi", "v3"] => return Some(Route::OpenApi(None)),
        ["openapi", "v3", document @ ..] => return Some(Route::OpenApi(Some(document.join("/")))),
        ["api"] => Discovery::Core,
        ["apis"] => Discovery::Groups,
        ["api", version] => Discovery::Version(String::new(), text(version)),
        ["apis", group] => Discovery::Group(text(group)),
        ["apis", group, version] => Discovery::Version(text(group), text(version)),
        ["api", version, rest @ ..] => {
            return resource(kinds, "", version, rest).map(Route::Resource);
        }
        ["apis", group, version, rest @ ..] => {
            return resource(kinds, group, version, rest).map(Route::Resource);
        }
        _ => return None,
    };
    let known = match &discovery {
        Discovery::Core | Discovery::Groups => true,
        Discovery::Group(group) => kinds.iter().any(|kind| kind.group == *group),
        Discovery::Version(group, version) => kinds.of(group, version).next().is_some(),
    };
    known.then_some(Route::Discovery(discovery))
}

fn resource(kinds: &Kinds, group: &str, version: &str, segments: &[&str]) -> Option<ResourcePath> {
    let find = |plural| kinds.by_resource(group, version, plural);
    let found = |kind: &Arc<Kind>, namespace: &str, rest: &[&str]| {
        let (name, subresource) = match rest {
            [] => ("", None),
            [name] => (*name, None),
            [name, subresource] => (*name, Some((*subresource).to_owned())),
            _ => return None,
        };
        let target = Target {
            kind: Arc::clone(kind),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        known_subresource(kind, subresource.as_deref()).then_some(ResourcePath {
            target,
            subresource,
        })
    };
    match segments {
        // /api/v1/namespaces/NAME/status: the namespace object's own status, not
        // a resource called so.
        ["namespaces", namespace, plural, rest @ ..] if find(plural).is_some() => {
            let kind = find(plural).filter(|kind| kind.namespaced)?;
            found(kind, namespace, rest)
        }
        [plural, rest @ ..] => {
            let kind = find(plural)?;
            // A namespaced object is only named below its namespace.
            (rest.is_empty() || !kind.namespaced)
                .then(|| found(kind, "", rest))
                .flatten()
        }
        [] => None,
    }
}

/// attach and portforward are answered (with 501), though not in discovery.
fn known_subresource(kind: &Kind, name: Option<&str>) -> bool {
    match name {
        None => true,
        Some("attach" | "portforward") => kind.kind == "Pod",
        Some(name) => kind.subresource(name).is_some(),
    }
}
