//! On which nodes a Service is in force.

use std::collections::BTreeMap;
use std::fmt;

use podway_agent::status::NodeStatus;
use podway_model::{ClusterState, ObjectKind, ObjectName};
use serde::Serialize;

/// A Service on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Programmed {
    node: String,
    /// The Service and all of its EndpointSlices, as the API server has them
    /// now.
    in_force: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What each node says. A node's status has the highest revision of each kind
/// that it has in force; whatever of that kind is not newer is in force too.
pub(super) fn programmed(
    state: &ClusterState,
    service: &ObjectName,
    statuses: &BTreeMap<String, Option<NodeStatus>>,
) -> Vec<Programmed> {
    let own = state.service(service).map_or(0, |service| service.revision);
    let slices = state.slices_of(service).map(|slice| slice.revision);
    let needed = [
        (ObjectKind::Service, own),
        (ObjectKind::EndpointSlice, slices.max().unwrap_or(0)),
    ];
    let judge = |(node, status): (&String, &Option<NodeStatus>)| {
        let reason = missing(status.as_ref(), &needed);
        Programmed {
            node: node.clone(),
            in_force: reason.is_none(),
            reason,
        }
    };
    statuses.iter().map(judge).collect()
}

fn missing(status: Option<&NodeStatus>, needed: &[(ObjectKind, u64)]) -> Option<String> {
    let Some(status) = status else {
        return Some("no agent has reported".to_owned());
    };
    if status.services.is_none() {
        return Some("its agent does not serve Services".to_owned());
    }
    if !status.synced {
        return Some("its agent is starting".to_owned());
    }
    let behind = needed
        .iter()
        .find(|(kind, revision)| !status.has_in_force(*kind, *revision))?;
    let (kind, revision) = behind;
    let known = status.revisions.get(&format!("{kind:?}")).copied();
    let mut problems = status.problems.iter().filter(|p| p.feature == "services");
    let problem = problems
        .next()
        .map_or_else(String::new, |problem| format!(": {}", problem.message));
    let known = known.unwrap_or(0);
    Some(format!(
        "behind: has {kind:?} revision {known} in force, {revision} is asked for{problem}"
    ))
}

impl fmt::Display for Programmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            None => write!(f, "  {}: in force", self.node),
            Some(reason) => write!(f, "  {}: {reason}", self.node),
        }
    }
}

#[cfg(test)]
mod tests {
    use podway_agent::status::{FeatureProblem, ServicesStatus};
    use podway_model::{Change, Object};
    use podway_watch::manifest;

    use super::*;

    /// A Service at revision 7, its slice at 9.
    fn state() -> ClusterState {
        let text = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, resourceVersion: '7'}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  {name: web-1, namespace: shop, resourceVersion: '9', labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: []
ports: []
";
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.yaml");
        std::fs::write(&file, text).unwrap();
        let objects = manifest::read(&[file]).unwrap();
        manifest::load_state(&objects)
    }

    fn status(service: u64, slice: u64) -> NodeStatus {
        NodeStatus {
            synced: true,
            revisions: [
                ("Service".to_owned(), service),
                ("EndpointSlice".to_owned(), slice),
            ]
            .into(),
            services: Some(ServicesStatus::default()),
            ..NodeStatus::default()
        }
    }

    #[test]
    fn a_service_is_in_force_with_all_of_its_slices() {
        let failing = NodeStatus {
            problems: vec![FeatureProblem {
                feature: "services".to_owned(),
                message: "no".to_owned(),
            }],
            ..status(6, 9)
        };
        let off = NodeStatus {
            services: None,
            ..status(9, 9)
        };
        for (status, expected) in [
            (Some(status(7, 9)), None),
            (Some(status(100, 100)), None),
            (
                Some(status(7, 8)),
                Some("behind: has EndpointSlice revision 8 in force, 9 is asked for"),
            ),
            (
                Some(failing),
                Some("behind: has Service revision 6 in force, 7 is asked for: no"),
            ),
            (Some(off), Some("its agent does not serve Services")),
            (None, Some("no agent has reported")),
        ] {
            let statuses = [("node1".to_owned(), status)].into();
            let said = programmed(&state(), &ObjectName::new("shop", "web"), &statuses);
            assert_eq!(said[0].reason.as_deref(), expected, "{statuses:?}");
            assert_eq!(said[0].in_force, expected.is_none());
        }
    }

    #[test]
    fn what_is_gone_moves_the_revision() {
        let mut state = state();
        state.apply(Change::Seen(ObjectKind::Service, 12));
        assert_eq!(state.revision_of(ObjectKind::Service), 12);
        let kinds = state.services().map(|s| Object::Service(s.clone()).kind());
        assert_eq!(kinds.collect::<Vec<_>>(), [ObjectKind::Service]);
    }
}
