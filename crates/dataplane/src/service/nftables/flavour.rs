//! Chains. Frontends that do the same share one: there are as many chains as
//! different behaviours, not as services.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use podway_kernel::nft::{Chain, Field, Rule, SetAction, Value};
use podway_plan::service::{Interfaces, Pool, PoolId, Reach, Route, Source, Verdict};

use super::skeleton::{Kind, REFUSE, SetId};
use crate::names::MASQUERADE_MARK;
use crate::service::parts::{Place, Scope, client_key, nft_family, saddr, with};

/// Where the indexes of local endpoints begin, so that a frontend can have
/// both: the cluster's for some sources and the node's for others.
const LOCAL_OFFSET: u32 = 0x1_0000;
const CLUSTER_IDS: u32 = 0x0000;
const LOCAL_IDS: u32 = 0x8000;
/// Ids are 15 bits: see [`endpoint_ids`].
const ID_MASK: u32 = 0x7fff;

/// How an endpoint is chosen from a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Pick {
    pub(super) scope: Scope,
    /// How many indexes there are to choose from, at least 1: one for each
    /// endpoint, or more where weights differ.
    pub(super) count: u32,
    pub(super) reach: Reach,
    /// How long a client keeps its endpoint, in seconds.
    pub(super) affinity: Option<u64>,
}

/// What becomes of a packet of one kind of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Action {
    Forward { pick: Pick, masquerade: bool },
    Reject,
    Drop,
}

/// All that the chain of a route depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Flavour {
    pub(super) scope: Scope,
    /// Whether only some sources may use the frontend.
    pub(super) restricted: bool,
    pub(super) pod: Action,
    pub(super) node: Action,
    pub(super) outside: Action,
}

/// Weights are expressed exactly up to so many slots; a pool with more endpoints
/// than a quarter of that rounds them.
const EXACT_SLOTS: usize = 4096;

/// The endpoints of a pool that are chosen from, and how many indexes each has:
/// indexes must stay below the offset of the local ones, ids within their bits.
pub(super) fn slots(pool: &Pool) -> Vec<(SocketAddr, usize)> {
    let limit = if pool.affinity.is_some() {
        ID_MASK
    } else {
        LOCAL_OFFSET - 1
    };
    let enough = EXACT_SLOTS.max(4 * pool.endpoints.len());
    pool.slots(enough.min(limit as usize))
}

fn count(pool: &Pool) -> u32 {
    let count = slots(pool).iter().map(|(_, slots)| slots).sum::<usize>();
    u32::try_from(count).expect("slots have a limit below 2^16")
}

/// The first index of a pool's endpoints.
pub(super) const fn offset(reach: Reach) -> u32 {
    match reach {
        Reach::Cluster => 0,
        Reach::Local => LOCAL_OFFSET,
    }
}

impl Flavour {
    /// The flavour of a route. A pool that is missing or empty refuses: the
    /// planner never makes one.
    pub(super) fn of<'t>(
        scope: Scope,
        route: &Route,
        pool: impl Fn(&PoolId) -> Option<&'t Pool>,
    ) -> Self {
        let action = |source| match route.verdict(source) {
            Verdict::Reject => Action::Reject,
            Verdict::Drop => Action::Drop,
            Verdict::Forward {
                pool: id,
                masquerade,
            } => match pool(id) {
                Some(found) if !found.endpoints.is_empty() => Action::Forward {
                    pick: Pick {
                        scope,
                        count: count(found),
                        reach: id.reach,
                        affinity: found.affinity.map(|time| time.as_secs()),
                    },
                    masquerade: *masquerade,
                },
                _ => Action::Reject,
            },
        };
        Self {
            scope,
            restricted: route.allow_from.is_some(),
            pod: action(Source::Pod),
            node: action(Source::Node),
            outside: action(Source::Outside),
        }
    }

    fn actions(&self) -> [Action; 3] {
        [self.pod, self.node, self.outside]
    }

    /// The different picks that it leads to.
    pub(super) fn picks(&self) -> Vec<Pick> {
        let mut picks: Vec<Pick> = self
            .actions()
            .into_iter()
            .filter_map(|action| match action {
                Action::Forward { pick, .. } => Some(pick),
                Action::Reject | Action::Drop => None,
            })
            .collect();
        picks.sort_unstable();
        picks.dedup();
        picks
    }

    /// Where the search for its class begins (FNV-1a of the name): the same
    /// after a restart, so that nothing is rewritten.
    pub(super) fn class_hint(&self) -> u32 {
        fnv(self.to_string().as_bytes())
    }

    pub(super) fn chain(&self) -> Chain {
        Chain::regular(self.to_string())
    }

    pub(super) fn rules(&self, pod_interfaces: Option<&Interfaces>) -> Vec<Rule> {
        let family = self.scope.family;
        let name = |kind| SetId { family, kind }.name();
        let mut rules = Vec::new();
        if self.restricted {
            let key = with(self.scope.key(), saddr(family));
            let allowed = name(Kind::Allowed(self.scope.place));
            rules.push(Rule::new().lookup_not(key, &allowed).drop());
        }
        // A process of the node may hold an address that the pods' prefix
        // covers (the bridge's), so the node comes first where it matters.
        if self.node != self.outside {
            let node = Rule::new().is(Field::FibSaddrType, Value::LOCAL);
            rules.push(self.node.apply(node));
        }
        if self.pod != self.outside {
            let pod = match pod_interfaces {
                None => Rule::new().lookup([saddr(family)], &name(Kind::Pods)),
                Some(interfaces) => Rule::new().is(Field::IifName, interface(interfaces)),
            };
            rules.push(self.pod.apply(pod));
        }
        rules.push(self.outside.apply(Rule::new()));
        rules
    }
}

