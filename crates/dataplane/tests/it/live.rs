//! The fourth judge of the flows: real packets. Every flow is sent by its
//! source's own namespace, and what answers says which address it is and who it
//! saw.

mod shares;
mod stage;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use podway_dataplane::service::{BackendSpec, ServiceBackend, iptables, ipvs, nftables, userspace};
use podway_kernel::conntrack::ConntrackTable;
use podway_kernel::ipset::IpSetTable;
use podway_kernel::iptables::{Variant, Xtables};
use podway_kernel::netns::NetNs;
use podway_model::Protocol;
use podway_plan::service::{NodeContext, ServiceTable, Source};
use podway_testkit::flows;
use podway_testkit::scenario::Flow;

use self::stage::Stage;
use self::wire::{Answer, Ask};
use crate::service::{plan, settings};

/// What serves. Mode `iptables` has two variants.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    Spec(&'static BackendSpec),
    Legacy,
}

impl Mode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Spec(spec) => spec.name,
            Self::Legacy => "iptables (legacy)",
        }
    }

    /// Opens it in a namespace, where it finds what the last one left.
    pub(crate) fn start_in(self, node: &NetNs, context: &NodeContext) -> Box<dyn ServiceBackend> {
        let open = || match self {
            Self::Spec(spec) => spec.start(settings(context)).unwrap(),
            Self::Legacy => Box::new(iptables::IptablesServices::new(
                Xtables::open_variant(Variant::Legacy).unwrap(),
                IpSetTable::open().unwrap(),
                ConntrackTable::open().unwrap(),
                settings(context),
            )),
        };
        node.run(open).unwrap()
    }
}

#[test]
fn every_flow_arrives_as_written_in_nftables() {
    judge(Mode::Spec(&nftables::SPEC));
}

#[test]
fn every_flow_arrives_as_written_in_iptables() {
    judge(Mode::Spec(&iptables::SPEC));
}

#[test]
fn every_flow_arrives_as_written_in_iptables_legacy() {
    judge(Mode::Legacy);
}

#[test]
fn every_flow_arrives_as_written_in_userspace() {
    judge(Mode::Spec(&userspace::SPEC));
}

/// Run by `vm/test`: see docs/second-kernel.md.
#[test]
#[ignore = "needs IP_VS, which the second kernel has"]
fn every_flow_arrives_as_written_in_ipvs() {
    judge(Mode::Spec(&ipvs::SPEC));
}

/// One stage, on which all cases are played one after another: each one's
/// backend finds the rules of the one before.
fn judge(mode: Mode) {
    let files = flows::all();
    let stage = Stage::new(files.iter().flat_map(|(_, cases)| cases));
    let (mut judged, mut wrong) = (0, Vec::new());
    for (file, cases) in &files {
        for case in cases {
            for (label, context) in &case.contexts {
                let flows = case.flows.iter().filter(|flow| flow.context == *label);
                let flows: Vec<&Flow> = flows.filter(|flow| is_playable(mode, flow)).collect();
                judged += flows.len();
                let scene = Scene {
                    mode,
                    stage: &stage,
                    context,
                    table: plan(&case.state, context),
                };
                let mistakes = scene.play(&flows);
                if !mistakes.is_empty() {
                    let title = &case.title;
                    wrong.push(format!("{file}: case `{title}` on {label}:\n{mistakes}"));
                }
            }
        }
    }
    let (mode, count) = (mode.name(), wrong.len());
    assert!(judged > 500, "{mode}: only {judged} flows");
    assert!(
        wrong.is_empty(),
        "{mode}: {count} cases\n{}",
        wrong.join("\n")
    );
}

/// This kernel has no SCTP sockets. Loopback addresses are served where a mode
/// starts as the agent starts it.
fn is_playable(mode: Mode, flow: &Flow) -> bool {
    let is_sctp = flow.packet.protocol == Protocol::Sctp;
    let is_loopback = flow.packet.destination.ip().is_loopback();
    let is_served = !is_loopback || matches!(mode, Mode::Spec(_));
    !is_sctp && is_served
}

/// A case as one node meets it, in one mode.
struct Scene<'s> {
    mode: Mode,
    stage: &'s Stage,
    context: &'s NodeContext,
    table: ServiceTable,
}

