//! What no suite asks, in a lab as its user has it: pods that start, agents that
//! restart, connections that are under way, and who somebody is behind NAT.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::{Pod, Service};
use podway_model::Protocol;
use serde_json::{Value, json};

use super::corpus::PodInfo;
use super::world::World;
use crate::harness::{PODWAY, eventually, kill_9, text};
use crate::prober::{Prober, Target};

const DENIED: Duration = Duration::from_millis(500);
const ALLOWED: Duration = Duration::from_secs(5);

/// A lab with x/a, x/b and x/c: a and c on node1, b on node2.
fn world(name: &'static str) -> World {
    let mut world = World::new(name, &["tcp", "udp"]);
    let namespaces = BTreeMap::from([("x".to_owned(), BTreeMap::new())]);
    let pods = ["a", "b", "c"].map(|pod| PodInfo {
        namespace: "x".to_owned(),
        name: pod.to_owned(),
        ip: IpAddr::from([0, 0, 0, 0]),
        labels: BTreeMap::from([("pod".to_owned(), pod.to_owned())]),
    });
    world.stage(&namespaces, &pods);
    world
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "x"},
        "spec": spec,
    })
}

fn selects(pod: &str) -> Value {
    json!({"matchLabels": {"pod": pod}})
}

/// The first thing that these pods do is to connect. A policy that is in force
/// when they start denies it from the first packet on, whatever the agent knows
/// of them by then.
#[test]
fn a_pod_is_isolated_before_its_first_container_runs() {
    let mut world = world("polab-start");
    let server = world.addresses["x/b"].pod.clone();
    let starts = |world: &World, name: &str| {
        let targets: Vec<String> = server
            .iter()
            .map(|ip| format!("udp {} 300ms", SocketAddr::new(*ip, 80)))
            .collect();
        // Three times all at once, then again until the pod is 1.5 s old.
        let lines = targets.join("\\n");
        let script = format!(
            "for i in 1 2 3 4 5; do printf '{lines}\\n{lines}\\n{lines}\\n' | podway toolbox batch; done; echo DONE; exec podway toolbox pause"
        );
        let pod = json!({
            "metadata": {"name": name, "labels": {"app": "starter"}},
            "spec": {"nodeName": "node1", "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "none", "command": ["bash", "-c", script]}]},
        });
        world.objects().create::<Pod>("x", pod);
    };
    let said = |world: &World, name: &str| {
        eventually("a pod tries its connections", || {
            let log = world.lab().kubectl(&["logs", "-n", "x", name]);
            let log = String::from_utf8_lossy(&log.stdout).into_owned();
            if log.contains("DONE") {
                Ok(log)
            } else {
                Err(log)
            }
        })
    };
    starts(&world, "open");
    let log = said(&world, "open");
    assert_eq!(
        (log.matches("OK").count(), log.matches("TIMEOUT").count()),
        (30, 0),
        "without a policy: {log}"
    );

    world.enforce(&[policy(
        "deny",
        &json!({"podSelector": {"matchLabels": {"app": "starter"}}, "policyTypes": ["Egress"]}),
    )]);
    for name in ["s0", "s1", "s2", "s3", "s4", "s5"] {
        starts(&world, name);
    }
    for name in ["s0", "s1", "s2", "s3", "s4", "s5"] {
        let log = said(&world, name);
        assert_eq!(
            (log.matches("OK").count(), log.matches("TIMEOUT").count()),
            (0, 30),
            "{name}: {log}"
        );
    }
    // While the agent is down nothing can be in force for a new pod: it waits.
    kill_9(world.lab().process(&["podway agent", "/node1/"]));
    starts(&world, "late");
    eventually("the pod cannot start", || {
        let events = text(&world.lab().kubectl(&["get", "events", "-n", "x"]));
        if events.contains("FailedCreatePodSandBox") {
            Ok(())
        } else {
            Err(events)
        }
    });
    let log = world.lab().kubectl(&["logs", "-n", "x", "late"]);
    assert!(
        !String::from_utf8_lossy(&log.stdout).contains("TIMEOUT"),
        "it ran: {log:?}"
    );
    text(&world.lab().verb("up", &["--nodes", "2"]));
    let log = said(&world, "late");
    assert_eq!(
        (log.matches("OK").count(), log.matches("TIMEOUT").count()),
        (0, 30),
        "{log}"
    );
}

/// A loop of probes over agents that die and come back: what is denied stays
/// denied for every packet, what is allowed stays allowed.
#[test]
fn a_restart_of_the_agent_lets_no_packet_through() {
    let mut world = world("polab-restart");
    world.enforce(&[policy("p", &json!({
        "podSelector": selects("b"),
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": selects("a")}], "ports": [{"port": 80}, {"port": 80, "protocol": "UDP"}]}],
    }))]);
    let server = world.addresses["x/b"].clone();
    let name = world.name().clone();
    let loops = |pod: &str, expected: &'static str, limit: Duration| {
        let mut prober = Prober::start(&name, "x", pod);
        let addresses = [server.pod.clone(), server.service.clone()].concat();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let running = std::thread::spawn(move || {
            let mut tried = 0;
            while stopped.try_recv().is_err() {
                let targets: Vec<_> = addresses
                    .iter()
                    .flat_map(|ip| {
                        [Protocol::Tcp, Protocol::Udp].map(|protocol| Target {
                            protocol,
                            address: SocketAddr::new(*ip, 80),
                        })
                    })
                    .map(|target| (target, limit))
                    .collect();
                let outcomes = prober.ask(&targets);
                tried += targets.len();
                let wrong: Vec<_> = outcomes
                    .iter()
                    .filter(|(_, word)| *word != expected)
                    .collect();
                assert!(wrong.is_empty(), "after {tried}: {wrong:?}");
            }
            tried
        });
        (stop, running)
    };
    // Of those that are denied, many loops at a time, so that there is always
    // one that has just sent something.
    let mut running = vec![loops("a", "OK", ALLOWED)];
    running.extend((0..16).map(|_| loops("c", "TIMEOUT", Duration::from_millis(40))));
    for _ in 0..4 {
        for node in ["node1", "node2"] {
            kill_9(world.lab().process(&["podway agent", &format!("/{node}/")]));
        }
        text(&world.lab().verb("up", &["--nodes", "2"]));
        world.enforce_again();
    }
    let tried: Vec<usize> = running
        .into_iter()
        .map(|(stop, running)| {
            stop.send(()).ok();
            running.join().expect("every packet as expected")
        })
        .collect();
    println!(
        "{} allowed, {} denied connections over 4 restarts of both agents",
        tried[0],
        tried[1..].iter().sum::<usize>()
    );
}

