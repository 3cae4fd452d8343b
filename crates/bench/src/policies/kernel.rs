//! What a change costs until packets meet it: planned, rendered and written, on
//! a node with 1,000 pods, each isolated by a policy of its own.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use podway_dataplane::policy::{BACKENDS, BackendSpec, Established, PolicyBackend, PolicyOptions};
use podway_kernel::netns::NetNs;
use podway_model::{Change, ClusterState, Object, ObjectRef};
use podway_plan::policy::PolicyPlanner;

use super::cluster::{self, Size};
use crate::measure::{Samples, time};
use crate::{Bench, Figure, Line, Target};

/// 1,000 pods of the node, 10,000 of the cluster, 1,000 policies.
pub(super) const SIZE: Size = Size {
    namespaces: 10,
    applications: 100,
    local: 100,
    remote: 900,
};
const OF: &str = "1000 policies on 1000 pods";
const CHANGE: Target = Target::AtMost(Figure::Time(Duration::from_millis(10)));

/// A node that follows its cluster.
pub(super) struct Node {
    state: ClusterState,
    planner: PolicyPlanner,
    backend: Box<dyn PolicyBackend>,
}

impl Node {
    /// A node of a cluster, in this namespace; nothing is written yet.
    pub(super) fn new(
        spec: &BackendSpec,
        namespace: &NetNs,
        state: ClusterState,
    ) -> anyhow::Result<Self> {
        let options = PolicyOptions {
            established: Established::Cut,
            anti_spoofing: None,
            log: None,
        };
        Ok(Self {
            planner: PolicyPlanner::plan(Some("node1".into()), &state),
            state,
            backend: namespace.run(|| (spec.open)(options))??,
        })
    }

    /// Writes everything; says how many elements.
    pub(super) fn write_all(&mut self) -> anyhow::Result<u64> {
        let report = self.backend.sync(self.planner.table(), None)?;
        self.settle()?;
        Ok(report.elements)
    }

    fn follow(&mut self, change: Change) -> anyhow::Result<Duration> {
        let (taken, written) = time(|| {
            let updates = self.state.apply(change);
            let change = self.planner.update(&self.state, &updates);
            self.backend.sync(self.planner.table(), Some(&change))
        });
        // Some write nothing: a label that no pod's policies ask for any more.
        written?;
        self.settle()?;
        Ok(taken)
    }

    /// What the backend does in its own time, at once.
    fn settle(&mut self) -> anyhow::Result<()> {
        let mut now = Instant::now();
        while let Some(due) = self.backend.follow_up(now)? {
            std::thread::yield_now();
            now = now.max(due);
        }
        Ok(())
    }
}

pub(super) fn measure(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    for spec in BACKENDS {
        let namespace = NetNs::anonymous().context("make a network namespace: are you root?")?;
        let mut node = Node::new(spec, &namespace, SIZE.state())?;
        let (taken, elements) = time(|| node.write_all());
        let name = |what: &str| format!("{}: {what}", spec.name);
        bench.add(Line::new(
            name(&format!("{OF} from nothing")),
            Figure::Time(taken),
        ));
        bench.add(Line::new(
            name("elements of that"),
            Figure::Count(elements?),
        ));
        for (what, change) in CHANGES {
            let rounds = u32::try_from(bench.rounds(1_000))?;
            let changes = (0..rounds).map(|round| node.follow(change(round)));
            let changes = Samples::new(changes.collect::<anyhow::Result<_>>()?);
            let line = |percent| {
                let name = name(&format!("{what} among {OF}, to the kernel, p{percent}"));
                Line::new(name, Figure::Time(changes.percentile(percent)))
            };
            bench.add(line(50));
            bench.add(line(99).target(CHANGE));
        }
    }
    Ok(())
}

type Made = fn(u32) -> Change;

const CHANGES: [(&str, Made); 4] = [
    ("a policy", |round| {
        let port = cluster::PORT + u16::from((round / 1_000).is_multiple_of(2));
        let policy = SIZE.policy(round % 10, round / 10 % 100, port);
        Change::Upsert(Object::NetworkPolicy(policy.into()))
    }),
    ("a label of a pod of the node", |round| {
        let number = round / 10 % 100;
        let mut pod = SIZE.pod(round % 10, number);
        let app = format!("app{}", (number + 1 + round % 98) % 100);
        pod.labels.insert("app".to_owned(), app);
        cluster::upsert(pod)
    }),
    ("a label of a pod elsewhere", |round| {
        let mut pod = SIZE.pod(round % 10, 100 + round / 10 % 100);
        pod.labels
            .insert("app".to_owned(), format!("app{}", 1 + round % 99));
        cluster::upsert(pod)
    }),
    ("a pod that comes and goes", |round| {
        let pod = SIZE.newcomer(round / 2);
        if round.is_multiple_of(2) {
            cluster::upsert(pod)
        } else {
            Change::Delete(ObjectRef::Pod(pod.name))
        }
    }),
];
