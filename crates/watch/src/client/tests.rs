use k8s_openapi::api::core::v1::Service;
use kube::Resource as _;
use kube::runtime::watcher::Event;
use podway_model::ObjectName;
use serde_json::{Value, json};

use super::*;

fn undecoded(value: Value) -> Undecoded<Service> {
    serde_json::from_value(value).unwrap()
}

fn service(name: &str) -> Undecoded<Service> {
    undecoded(json!({"metadata": {"name": name, "namespace": "x"}, "spec": {"ports": []}}))
}

/// Its ports are no list: it does not decode.
fn broken(name: &str) -> Undecoded<Service> {
    undecoded(json!({"metadata": {"name": name, "namespace": "x"}, "spec": {"ports": 7}}))
}

fn name(notice: &Notice) -> String {
    let reference = |object: &ObjectRef| object.to_string();
    match notice {
        Notice::Change(Change::Upsert(object)) => format!("upsert {}", object.reference()),
        Notice::Change(Change::Delete(object)) => format!("delete {}", reference(object)),
        Notice::Change(Change::Seen(_, revision)) => format!("seen {revision}"),
        Notice::Change(Change::Replace(kind, objects)) => {
            let names: Vec<String> = objects.iter().map(|o| reference(&o.reference())).collect();
            format!("replace {kind:?}s by {names:?}")
        }
        Notice::Faults(object, faults) => {
            let fields: Vec<&str> = faults.iter().map(|fault| &*fault.field).collect();
            format!("faults of {}: {fields:?}", reference(object))
        }
        other => format!("{other:?}"),
    }
}

fn play(following: &mut Following, events: Vec<Event<Undecoded<Service>>>) -> Vec<String> {
    let notices = events
        .into_iter()
        .flat_map(|event| following.take(Ok(event)));
    notices.map(|notice| name(&notice)).collect()
}

#[test]
fn one_broken_object_does_not_take_the_list_down() {
    let mut following = Following::new(ObjectKind::Service);
    let events = vec![
        Event::Init,
        Event::InitApply(service("a")),
        Event::InitApply(broken("b")),
        Event::InitApply(service("c")),
    ];
    assert_eq!(
        play(&mut following, events),
        ["faults of Service x/b: [\"spec.ports\"]"]
    );
    assert!(!following.is_listed);
    assert_eq!(
        play(&mut following, vec![Event::InitDone]),
        ["replace Services by [\"Service x/a\", \"Service x/c\"]"]
    );
    assert!(following.is_listed);
}

#[test]
fn an_object_that_breaks_is_gone_until_it_heals() {
    let mut following = Following::new(ObjectKind::Service);
    play(&mut following, vec![Event::Init, Event::InitDone]);
    assert_eq!(
        play(
            &mut following,
            vec![
                Event::Apply(service("a")),
                Event::Apply(broken("a")),
                Event::Apply(service("a")),
                Event::Apply(broken("a")),
                Event::Delete(broken("a")),
                Event::Delete(service("b")),
            ]
        ),
        [
            "upsert Service x/a",
            "faults of Service x/a: [\"spec.ports\"]",
            "delete Service x/a",
            "faults of Service x/a: []",
            "upsert Service x/a",
            "faults of Service x/a: [\"spec.ports\"]",
            "delete Service x/a",
            "faults of Service x/a: []",
            "delete Service x/a",
            "delete Service x/b",
        ]
    );
}

#[test]
fn a_relist_takes_back_the_faults_of_what_is_gone() {
    let mut following = Following::new(ObjectKind::Service);
    play(
        &mut following,
        vec![
            Event::Init,
            Event::InitApply(broken("a")),
            Event::InitApply(broken("b")),
            Event::InitDone,
        ],
    );
    let relist = vec![Event::Init, Event::InitApply(broken("b")), Event::InitDone];
    assert_eq!(
        play(&mut following, relist),
        [
            "faults of Service x/b: [\"spec.ports\"]",
            "faults of Service x/a: []",
            "replace Services by []",
        ]
    );
}

#[test]
fn what_is_gone_has_a_revision_too() {
    let mut following = Following::new(ObjectKind::Service);
    let at = |revision: &str| {
        let mut object = service("a");
        object.meta_mut().resource_version = Some(revision.to_owned());
        object
    };
    let events = vec![
        Event::Init,
        Event::InitApply(at("7")),
        Event::InitDone,
        Event::Delete(at("9")),
    ];
    assert_eq!(
        play(&mut following, events),
        [
            "replace Services by [\"Service x/a\"]",
            "seen 7",
            "delete Service x/a",
            "seen 9"
        ]
    );
}

#[test]
fn an_interruption_is_told_with_its_end() {
    let mut following = Following::new(ObjectKind::Service);
    play(&mut following, vec![Event::Init, Event::InitDone]);
    let lost = following.take::<Service>(Err(watcher::Error::NoResourceVersion));
    assert!(
        matches!(lost.as_slice(), [Notice::Lost(ObjectKind::Service, _)]),
        "{lost:?}"
    );
    assert_eq!(
        play(&mut following, vec![Event::Apply(service("a"))]),
        ["Regained(Service)", "upsert Service x/a"]
    );
}

#[test]
fn every_kind_listed_is_told_once() {
    let told = Mutex::new(Vec::new());
    let teller = Teller {
        tell: |notice| told.lock().push(notice),
        unlisted: Mutex::new(ObjectKind::ALL.into_iter().collect()),
    };
    for kind in ObjectKind::ALL {
        assert_eq!(*told.lock(), []);
        teller.listed(kind);
        teller.listed(ObjectKind::Namespace);
    }
    assert_eq!(*told.lock(), [Notice::Synced]);
}

#[test]
fn references_name_the_kind() {
    let metadata = kube::core::ObjectMeta {
        name: Some("a".to_owned()),
        namespace: Some("x".to_owned()),
        ..Default::default()
    };
    let named = reference(ObjectKind::NetworkPolicy, &metadata);
    assert_eq!(named, ObjectRef::NetworkPolicy(ObjectName::new("x", "a")));
    assert_eq!(
        reference(ObjectKind::Node, &metadata),
        ObjectRef::Node("a".into())
    );
}
