//! Which endpoints serve a service port (kube-proxy.md 1.3): intake from
//! slices, topology hints, terminating fallback.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use podway_model::{EndpointSlice, IpFamily, ServicePort, SliceEndpoint, SlicePort};

/// The node, as far as the choice of endpoints depends on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) node: &'a str,
    /// `None` where the node has no zone label: no zone hint names it then.
    pub(super) zone: Option<&'a str>,
}

/// The endpoints of a service port in one family, by address. Where several
/// slices hold one address, the healthiest entry counts.
pub(super) type Candidates<'a> = BTreeMap<SocketAddr, Candidate<'a>>;

/// An endpoint, and what the slice that it is in says of all its endpoints.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) endpoint: &'a SliceEndpoint,
    pub(super) slice_weight: Option<u8>,
}

/// Which endpoints a service port may use.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    /// Those of the cluster: ready and near, or else serving while they
    /// terminate. Empty only where no endpoint of the service can serve.
    pub(super) cluster: Candidates<'a>,
    /// Those of this node; topology does not matter here.
    pub(super) local: Candidates<'a>,
    /// All that slices hold.
    pub(super) all: Candidates<'a>,
    /// Whether any endpoint has a zone hint.
    pub(super) has_zone_hints: bool,
}

impl<'a> Selection<'a> {
    /// Chooses among the endpoints that slices hold for a port, for a node.
    pub(super) fn of(
        slices: &[&'a EndpointSlice],
        port: &ServicePort,
        family: IpFamily,
        place: Place<'_>,
    ) -> Self {
        let candidates = candidates(slices, port, family);
        let nearness = Nearness::of(&candidates, place);
        let local = |e: &SliceEndpoint| e.node.as_deref() == Some(place.node);
        Self {
            cluster: ready_or_terminating(&candidates, |e| nearness.admits(e, place), |_| true),
            local: ready_or_terminating(&candidates, local, local),
            has_zone_hints: candidates
                .values()
                .any(|c| !c.endpoint.zone_hints.is_empty()),
            all: candidates,
        }
    }
}

fn candidates<'a>(
    slices: &[&'a EndpointSlice],
    port: &ServicePort,
    family: IpFamily,
) -> Candidates<'a> {
    let mut found = Candidates::new();
    for slice in slices.iter().filter(|slice| slice.family == family) {
        let of_port = |p: &&SlicePort| p.name == port.name && p.protocol == port.protocol;
        for number in slice.ports.iter().filter(of_port).map(|p| p.port) {
            let of_family = |e: &&'a SliceEndpoint| IpFamily::of(&e.address) == family;
            for endpoint in slice.endpoints.iter().filter(of_family) {
                let candidate = Candidate {
                    endpoint,
                    slice_weight: slice.weight,
                };
                found
                    .entry(SocketAddr::new(endpoint.address, number))
                    .and_modify(|known| *known = healthier(*known, candidate))
                    .or_insert(candidate);
            }
        }
    }
    found
}

/// While a pod moves from one slice to another, both may hold it for a moment:
/// the entry that does not terminate is the newer one.
fn healthier<'a>(one: Candidate<'a>, other: Candidate<'a>) -> Candidate<'a> {
    let health = |c: Candidate<'_>| {
        let e = c.endpoint;
        (!e.terminating, e.ready, e.serving)
    };
    if health(other) > health(one) {
        other
    } else {
        one
    }
}

/// The ready endpoints that pass; if there are none, those that still serve
/// while they terminate (KEP-1669).
fn ready_or_terminating<'a>(
    candidates: &Candidates<'a>,
    ready: impl Fn(&SliceEndpoint) -> bool,
    terminating: impl Fn(&SliceEndpoint) -> bool,
) -> Candidates<'a> {
    let keep = |wanted: &dyn Fn(&SliceEndpoint) -> bool| -> Candidates<'a> {
        candidates
            .iter()
            .filter(|(_, candidate)| wanted(candidate.endpoint))
            .map(|(address, candidate)| (*address, *candidate))
            .collect()
    };
    let healthy = keep(&|e| e.ready && ready(e));
    if healthy.is_empty() {
        keep(&|e| e.serving && e.terminating && terminating(e))
    } else {
        healthy
    }
}

/// How near an endpoint must be. Hints count only when every ready endpoint has
/// one and one of them names this place: otherwise traffic could pile up on a
/// few endpoints while hints are being rolled out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nearness {
    SameNode,
    SameZone,
    Anywhere,
}

impl Nearness {
    fn of(candidates: &Candidates<'_>, place: Place<'_>) -> Self {
        let applies = |nearness: Self| {
            let endpoints = candidates.values().map(|candidate| candidate.endpoint);
            let mut ready = endpoints.filter(|e| e.ready).peekable();
            ready.peek().is_some()
                && ready.clone().all(|e| nearness.has_hint(e))
                && ready.any(|e| nearness.admits(e, place))
        };
        [Self::SameNode, Self::SameZone]
            .into_iter()
            .find(|nearness| applies(*nearness))
            .unwrap_or(Self::Anywhere)
    }

    fn has_hint(self, endpoint: &SliceEndpoint) -> bool {
        match self {
            Self::SameNode => !endpoint.node_hints.is_empty(),
            Self::SameZone => !endpoint.zone_hints.is_empty(),
            Self::Anywhere => true,
        }
    }

    fn admits(self, endpoint: &SliceEndpoint, place: Place<'_>) -> bool {
        match self {
            Self::SameNode => endpoint.node_hints.contains(place.node),
            Self::SameZone => place
                .zone
                .is_some_and(|zone| endpoint.zone_hints.contains(zone)),
            Self::Anywhere => true,
        }
    }
}
