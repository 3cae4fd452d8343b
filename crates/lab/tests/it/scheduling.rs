//! Which node a pod gets, and what is said when it gets none.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;

use crate::fixture::{Lab, is_ready};

fn pod(name: &str, selector: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: web}}}}\nspec:\n  \
         nodeSelector: {selector}\n  containers: [{{name: a, image: podway/toolbox}}]\n---\n"
    )
}

#[test]
fn pods_spread_over_the_nodes_and_follow_their_selector() {
    let lab = Lab::up(2);
    let names = ["a", "b", "c", "d"];
    lab.apply(&names.map(|name| pod(name, "{}")).concat());
    lab.apply(&pod("chosen", "{kubernetes.io/hostname: node2}"));
    let node = |name: &str| lab.pod(name, is_ready).spec.unwrap().node_name.unwrap();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for name in names {
        *counts.entry(node(name)).or_default() += 1;
    }
    assert_eq!(
        counts,
        [("node1".to_owned(), 2), ("node2".to_owned(), 2)].into()
    );
    assert_eq!(node("chosen"), "node2");
}

#[test]
fn a_pod_that_fits_nowhere_says_so() {
    let lab = Lab::up(1);
    lab.apply(&pod("lost", "{disk: ssd}"));
    let reason = |pod: &k8s_openapi::api::core::v1::Pod| {
        let conditions = pod.status.as_ref()?.conditions.as_deref()?;
        let scheduled = conditions
            .iter()
            .find(|condition| condition.type_ == "PodScheduled")?;
        (scheduled.status == "False")
            .then(|| scheduled.message.clone())
            .flatten()
    };
    let pod = lab.pod("lost", |pod| reason(pod).is_some());
    let reason = reason(&pod).unwrap();
    assert!(reason.contains("0/1 nodes are available"), "{reason}");
    crate::fixture::eventually("an Event", || {
        let events = lab.with_client(|client| async move {
            let events: Api<Event> = Api::default_namespaced(client);
            events.list(&ListParams::default()).await.unwrap()
        });
        events
            .iter()
            .any(|event| event.reason.as_deref() == Some("FailedScheduling"))
    });
}
