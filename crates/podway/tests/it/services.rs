//! What users expect of Services, in a lab, in every mode that this kernel has:
//! the behaviours of Kubernetes' own end-to-end suites that need no cloud.

use std::collections::BTreeSet;
use std::process::Output;

use podway_dataplane::service::BACKENDS;

use crate::harness::{Lab, PODWAY, both, eventually, kill_9, text};

const OBJECTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/it/services/objects.yaml"
);

/// The node ports of node1 and node2, by family.
const NODES: [[&str; 2]; 2] = [
    ["172.16.0.11", "[fd00:172:16::11]"],
    ["172.16.0.12", "[fd00:172:16::12]"],
];
/// How often something random is asked: an endpoint of two that is passed over
/// so often by chance is seen once in 10^9 runs.
const TIMES: usize = 30;

#[test]
fn services_behave_in_nftables() {
    behave("e2e-svc-nft", "nftables");
}

#[test]
fn services_behave_in_iptables() {
    behave("e2e-svc-ipt", "iptables");
}

#[test]
fn services_behave_in_userspace() {
    behave("e2e-svc-usr", "userspace");
}

/// Each mode has its test here, or cannot run on this kernel.
#[test]
fn no_mode_is_forgotten() {
    for backend in BACKENDS {
        let is_here = ["nftables", "iptables", "userspace"].contains(&backend.name);
        assert!(is_here || (backend.probe)().is_err(), "{}", backend.name);
    }
}

fn behave(name: &'static str, mode: &str) {
    let lab = Lab::new(name);
    let up = ["--nodes", "2", "--proxy-mode", mode, "--apply", OBJECTS];
    text(&lab.verb("up", &up));
    let shop = Shop {
        lab,
        mode: mode.to_owned(),
    };
    shop.wait_for("pods web-1 web-2 hosted client", "Ready");
    shop.everybody_is_served();
    shop.sources_are_kept_where_they_can_be();
    shop.policies_hold();
    shop.what_is_not_ready_is_not_served();
    shop.clients_are_kept();
    shop.changes_take_effect();
    shop.a_flow_follows_its_server();
    shop.service_goes_on_without_agent_and_api_server();
}