fn interface(interfaces: &Interfaces) -> Value {
    match interfaces {
        Interfaces::Named(name) => Value::InterfaceName(name.to_string()),
        Interfaces::Prefixed(prefix) => Value::InterfacePrefix(prefix.to_string()),
    }
}

impl Action {
    fn apply(self, rule: Rule) -> Rule {
        match self {
            Self::Forward { pick, masquerade } => {
                let rule = if masquerade {
                    rule.mark_or(MASQUERADE_MARK)
                } else {
                    rule
                };
                rule.goto(&pick.to_string())
            }
            Self::Reject => rule.goto(REFUSE),
            Self::Drop => rule.drop(),
        }
    }
}

impl Pick {
    pub(super) fn chain(&self) -> Chain {
        Chain::regular(self.to_string())
    }

    pub(super) fn rules(&self) -> Vec<Rule> {
        let random = Field::NumgenRandom {
            modulus: self.count,
            offset: offset(self.reach),
        };
        let key = with(self.scope.key(), random);
        match self.affinity {
            Some(seconds) => self.sticky_rules(key, Duration::from_secs(seconds)),
            // The class has done its work: the packet goes on without it.
            None => vec![Rule::new().priority(0).dnat(
                nft_family(self.scope.family),
                key,
                &self.set(Kind::Endpoints),
            )],
        }
    }

    /// A known client's id leads to its endpoint, and its time begins anew. An
    /// id whose endpoint is gone leads nowhere: the client is forgotten, and
    /// chooses as a new one does.
    fn sticky_rules(&self, random: Vec<Field>, timeout: Duration) -> Vec<Rule> {
        let family = self.scope.family;
        let client = client_key(family);
        let affinity = SetId {
            family,
            kind: Kind::Affinity,
        }
        .name();
        let write = |rule: Rule, action, timeout| {
            rule.dynset(
                action,
                &affinity,
                client.clone(),
                timeout,
                [Field::Priority],
            )
        };
        let to_endpoint = |rule: Rule| {
            let key = with(self.scope.key(), Field::Priority);
            rule.dnat(nft_family(family), key, &self.set(Kind::StickyEndpoints))
        };
        let known = Rule::new().priority_from(client.clone(), &affinity);
        vec![
            to_endpoint(write(known, SetAction::Update, Some(timeout))),
            write(Rule::new(), SetAction::Delete, None),
            Rule::new().priority_from(random, &self.set(Kind::Slots)),
            // A rule of its own: where the map is full it ends here, and the
            // client is served without being remembered.
            write(Rule::new(), SetAction::Update, Some(timeout)),
            to_endpoint(Rule::new()),
        ]
    }

    fn set(&self, kind: impl Fn(Place) -> Kind) -> String {
        SetId {
            family: self.scope.family,
            kind: kind(self.scope.place),
        }
        .name()
    }

    fn write_tail(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count)?;
        if self.reach == Reach::Local {
            f.write_str("l")?;
        }
        match self.affinity {
            Some(seconds) => write!(f, "s{seconds}"),
            None => Ok(()),
        }
    }
}

/// The chain's name: `ip4-pick-3`, `node6-pick-2l`, `ip4-pick-3s10800`.
impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-pick-", self.scope.prefix())?;
        self.write_tail(f)
    }
}