/// A pod that goes by its own node's node port is masqueraded on the way; it is
/// judged as the pod that it is, and not as its node, which may reach its pods.
/// What another node has masqueraded comes with that node's address: nobody can
/// tell any more whose it was, and a policy for pods denies it.
#[test]
fn nobody_hides_behind_a_node_port() {
    let mut world = world("polab-nat");
    // c is on node1, as a is; b is on node2.
    let service = json!({
        "metadata": {"name": "by-node"},
        "spec": {"type": "NodePort", "ipFamilyPolicy": "RequireDualStack", "selector": {"pod": "c"},
                 "ports": [{"name": "t", "port": 80, "nodePort": NODE_PORT}, {"name": "u", "protocol": "UDP", "port": 80, "nodePort": NODE_PORT}]},
    });
    world.objects().create::<Service>("x", service);
    let name = world.name().clone();
    let mut probers = ["a", "b"].map(|pod| Prober::start(&name, "x", pod));
    eventually("the node port is served", || {
        let ways = [0, 1].map(|node| by_node_port(&mut probers[0], node, DENIED));
        if ways == ["OK", "OK"] {
            Ok(())
        } else {
            Err(format!("{ways:?}"))
        }
    });
    // From a and from b, each by node1 and by node2.
    let mut expect = |why: &str, expected: [[&str; 2]; 2]| {
        for (prober, (pod, words)) in probers.iter_mut().zip(["a", "b"].into_iter().zip(expected)) {
            for (node, word) in words.into_iter().enumerate() {
                let limit = if word == "OK" { ALLOWED } else { DENIED };
                assert_eq!(
                    by_node_port(prober, node, limit),
                    word,
                    "{pod} by node{}: {why}",
                    node + 1
                );
            }
        }
    };
    let ingress = |from: Value| json!({"podSelector": selects("c"), "policyTypes": ["Ingress"], "ingress": [{"from": from}]});
    expect("no policy", [["OK", "OK"], ["OK", "OK"]]);
    world.enforce(&[policy(
        "p",
        &ingress(json!([{"podSelector": selects("a")}])),
    )]);
    expect("only a", [["OK", "TIMEOUT"], ["TIMEOUT", "TIMEOUT"]]);
    world.enforce(&[policy(
        "p",
        &ingress(json!([{"podSelector": selects("b")}])),
    )]);
    expect("only b", [["TIMEOUT", "TIMEOUT"], ["TIMEOUT", "TIMEOUT"]]);
    // The nodes' addresses on the underlay and on the overlay, node1's as well.
    let nodes = [
        "172.16.0.0/24",
        "fd00:172:16::/64",
        "10.244.1.0/31",
        "fd00:10:244:1::/127",
        "10.244.2.0/31",
        "fd00:10:244:2::/127",
    ];
    let blocks = nodes.map(|cidr| json!({"ipBlock": {"cidr": cidr}}));
    let blocks = Value::from(blocks.to_vec());
    world.enforce(&[policy("p", &ingress(blocks))]);
    expect("only nodes", [["TIMEOUT", "OK"], ["OK", "OK"]]);
    // The node itself may, whatever the policies say.
    world.enforce(&[policy(
        "p",
        &json!({"podSelector": selects("c"), "policyTypes": ["Ingress"]}),
    )]);
    for ip in &world.addresses["x/c"].pod {
        let target = SocketAddr::new(*ip, 80).to_string();
        let words = ["node1", "--", PODWAY, "toolbox", "connect", &target];
        assert_eq!(text(&world.lab().verb("node", &words)).trim(), "OK", "{ip}");
    }
}

