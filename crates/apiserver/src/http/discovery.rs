//! What the server serves, in the three spellings that clients ask for: one
//! document for everything (aggregated, v2 and v2beta1) or one for each version.

use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};

use super::accept::{Offer, offers};
use super::route::Discovery;
use super::{Answer, respond};
use crate::kinds::{Kind, Kinds};

/// What can be done with every kind.
const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// One discovery document in the form that the client prefers.
pub(super) fn answer(kinds: &Kinds, what: &Discovery, headers: &HeaderMap) -> Answer {
    let offers = offers(headers);
    let aggregated = match what {
        Discovery::Core | Discovery::Groups => offers.iter().find_map(aggregated_version),
        _ => None,
    };
    let Some(version) = aggregated else {
        return Ok(respond::json(200, &plain(kinds, what)));
    };
    let document = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": aggregated_groups(kinds, *what == Discovery::Core),
    });
    let mut response = respond::json(200, &document);
    let media = match version {
        "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    };
    // kubectl falls back to asking version by version without exactly this.
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media));
    Ok(response)
}

/// kubectl up to 1.29 knows only v2beta1, and finds no resources in a v2 answer.
fn aggregated_version(offer: &Offer<'_>) -> Option<&'static str> {
    let asked = offer.takes_json()
        && offer.parameter("g") == "apidiscovery.k8s.io"
        && offer.parameter("as") == "APIGroupDiscoveryList";
    match offer.parameter("v") {
        "v2" if asked => Some("v2"),
        "v2beta1" if asked => Some("v2beta1"),
        _ => None,
    }
}

fn aggregated_groups(kinds: &Kinds, core: bool) -> Vec<Value> {
    let groups = kinds.groups().into_iter();
    groups
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions = versions.into_iter().map(|version| {
                let resources = kinds
                    .of(group, version)
                    .map(|kind| aggregated_resource(kind));
                json!({
                    "version": version, "freshness": "Current",
                    "resources": resources.collect::<Vec<Value>>(),
                })
            });
            let versions: Vec<Value> = versions.collect();
            let metadata = match group {
                "" => json!({ "creationTimestamp": null }),
                name => json!({ "name": name, "creationTimestamp": null }),
            };
            json!({ "metadata": metadata, "versions": versions })
        })
        .collect()
}

fn aggregated_resource(kind: &Kind) -> Value {
    let own = (kind.group.as_str(), kind.version.as_str());
    let response_kind = |(group, version): (&str, &str), name: &str| json!({ "group": group, "version": version, "kind": name });
    let below: Vec<Value> = kind
        .subresources
        .iter()
        .map(|sub| {
            json!({
                "subresource": sub.name, "verbs": sub.verbs,
                "responseKind": response_kind(sub.other_group.unwrap_or(own), &sub.kind),
            })
        })
        .collect();
    let mut resource = json!({
        "resource": kind.plural,
        "responseKind": response_kind(own, &kind.kind),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": VERBS,
    });
    let lists = [
        ("shortNames", json!(kind.short_names)),
        ("categories", json!(kind.categories)),
        ("subresources", json!(below)),
    ];
    for (field, list) in lists {
        if list.as_array().is_some_and(|list| !list.is_empty()) {
            resource[field] = list;
        }
    }
    resource
}

fn plain(kinds: &Kinds, what: &Discovery) -> Value {
    let mut groups = kinds.groups();
    groups.remove("");
    match what {
        Discovery::Core => json!({
            "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [],
        }),
        Discovery::Groups => {
            let groups = groups
                .iter()
                .map(|(group, versions)| api_group(group, versions));
            let groups: Vec<Value> = groups.collect();
            json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
        }
        Discovery::Group(wanted) => {
            let versions = groups.remove(wanted.as_str()).unwrap_or_default();
            let mut group = api_group(wanted, &versions);
            group["kind"] = json!("APIGroup");
            group["apiVersion"] = json!("v1");
            group
        }
        Discovery::Version(group, version) => {
            let resources: Vec<Value> = kinds
                .of(group, version)
                .flat_map(|kind| plain_resources(kind))
                .collect();
            let group_version = match group.as_str() {
                "" => version.clone(),
                group => format!("{group}/{version}"),
            };
            json!({
                "kind": "APIResourceList", "apiVersion": "v1",
                "groupVersion": group_version, "resources": resources,
            })
        }
    }
}

fn api_group(group: &str, versions: &[&str]) -> Value {
    let version = |version: &&str| json!({ "groupVersion": format!("{group}/{version}"), "version": version });
    let versions: Vec<Value> = versions.iter().map(version).collect();
    json!({ "name": group, "versions": versions, "preferredVersion": versions.first() })
}

fn plain_resources(kind: &Kind) -> Vec<Value> {
    let mut resource = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
        "kind": kind.kind, "verbs": VERBS,
    });
    for (field, names) in [
        ("shortNames", &kind.short_names),
        ("categories", &kind.categories),
    ] {
        if !names.is_empty() {
            resource[field] = json!(names);
        }
    }
    let below = kind.subresources.iter().map(|sub| {
        let mut resource = json!({
            "name": format!("{}/{}", kind.plural, sub.name), "singularName": "",
            "namespaced": kind.namespaced, "kind": sub.kind, "verbs": sub.verbs,
        });
        if let Some((group, version)) = sub.other_group {
            resource["group"] = json!(group);
            resource["version"] = json!(version);
        }
        resource
    });
    std::iter::once(resource).chain(below).collect()
}
