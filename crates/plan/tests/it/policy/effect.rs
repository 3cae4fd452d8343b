//! What policies open and close, as `explain policy` says it.

use podway_model::{ClusterState, Object};
use podway_plan::explain::{Effect, Explainer};
use podway_plan::policy::{Connection, PolicyPlanner, decide};
use podway_testkit::builders::ip;
use podway_testkit::policy_scenario::parse;

const PODS: &str = "namespace x team=red
namespace y team=green
pod x/a node1 10.0.1.1,fd00:1::1 app=a
pod x/b node1 10.0.1.2,fd00:1::2 app=b
pod x/c node1 10.0.1.3,fd00:1::3 app=b
pod y/a node2 10.0.2.1,fd00:2::1 app=a
pod y/b node2 10.0.2.2,fd00:2::2 app=b
case pods
";

fn state(policies: &str) -> ClusterState {
    parse("effect", &format!("{PODS}{policies}"))
        .remove(0)
        .state
}

fn policies_of(state: &ClusterState) -> Vec<Object> {
    let network = state.policies().cloned().map(Object::NetworkPolicy);
    let cluster = state.cluster_policies().cloned();
    network
        .chain(cluster.map(Object::ClusterNetworkPolicy))
        .collect()
}

/// What applying some policies changes where others are.
fn applying(new: &str, present: &str) -> Effect {
    Explainer::new(state(present)).effect_of_applying(policies_of(&state(new)))
}

#[test]
fn what_a_new_policy_closes() {
    let effect = applying(
        "policy x/p app=a\ningress from pods app=b ports tcp/80\n",
        "",
    );
    assert_eq!(
        effect.to_string(),
        "closes everything but 80/tcp\n    from  x/b, x/c\n    to    x/a\n\
         closes everything\n    from  all 2 pods of y, outside\n    to    x/a\n"
    );
    assert_eq!(effect.opens, []);
}

#[test]
fn what_a_new_policy_opens_between_those_that_others_isolate() {
    let present = "policy x/closed *\ningress none\npolicy y/closed app=b\negress none\n";
    let new = "policy x/p app=a\ningress from namespaces team=green ports tcp/80-90 udp\n";
    let effect = applying(new, present);
    // y/b may not send anything, whoever would take it.
    assert_eq!(
        effect.to_string(),
        "opens 80-90/tcp, every udp port\n    from  y/a\n    to    x/a\n"
    );
    assert_eq!(effect.opens[0].families, ["IPv4", "IPv6"]);
}

#[test]
fn blocks_are_told_from_those_outside() {
    let new = "policy x/p app=a\negress to block 192.0.2.0/24 ports tcp/443\n\
               egress to block 10.0.1.2/32\negress to block ::/0\n";
    let effect = applying(new, "");
    assert_eq!(
        effect.to_string(),
        "closes everything but 443/tcp (IPv4 only)\n    from  x/a\n    to    outside (192.0.2.0/24)\n\
         closes everything (IPv4 only)\n    from  x/a\n    to    all 2 pods of y, x/c, outside\n"
    );
}

#[test]
fn a_cluster_policy_and_a_policy_in_audit_mode() {
    let new = "cluster first admin 1 namespaces team=red\naudit\n\
               ingress deny from namespaces team=green ports tcp/80\n";
    let effect = applying(new, "");
    assert_eq!(
        effect.to_string(),
        "closes 80/tcp\n    from  all 2 pods of y\n    to    all 3 pods of x\n"
    );
    // As it is in force: what would change if it were not there.
    let explainer = Explainer::new(state(new));
    let view = explainer.policy("first").expect("the policy");
    assert_eq!(view.effect, effect);
    assert_eq!(view.tier.as_deref(), Some("admin 1"));
    assert!(view.audit);
}

#[test]
fn a_policy_that_changes_nothing() {
    let open = "policy x/p app=a\ningress any\n";
    let effect = applying(open, "");
    assert!(effect.is_empty());
    assert_eq!(
        effect.to_string(),
        "Nothing changes between the pods that there are now.\n"
    );
    let same = "policy x/p app=a\ningress none\n";
    assert!(applying(same, same).is_empty());
}

/// Every pair and port by `decide`, without the policies and with them.
#[test]
fn the_matrix_is_that_of_decide() {
    let text = format!("{}\n", include_str!("tiers.txt"));
    for case in parse("tiers.txt", &text) {
        let explainer = Explainer::new(case.state.clone());
        let policies = policies_of(&case.state);
        let effect = explainer.effect(policies.clone());
        let mut without = case.state.clone();
        for policy in &policies {
            without.apply(podway_model::Change::Delete(policy.reference()));
        }
        let mut enforced = without.clone();
        for policy in policies {
            let policy = match policy {
                Object::NetworkPolicy(p) => Object::NetworkPolicy(
                    podway_model::NetworkPolicy {
                        audit: false,
                        ..(*p).clone()
                    }
                    .into(),
                ),
                Object::ClusterNetworkPolicy(p) => Object::ClusterNetworkPolicy(
                    podway_model::ClusterNetworkPolicy {
                        audit: false,
                        ..(*p).clone()
                    }
                    .into(),
                ),
                other => other,
            };
            enforced.apply(podway_model::Change::Upsert(policy));
        }
        let before = PolicyPlanner::plan(None, &without);
        let after = PolicyPlanner::plan(None, &enforced);
        for (from, to) in pairs(&case.state) {
            let connection = Connection {
                source: from.1,
                destination: to.1,
                protocol: podway_model::Protocol::Tcp,
                port: 80,
                node: None,
                through_service: false,
            };
            let [was, is] =
                [&before, &after].map(|planner| decide(planner.table(), &connection).is_allowed());
            let says = |rows: &[podway_plan::explain::EffectRow]| {
                rows.iter().any(|row| {
                    row.from.contains(&from.0)
                        && row.to.contains(&to.0)
                        && row.families.contains(&"IPv4".to_owned())
                        && covers_80(&row.ports)
                })
            };
            let found = (says(&effect.opens), says(&effect.closes));
            let place = format!("{}: {} to {}: {effect}", case.title, from.0, to.0);
            assert_eq!(found, (!was && is, was && !is), "{place}");
        }
    }
}

type Named = (String, std::net::IpAddr);

fn pairs(state: &ClusterState) -> Vec<(Named, Named)> {
    let pods: Vec<Named> = state
        .pods()
        .filter(|pod| pod.owns_addresses())
        .map(|pod| (pod.name.to_string(), pod.addresses[0]))
        .collect();
    let mut parties = pods.clone();
    parties.push(("outside".to_owned(), ip("203.0.113.77")));
    let others = |one: &Named| {
        let others = parties.iter().filter(|other| other.0 != one.0);
        others.cloned().collect::<Vec<_>>()
    };
    pods.iter()
        .flat_map(|one| {
            others(one)
                .into_iter()
                .flat_map(|other| [(one.clone(), other.clone()), (other, one.clone())])
        })
        .collect()
}

/// Whether port 80 of TCP is among ports as they are written.
fn covers_80(ports: &[String]) -> bool {
    let within = |text: &str| {
        let Some(range) = text.strip_suffix("/tcp") else {
            return text == "every tcp port";
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<u16>().expect("a port");
        (number(first)..=number(last)).contains(&80)
    };
    ports
        .iter()
        .any(|text| match text.strip_prefix("everything") {
            Some("") => true,
            Some(but) => !but.trim_start_matches(" but ").split(", ").any(within),
            None => within(text),
        })
}