struct Shop {
    lab: Lab,
    mode: String,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
enum From {
    Pod(&'static str),
    Node(&'static str),
    Outside,
}

/// What came of a question: the server's name and whom it saw, or one word.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Answer(String);

impl Answer {
    fn server(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }

    /// The client's address, without its port.
    fn seen(&self) -> &str {
        let seen = self.0.split(' ').nth(1).unwrap_or_default();
        let (address, _port) = seen.rsplit_once(':').unwrap_or((seen, ""));
        address.trim_matches(['[', ']'])
    }
}

impl Shop {
    fn toolbox(&self, from: From, arguments: &[&str]) -> Output {
        let toolbox = [&[PODWAY, "toolbox"], arguments].concat();
        match from {
            From::Pod(pod) => self
                .lab
                .verb("exec", &[&["-n", "e2e", pod, "--"], &*toolbox].concat()),
            From::Node(node) => self.lab.verb("node", &[&[node, "--"], &*toolbox].concat()),
            From::Outside => self.lab.verb("client", &[&["--"], &*toolbox].concat()),
        }
    }

    fn ask(&self, from: From, target: &str) -> Answer {
        let output = self.toolbox(from, &["fetch", "--timeout", "1s", target]);
        Answer(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Asks until the answer is as wanted: objects take their time to be served.
    fn expect(&self, from: From, target: &str, what: &str, is_met: impl Fn(&Answer) -> bool) {
        let what = format!("{}: {what}: {from:?} to {target}", self.mode);
        eventually(&what, || {
            let answer = self.ask(from, target);
            if is_met(&answer) {
                Ok(())
            } else {
                Err(format!("{answer:?}"))
            }
        });
    }

    /// Who answers, asked often.
    fn servers(&self, from: From, target: &str) -> BTreeSet<String> {
        let answers = (0..TIMES).map(|_| self.ask(from, target));
        answers.map(|answer| answer.server().to_owned()).collect()
    }

    fn field(&self, what: &str, path: &str) -> String {
        let output = format!("jsonpath={path}");
        let words: Vec<&str> = what.split(' ').collect();
        text(
            &self
                .lab
                .kubectl(&[&["get", "-n", "e2e", "-o", &output], &*words].concat()),
        )
    }

    /// A service's address of a family, as a target begins.
    fn ip(&self, service: &str, family: usize) -> String {
        let path = format!("{{.spec.clusterIPs[{family}]}}");
        bracketed(&self.field(&format!("service {service}"), &path))
    }

    fn pod_ip(&self, pod: &str, family: usize) -> String {
        self.field(
            &format!("pod {pod}"),
            &format!("{{.status.podIPs[{family}].ip}}"),
        )
    }

    fn patch(&self, service: &str, patch: &str) {
        text(&self.lab.kubectl(&[
            "patch",
            "service",
            "-n",
            "e2e",
            service,
            "--type=merge",
            "-p",
            patch,
        ]));
    }

    fn wait_for(&self, what: &str, condition: &str) {
        let condition = format!("--for=condition={condition}");
        let words: Vec<&str> = what.split(' ').collect();
        let (kind, names) = words.split_first().expect("a kind");
        let names: Vec<String> = names.iter().map(|name| format!("{kind}/{name}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        text(
            &self
                .lab
                .kubectl(&[&["wait", "-n", "e2e", "--timeout=60s", &condition], &*names].concat()),
        );
    }

    /// Cluster IPs, external IPs and node ports reach every endpoint, from pods,
    /// nodes and outside; several ports, named ones, one number twice.
    fn everybody_is_served(&self) {
        let both = BTreeSet::from(["web-1".to_owned(), "web-2".to_owned()]);
        let is_web = |answer: &Answer| both.contains(answer.server());
        for family in [0, 1] {
            let web = self.ip("web", family);
            for port in [80, 81] {
                let target = format!("{web}:{port}");
                self.expect(From::Pod("client"), &target, "a cluster IP", is_web);
                assert_eq!(self.servers(From::Pod("client"), &target), both, "{target}");
            }
            self.expect(
                From::Node("node1"),
                &format!("{web}:80"),
                "from the node",
                is_web,
            );
            for node in NODES {
                let target = format!("{}:30080", node[family]);
                self.expect(From::Outside, &target, "a node port", is_web);
                self.expect(From::Pod("client"), &target, "a node port", is_web);
                self.expect(From::Node("node1"), &target, "a node port", is_web);
                self.connects(From::Outside, "udp", &target);
            }
            for protocol in ["tcp", "udp"] {
                self.connects(From::Pod("client"), protocol, &format!("{web}:53"));
            }
            // Asked again: the kernel sends one sender few ICMPv6 errors a second
            // (net.ipv6.icmp.ratelimit).
            let wrong = format!("{web}:82");
            self.expect(From::Pod("client"), &wrong, "a wrong port", |answer| {
                answer.0 == "REFUSED"
            });
        }
        // It is an address of nobody; the node to which the client sends it serves.
        self.expect(
            From::Pod("client"),
            "203.0.113.77:80",
            "an external IP",
            is_web,
        );
        let hosted = format!("{}:80", self.ip("hosted", 0));
        self.expect(
            From::Pod("client"),
            &hosted,
            "a server of the host's network",
            |answer| answer.seen() != "",
        );
        self.expect(
            From::Node("node1"),
            &hosted,
            "from the host's network",
            |answer| answer.seen() != "",
        );
    }

    fn connects(&self, from: From, protocol: &str, target: &str) {
        let what = format!("{}: {protocol} from {from:?} to {target}", self.mode);
        eventually(&what, || {
            let arguments = ["connect", "--timeout", "1s", "--protocol", protocol, target];
            let output = self.toolbox(from, &arguments);
            if output.status.success() {
                Ok(())
            } else {
                Err(both(&output))
            }
        });
    }

    fn sources_are_kept_where_they_can_be(&self) {
        for family in [0, 1] {
            let client = self.pod_ip("client", family);
            let one = format!("{}:80", self.ip("one", family));
            self.expect(
                From::Pod("client"),
                &one,
                "the client's own address",
                |answer| answer.server() == "web-1" && answer.seen() == client,
            );
            // A pod that reaches itself through its service.
            self.expect(From::Pod("web-1"), &one, "itself", |answer| {
                answer.server() == "web-1" && answer.seen() != self.pod_ip("web-1", family)
            });
        }
    }

    fn policies_hold(&self) {
        let near = format!("{}:80", self.ip("near", 0));
        let only_one = BTreeSet::from(["web-1".to_owned()]);
        self.expect(From::Pod("client"), &near, "internal policy Local", |a| {
            a.server() == "web-1"
        });
        assert_eq!(self.servers(From::Pod("client"), &near), only_one);
        self.expect(From::Node("node2"), &near, "of the node itself", |a| {
            a.server() == "web-2"
        });
        // From outside only the node with an endpoint, and with the client's address.
        self.expect(
            From::Outside,
            "172.16.0.11:30081",
            "external policy Local",
            |answer| answer.server() == "web-1" && answer.seen() == "172.16.0.250",
        );
        let silence = self.ask(From::Outside, "172.16.0.12:30081");
        assert_eq!(silence.0, "TIMEOUT", "{}: no local endpoint", self.mode);
        // On the node itself the short way to all endpoints.
        self.expect(
            From::Node("node2"),
            "172.16.0.12:30081",
            "short circuit",
            |a| a.server() == "web-1",
        );
        self.patch("edge", r#"{"spec":{"externalTrafficPolicy":"Cluster"}}"#);
        self.expect(
            From::Outside,
            "172.16.0.12:30081",
            "external policy Cluster",
            |answer| answer.server() == "web-1" && answer.seen() != "172.16.0.250",
        );
    }

    fn what_is_not_ready_is_not_served(&self) {
        let [empty, sleepy, published, others] = ["empty", "sleepy", "sleepy-published", "others"]
            .map(|service| format!("{}:80", self.ip(service, 0)));
        for from in [From::Pod("client"), From::Node("node1")] {
            for target in [&empty, &sleepy] {
                self.expect(from, target, "no endpoints: refused", |a| a.0 == "REFUSED");
            }
            self.expect(from, &published, "published before ready", |a| {
                a.server() == "sleepy"
            });
            let foreign = self.ask(from, &others);
            assert!(
                !foreign.server().starts_with("web"),
                "{}: another proxy's: {foreign:?}",
                self.mode
            );
        }
    }

    fn clients_are_kept(&self) {
        let sticky = format!("{}:80", self.ip("sticky", 0));
        self.expect(From::Pod("client"), &sticky, "affinity", |a| {
            a.server().starts_with("web-")
        });
        let kept = self.servers(From::Pod("client"), &sticky);
        assert_eq!(kept.len(), 1, "{}: {kept:?}", self.mode);
        self.patch("sticky", r#"{"spec":{"sessionAffinity":"None"}}"#);
        let what = format!("{}: affinity switched off", self.mode);
        eventually(&what, || {
            match self.servers(From::Pod("client"), &sticky).len() {
                2 => Ok(()),
                count => Err(format!("{count} servers")),
            }
        });
        self.patch("sticky", r#"{"spec":{"sessionAffinity":"ClientIP"}}"#);
        eventually(&format!("{}: and on", self.mode), || {
            match self.servers(From::Pod("client"), &sticky).len() {
                1 => Ok(()),
                count => Err(format!("{count} servers")),
            }
        });
    }

    /// Types, target ports and addresses of a service that is there.
    fn changes_take_effect(&self) {
        let changing = format!("{}:80", self.ip("changing", 0));
        let is_web = |answer: &Answer| answer.server().starts_with("web-");
        self.expect(From::Pod("client"), &changing, "as made", is_web);
        self.patch(
            "changing",
            r#"{"spec":{"ports":[{"port":80,"targetPort":9099}]}}"#,
        );
        // A proxy has accepted before it learns that nobody listens.
        let is_refusal = |a: &Answer| ["REFUSED", "OTHER"].contains(&a.0.as_str());
        self.expect(
            From::Pod("client"),
            &changing,
            "another target port",
            is_refusal,
        );
        self.patch("changing", r#"{"spec":{"type":"NodePort","ports":[{"port":80,"targetPort":8080,"nodePort":30090}]}}"#);
        self.expect(
            From::Outside,
            "172.16.0.12:30090",
            "ClusterIP becomes NodePort",
            is_web,
        );
        self.patch("changing", r#"{"spec":{"type":"ClusterIP","ports":[{"port":80,"targetPort":8080,"nodePort":null}]}}"#);
        self.expect(
            From::Outside,
            "172.16.0.12:30090",
            "and again ClusterIP",
            |a| a.0 == "REFUSED",
        );
        self.expect(
            From::Pod("client"),
            &changing,
            "served all the while",
            is_web,
        );
        text(
            &self
                .lab
                .kubectl(&["delete", "service", "-n", "e2e", "changing"]),
        );
        self.expect(From::Pod("client"), &changing, "deleted", |a| !is_web(a));
        text(&self.lab.kubectl(&["apply", "-f", OBJECTS]));
        let again = format!("{}:80", self.ip("changing", 0));
        self.expect(From::Pod("client"), &again, "made again", is_web);
    }

    /// A client that keeps sending from one port reaches the next server.
    fn a_flow_follows_its_server(&self) {
        let udp = self.ip("udp", 0);
        let script = format!(
            "exec 3<>/dev/udp/{udp}/53; while :; do echo >&3; timeout 1 head -n 1 <&3; sleep 0.1; done"
        );
        let log = self.lab.kubeconfig().with_file_name("flow.txt");
        let file = std::fs::File::create(&log).expect("a file");
        let mut flow = std::process::Command::new(PODWAY)
            .args([
                "lab",
                "exec",
                "--name",
                self.lab.name(),
                "-n",
                "e2e",
                "client",
                "--",
                "bash",
                "-c",
                &script,
            ])
            .stdout(file)
            .spawn()
            .expect("podway runs");
        let heard = |who: &str| {
            let what = format!("{}: an answer of {who}", self.mode);
            eventually(&what, || {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                let last = said.lines().last().unwrap_or_default().to_owned();
                if last.starts_with(who) {
                    Ok(())
                } else {
                    Err(last)
                }
            });
        };
        heard("web-1");
        let selector =
            |app: &str| format!(r#"{{"spec":{{"selector":{{"app":{app},"only":null}}}}}}"#);
        self.patch("udp", &selector("\"nobody\""));
        let gone = self.ip("udp", 0);
        eventually("the service is empty", || {
            let arguments = [
                "connect",
                "--timeout",
                "1s",
                "--protocol",
                "udp",
                &format!("{gone}:53"),
            ];
            let output = self.toolbox(From::Pod("client"), &arguments);
            if output.status.success() {
                Err(both(&output))
            } else {
                Ok(())
            }
        });
        text(
            &self
                .lab
                .kubectl(&["label", "pod", "-n", "e2e", "web-2", "second=yes"]),
        );
        self.patch(
            "udp",
            r#"{"spec":{"selector":{"second":"yes","app":null}}}"#,
        );
        heard("web-2");
        flow.kill().ok();
        flow.wait().ok();
    }

    fn service_goes_on_without_agent_and_api_server(&self) {
        let web = format!("{}:80", self.ip("web", 0));
        let is_web = |answer: &Answer| answer.server().starts_with("web-");
        kill_9(self.lab.process(&["lab control-plane"]));
        // The proxy ends with its agent; the kernel's modes do not notice.
        if self.mode != "userspace" {
            kill_9(self.lab.process(&["podway agent", "/node1/"]));
        }
        for _ in 0..5 {
            let answer = self.ask(From::Pod("client"), &web);
            assert!(is_web(&answer), "{}: {answer:?}", self.mode);
        }
        text(&self.lab.verb("up", &[]));
        text(&self.lab.kubectl(&["delete", "pod", "-n", "e2e", "web-2"]));
        let what = format!("{}: after a restart, one endpoint less", self.mode);
        eventually(&what, || {
            let servers = self.servers(From::Pod("client"), &web);
            if servers == BTreeSet::from(["web-1".to_owned()]) {
                Ok(())
            } else {
                Err(format!("{servers:?}"))
            }
        });
    }
}

fn bracketed(address: &str) -> String {
    if address.contains(':') {
        format!("[{address}]")
    } else {
        address.to_owned()
    }
}