impl Scene<'_> {
    /// All flows at once, as silence takes its time; what went wrong, with
    /// everything that there is to know.
    fn play(&self, flows: &[&Flow]) -> String {
        let mut backend = self.mode.start_in(&self.stage.node, self.context);
        backend.sync(&self.table, None).unwrap();
        let mistakes: Vec<String> = thread::scope(|scope| {
            let judges = flows.iter().map(|flow| scope.spawn(|| self.mistake(flow)));
            let judges: Vec<_> = judges.collect();
            let found = judges
                .into_iter()
                .map(|judge| judge.join().expect("a judge"));
            found.flatten().collect()
        });
        backend.retire(Duration::ZERO);
        if mistakes.is_empty() {
            return String::new();
        }
        let held = self.stage.rules(self.mode.name());
        format!("{}\n{:#?}\n{held}", mistakes.join("\n"), self.table)
    }

    fn mistake(&self, flow: &Flow) -> Option<String> {
        let expected = self.expected(flow);
        let ask = Ask {
            from: flow.packet.source_address,
            to: flow.packet.destination,
            is_udp: flow.packet.protocol == Protocol::Udp,
        };
        let client = match flow.packet.source {
            Source::Node => &self.stage.node,
            Source::Pod | Source::Outside => &self.stage.hosts[&ask.from],
        };
        let found = client.run(|| expected.met_by(self.stage, &ask)).unwrap();
        found
            .err()
            .map(|found| format!("  {}\n    found: {found}", flow.line))
    }

    fn expected(&self, flow: &Flow) -> Expected {
        match flow.outcome.as_str() {
            "REJECT" => Expected::Refused,
            "DROP" => Expected::Silence,
            "PASS" => Expected::Answers(BTreeMap::from([(flow.packet.destination, false)])),
            endpoints => {
                let all = endpoints.ends_with('M');
                let words = endpoints.split_whitespace().filter(|word| *word != "M");
                let read = |word: &str| {
                    let address = word.trim_end_matches('*').parse().expect("an endpoint");
                    let is_hidden = all || word.ends_with('*') || self.hides(flow, address);
                    (address, is_hidden)
                };
                Expected::Answers(words.map(read).collect())
            }
        }
    }

    /// Where a mode cannot keep a source that the table keeps: see the mode's
    /// page in docs/backends.
    fn hides(&self, flow: &Flow, endpoint: SocketAddr) -> bool {
        let source = flow.packet.source_address;
        let is_from_node = flow.packet.source == Source::Node;
        let mut pods = self.context.pod_prefixes.iter();
        match self.mode.name() {
            "ipvs" => is_from_node,
            // Replies of another node's pod would not come back to the proxy.
            "userspace" if !is_from_node && !pods.any(|pods| pods.contains(&source)) => {
                let pools = self.table.pools.values();
                let mut known = pools.filter_map(|pool| pool.endpoints.get(&endpoint));
                !known.any(|endpoint| endpoint.local)
            }
            _ => false,
        }
    }
}

/// What a flow's outcome means on the wire.
#[derive(Debug)]
enum Expected {
    Refused,
    Silence,
    /// Who answers, and whether it sees another address than the client's.
    Answers(BTreeMap<SocketAddr, bool>),
}

impl Expected {
    /// Asks until every endpoint that may answer has, and a few times more.
    fn met_by(&self, stage: &Stage, ask: &Ask) -> Result<(), String> {
        const MORE: usize = 4;
        const MOST: usize = 6_000;
        let expected = match self {
            Self::Answers(expected) => expected,
            Self::Refused => return expect(&Answer::Refused, &ask.patiently(stage.next_port())),
            Self::Silence => return expect(&Answer::Silence, &ask.briefly(stage.next_port())),
        };
        let mut seen = BTreeSet::new();
        let mut more = 0;
        for _ in 0..MOST {
            let answer = ask.patiently(stage.next_port());
            let Answer::From { answered, saw } = answer else {
                return Err(format!("{answer:?} after {seen:?}"));
            };
            if expected.get(&answered) != Some(&(saw != ask.from)) {
                return Err(format!("{answered} answered, and saw {saw}"));
            }
            seen.insert(answered);
            more += usize::from(seen.len() == expected.len());
            if more > MORE {
                return Ok(());
            }
        }
        Err(format!("only {seen:?} answered"))
    }
}

fn expect(expected: &Answer, found: &Answer) -> Result<(), String> {
    if expected == found {
        Ok(())
    } else {
        Err(format!("{found:?}"))
    }
}