const NODE_PORT: u16 = 30180;

/// What comes of connections to a node's node port, of both protocols and
/// families; all of one word, or a list of them.
fn by_node_port(prober: &mut Prober, node: usize, limit: Duration) -> String {
    let node = [
        ["172.16.0.11", "fd00:172:16::11"],
        ["172.16.0.12", "fd00:172:16::12"],
    ][node];
    let targets = node.into_iter().flat_map(|ip| {
        let address = SocketAddr::new(ip.parse().expect("an address"), NODE_PORT);
        [Protocol::Tcp, Protocol::Udp].map(|protocol| (Target { protocol, address }, limit))
    });
    let outcomes = prober.ask(&targets.collect::<Vec<_>>());
    let words: BTreeSet<&str> = outcomes.values().map(String::as_str).collect();
    match words.into_iter().collect::<Vec<_>>()[..] {
        [word] => word.to_owned(),
        _ => format!("{outcomes:?}"),
    }
}

/// A connection that carries something every few milliseconds, by the Service,
/// between nodes. The policy that denies it is applied as a user does.
#[test]
fn a_connection_is_cut_when_its_policy_comes() {
    let mut world = world("polab-cut");
    let hold = |target: SocketAddr| {
        let (host, port) = (target.ip(), target.port());
        let script = format!(
            "exec 3<>/dev/tcp/{host}/{port}; read -u 3 who; while echo x >&3 && read -t 3 -u 3 back; do echo $EPOCHREALTIME; done"
        );
        let words = ["bash", "-c", &script].map(Into::into);
        let mut command: Command =
            podway_lab::exec(world.name(), "x", "a", None, &words).expect("the pod runs");
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("bash runs")
    };
    let targets = |name: &str| {
        world.addresses[name]
            .service
            .iter()
            .map(|ip| SocketAddr::new(*ip, 81))
            .collect::<Vec<_>>()
    };
    let mut held: Vec<_> = targets("x/b").into_iter().map(hold).collect();
    let mut others: Vec<_> = targets("x/c").into_iter().map(hold).collect();
    let mut lines: Vec<_> = held
        .iter_mut()
        .chain(&mut others)
        .map(|child| BufReader::new(child.stdout.take().expect("piped")).lines())
        .collect();
    for line in &mut lines {
        line.next().expect("it answers").expect("text");
    }
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock")
            .as_secs_f64()
    };
    let before = now();
    world.enforce(&[policy(
        "deny",
        &json!({"podSelector": selects("b"), "policyTypes": ["Ingress"]}),
    )]);
    let in_force = now();
    let mut others_lines = lines.split_off(held.len());
    for line in lines {
        // Ends when nothing has come for three seconds.
        let last = line
            .map_while(Result::ok)
            .last()
            .and_then(|last| last.parse::<f64>().ok());
        let last = last.unwrap_or(before);
        println!(
            "the policy was in force {:.1} ms after it was sent; the last answer came {:.1} ms after that moment",
            (in_force - before) * 1e3,
            (last - before) * 1e3
        );
        assert!(
            last < in_force,
            "an answer {:.3} s after the policy was in force",
            last - in_force
        );
    }
    for line in &mut others_lines {
        let later = now();
        let alive = line
            .map_while(Result::ok)
            .filter_map(|line| line.parse::<f64>().ok())
            .find(|at| *at > later);
        assert!(alive.is_some(), "the other connection was cut as well");
    }
    for mut child in held.into_iter().chain(others) {
        child.kill().ok();
        child.wait().ok();
    }
}
