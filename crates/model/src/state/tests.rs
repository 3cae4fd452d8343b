use super::*;

fn pod(name: &str, address: &str, revision: u64) -> Object {
    Object::Pod(Arc::new(Pod {
        name: ObjectName::new("default", name),
        uid: "u".into(),
        revision,
        labels: BTreeMap::new(),
        node: None,
        host_network: false,
        finished: false,
        ready: true,
        terminating: false,
        addresses: vec![address.parse().expect("address")],
        ports: Vec::new(),
        weight: None,
    }))
}

#[test]
fn a_repeat_changes_nothing() {
    let mut state = ClusterState::default();
    assert_eq!(
        state.apply(Change::Upsert(pod("a", "10.0.0.1", 1))).len(),
        1
    );
    assert_eq!(state.apply(Change::Upsert(pod("a", "10.0.0.1", 1))), []);
    assert_eq!(state.revision(), 1);
}

#[test]
fn a_list_deletes_what_it_does_not_hold() {
    let mut state = ClusterState::default();
    state.apply(Change::Upsert(pod("a", "10.0.0.1", 1)));
    state.apply(Change::Upsert(pod("b", "10.0.0.2", 2)));
    let updates = state.apply(Change::Replace(
        ObjectKind::Pod,
        vec![pod("b", "10.0.0.3", 3)],
    ));
    assert_eq!(updates.len(), 2, "{updates:?}");
    assert!(state.pod_at("10.0.0.1".parse().expect("address")).is_none());
    assert!(state.pod_at("10.0.0.2".parse().expect("address")).is_none());
    let at = state.pod_at("10.0.0.3".parse().expect("address"));
    assert_eq!(at.map(|pod| &*pod.name.name), Some("b"));
}

#[test]
fn each_kind_has_a_revision_of_its_own() {
    let mut state = ClusterState::default();
    state.apply(Change::Upsert(pod("a", "10.0.0.1", 7)));
    state.apply(Change::Upsert(pod("b", "10.0.0.2", 5)));
    assert_eq!(state.revision_of(ObjectKind::Pod), 7);
    assert_eq!(state.revision_of(ObjectKind::Service), 0);
    assert_eq!(state.revision(), 7);
}

#[test]
fn a_finished_pod_gives_its_address_up() {
    let mut state = ClusterState::default();
    state.apply(Change::Upsert(pod("a", "10.0.0.1", 1)));
    let Object::Pod(a) = pod("a", "10.0.0.1", 2) else {
        unreachable!("pod() makes a Pod")
    };
    let finished = Pod {
        finished: true,
        ..(*a).clone()
    };
    state.apply(Change::Upsert(Object::Pod(Arc::new(finished))));
    assert!(state.pod_at("10.0.0.1".parse().expect("address")).is_none());
}
