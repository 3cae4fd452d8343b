//! A Service of type LoadBalancer from MetalLB's classic configuration to a client
//! outside: given by the controller, answered for by one node, and by another
//! when that is gone.

use std::path::Path;

use crate::harness::{Lab, both, eventually, text};

const WEB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/balancer/web.yaml");
const ADDRESS: &str = "172.16.0.200";

#[test]
fn an_address_of_metallbs_pool_is_served_and_outlives_its_node() {
    let lab = Lab::new("e2e-lb");
    let pool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/metallb-config.yaml");
    let pool = pool.display().to_string();
    let up = ["--nodes", "3", "--apply", &pool, "--apply", WEB];
    text(&lab.verb("up", &up));
    served(&lab);
    let given = [
        "get",
        "service",
        "web",
        "-o",
        "jsonpath={.status.loadBalancer.ingress[*].ip}",
    ];
    assert_eq!(text(&lab.kubectl(&given)), ADDRESS);
    let holder = eventually("one node holds the address", || match &holders(&lab)[..] {
        [one] => Ok(one.clone()),
        several => Err(format!("{several:?}")),
    });
    text(&lab.verb("kill-node", &[&holder]));
    eventually("another node answers", || {
        let others: Vec<String> = holders(&lab);
        let another = others.iter().any(|node| *node != holder);
        another.then_some(()).ok_or_else(|| format!("{others:?}"))
    });
    served(&lab);
}

/// Waits until a client outside is answered.
fn served(lab: &Lab) {
    let ask = [
        "--",
        "curl",
        "-sS",
        "--max-time",
        "2",
        "http://172.16.0.200/",
    ];
    let answer = eventually("an answer from the address", || {
        let asked = lab.verb("client", &ask);
        if asked.status.success() {
            Ok(text(&asked))
        } else {
            Err(both(&asked))
        }
    });
    assert!(answer.starts_with("web-"), "{answer}");
}

/// The nodes that say they hold the address; a node that is dead said it last.
fn holders(lab: &Lab) -> Vec<String> {
    let all = [
        "get",
        "configmaps",
        "-n",
        "kube-system",
        "-l",
        "podway.dev/node",
        "-o",
    ];
    let data = "jsonpath={range .items[*]}{.data.status\\.json}{\"\\n\"}{end}";
    let said = text(&lab.kubectl(&[&all[..], &[data]].concat()));
    let statuses = said.lines().filter(|line| !line.is_empty());
    let statuses = statuses.map(|line| serde_json::from_str(line).unwrap());
    statuses
        .filter(|status: &serde_json::Value| {
            let held = status["loadBalancer"]["held"].as_array();
            held.is_some_and(|held| held.iter().any(|address| address == ADDRESS))
        })
        .map(|status| status["node"].as_str().unwrap().to_owned())
        .collect()
}
