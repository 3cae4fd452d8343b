//! Why a connection comes to pass, or not: `decide` of services and policies,
//! told in the order that a packet meets them. Never a second implementation:
//! what is said here is what the tables say.

mod answer;
mod complete;
mod connect;
mod effect;
mod error;
mod judge;
mod party;
mod path;
mod pod_view;
mod policy_view;
mod question;
mod rule_view;
mod service_view;
mod why;

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use podway_model::{ClusterState, Node};

use crate::policy::{PolicyPlanner, PolicyTable};
use crate::service::{NodeContext, ServicePlanner};

pub use answer::{Answer, EndpointAnswer, SideAnswer, Verdict};
pub use effect::{Effect, EffectRow};
pub use error::{ExplainError, Hint};
pub use pod_view::{IsolationView, PodView};
pub use policy_view::PolicyView;
pub use question::Question;
pub use rule_view::RuleView;
pub use service_view::{FrontendView, PoolEndpointView, PoolView, ServiceView};

/// Answers questions about one state. What several questions need is planned
/// once: the policies of all nodes, and the services of each node asked about.
#[derive(Debug)]
pub struct Explainer {
    state: ClusterState,
    policies: PolicyTable,
    services: BTreeMap<Arc<str>, ServicePlanner>,
}

impl Explainer {
    /// Takes a state, from a cluster or from files. What a cluster's own
    /// controllers add and files may lack is added first: the name label of
    /// Namespaces, and the EndpointSlices of a Service that has a selector and
    /// no slice at all.
    #[must_use]
    pub fn new(mut state: ClusterState) -> Self {
        complete::complete(&mut state);
        Self {
            policies: PolicyPlanner::plan(None, &state).table().clone(),
            services: BTreeMap::new(),
            state,
        }
    }

    /// Answers a question about one connection.
    ///
    /// # Errors
    ///
    /// The question names what does not exist, or makes no sense.
    pub fn connect(&mut self, question: &Question) -> Result<Answer, ExplainError> {
        connect::connect(self, question)
    }

    /// Plans the services as a node has them, unless that is done.
    fn plan_services(&mut self, node: &Arc<str>) {
        let state = &self.state;
        self.services.entry(node.clone()).or_insert_with(|| {
            let mut planner = ServicePlanner::new(context(state, node));
            planner.plan_all(state);
            planner
        });
    }
}

/// Answers one question about a state.
///
/// # Errors
///
/// The question names what does not exist, or makes no sense.
pub fn connect(state: &ClusterState, question: &Question) -> Result<Answer, ExplainError> {
    Explainer::new(state.clone()).connect(question)
}

/// A node's context. The pods of a node that has no prefixes (its object is
/// missing from the files, or other software gives addresses out) are known
/// here by name, which is as good as a detector: every prefix stands for that.
fn context(state: &ClusterState, node: &Arc<str>) -> NodeContext {
    let known = state.node(node).map(|node| &**node);
    let prefixes = known.map_or(&[][..], |node: &Node| &node.pod_prefixes);
    let everything = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    NodeContext {
        node: node.clone(),
        pod_prefixes: match prefixes {
            [] => everything.to_vec(),
            prefixes => prefixes.to_vec(),
        },
        ..NodeContext::default()
    }
}