/// The chain's name: what pods, the node and others get, `ip4-route-3-3m-3m`.
impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-route", self.scope.prefix())?;
        if self.restricted {
            f.write_str("-some")?;
        }
        for action in self.actions() {
            f.write_str("-")?;
            match action {
                Action::Forward { pick, masquerade } => {
                    pick.write_tail(f)?;
                    f.write_str(if masquerade { "m" } else { "" })?;
                }
                Action::Reject => f.write_str("reject")?,
                Action::Drop => f.write_str("drop")?,
            }
        }
        Ok(())
    }
}

/// Ids of endpoints, in their order, by which session affinity
/// remembers them. They come from the address, so that an endpoint keeps its id
/// when others come and go, and stay below 2^16, so that the packet priority
/// that carries one names no traffic class. Two of one pool may want the same:
/// then the second takes the next, and changes when the first leaves, which
/// costs its clients their affinity.
pub(super) fn endpoint_ids(reach: Reach, endpoints: &[(SocketAddr, usize)]) -> Vec<u32> {
    let base = match reach {
        Reach::Cluster => CLUSTER_IDS,
        Reach::Local => LOCAL_IDS,
    };
    let mut taken = std::collections::BTreeSet::new();
    endpoints
        .iter()
        .map(|(endpoint, _)| {
            let mut id = fnv(endpoint.to_string().as_bytes()) & ID_MASK;
            // 0 prints as "none"; there are fewer endpoints than ids.
            while id == 0 || !taken.insert(id) {
                id = (id + 1) & ID_MASK;
            }
            base | id
        })
        .collect()
}

fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// Chains of every kind, for the probe: each of the rules that they are made
/// of, in both families.
pub(super) fn every_kind() -> Vec<(Chain, Vec<Rule>)> {
    let mut chains = Vec::new();
    for family in podway_model::IpFamily::ALL {
        let scope = Scope {
            family,
            place: Place::Address,
        };
        let pick = |reach, affinity| Pick {
            scope,
            count: 1,
            reach,
            affinity,
        };
        let picks = [pick(Reach::Cluster, None), pick(Reach::Local, Some(1))];
        let flavour = Flavour {
            scope,
            restricted: true,
            pod: Action::Forward {
                pick: picks[0],
                masquerade: false,
            },
            node: Action::Reject,
            outside: Action::Forward {
                pick: picks[1],
                masquerade: true,
            },
        };
        chains.extend(picks.map(|pick| (pick.chain(), pick.rules())));
        chains.push((flavour.chain(), flavour.rules(None)));
    }
    chains
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use podway_plan::service::PoolEndpoint;

    use super::*;

    fn pool(count: u32) -> Pool {
        let endpoint = |index: u32| {
            let address = Ipv4Addr::from(0x0af4_0000 + index);
            let endpoint = PoolEndpoint {
                pod: None,
                local: false,
                weight: PoolEndpoint::FULL_WEIGHT,
            };
            (SocketAddr::new(address.into(), 80), endpoint)
        };
        Pool {
            endpoints: (0..count).map(endpoint).collect(),
            affinity: Some(Duration::from_secs(1)),
        }
    }

    #[test]
    fn ids_differ_and_name_no_traffic_class() {
        for (reach, count) in [
            (Reach::Cluster, 1),
            (Reach::Local, 1),
            (Reach::Cluster, 3000),
            (Reach::Local, 3000),
            // More than there are ids: the rest is not used.
            (Reach::Cluster, 40_000),
        ] {
            let ids = endpoint_ids(reach, &slots(&pool(count)));
            let distinct: std::collections::BTreeSet<&u32> = ids.iter().collect();
            assert_eq!(ids.len(), count.min(ID_MASK) as usize);
            assert_eq!(distinct.len(), ids.len(), "{count} endpoints");
            let base = if reach == Reach::Local { LOCAL_IDS } else { 0 };
            assert!(
                ids.iter()
                    .all(|id| id & !ID_MASK == base && id & ID_MASK != 0)
            );
        }
    }

    /// An endpoint that leaves takes its own clients with it, and few others.
    #[test]
    fn ids_stay_when_another_endpoint_leaves() {
        let all = pool(100);
        let before = endpoint_ids(Reach::Cluster, &slots(&all));
        let mut rest = all.clone();
        let first = *all.endpoints.keys().next().unwrap();
        rest.endpoints.remove(&first);
        let after = endpoint_ids(Reach::Cluster, &slots(&rest));
        let moved = before[1..].iter().zip(&after).filter(|(a, b)| a != b);
        assert_eq!(moved.count(), 0);
    }
}
