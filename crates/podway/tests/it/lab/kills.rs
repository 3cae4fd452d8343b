//! kill -9 of everything that a lab runs.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use crate::harness::{Lab, PODWAY, both, eventually, kill_9, text};

/// Each process in turn: a second `up` mends, and the connections are as before.
#[test]
fn up_mends_what_was_killed() {
    let lab = Lab::new("e2e-mend");
    text(&lab.verb("tour", &[]));
    let victims: [&[&str]; 5] = [
        &["lab control-plane"],
        &["agent", "/node1/"],
        &["lab kubelet", "--node=node2"],
        // The kubelet makes a new sandbox for a pod whose pause died.
        &["podway agent", "/node3/"],
        &["lab kubelet", "--node=node3"],
    ];
    for words in victims {
        kill_9(lab.process(words));
        text(&lab.verb("up", &[]));
        lab.process(words);
    }
    let tour = text(&lab.verb("tour", &[]));
    assert!(
        tour.contains("Every connection went as explained"),
        "{tour}"
    );
}

/// A client in a pod that holds one connection open and can be asked whether it
/// still works.
struct Held {
    child: Child,
}

impl Held {
    fn open(lab: &Lab, target: &str) -> Self {
        let (host, port) = target.rsplit_once(':').expect("HOST:PORT");
        // The line server of the toolbox greets, then echoes.
        let script = format!(
            "exec 3<>/dev/tcp/{host}/{port}; read -u 3 who; echo \"$who\"; while read line; do echo \"$line\" >&3; read -u 3 back; echo \"$back\"; done"
        );
        let child = Command::new(PODWAY)
            .args([
                "lab",
                "exec",
                "--name",
                lab.name(),
                "-n",
                "shop",
                "cart",
                "--",
                "bash",
                "-c",
                &script,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("podway runs");
        Self { child }
    }

    fn read(&mut self) -> String {
        let stdout = self.child.stdout.as_mut().expect("piped");
        let mut line = String::new();
        BufReader::with_capacity(1, stdout)
            .read_line(&mut line)
            .expect("a line");
        line.trim().to_owned()
    }

    fn echo(&mut self, word: &str) -> String {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{word}").expect("the client reads");
        self.read()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

const LINES: &str = "
apiVersion: v1
kind: Service
metadata: {name: lines, namespace: shop}
spec:
  selector: {app: web}
  ports: [{port: 90, targetPort: 9090}]
";

/// While a node's agent is dead, established connections and new ones work. The
/// one that follows it finds everything in place and writes nothing.
#[test]
fn an_agent_is_not_missed_and_its_successor_writes_nothing() {
    let lab = Lab::new("e2e-agent");
    text(&lab.verb("tour", &[]));
    let file = lab.kubeconfig().with_file_name("lines.yaml");
    std::fs::write(&file, LINES).expect("a file");
    text(&lab.kubectl(&["apply", "-f", &file.display().to_string()]));
    let of = [
        "get",
        "service",
        "-n",
        "shop",
        "lines",
        "-o",
        "jsonpath={.spec.clusterIP}",
    ];
    let target = format!("{}:90", text(&lab.kubectl(&of)));
    let ask = || {
        let words = [
            "-n",
            "shop",
            "cart",
            "--",
            "podway",
            "toolbox",
            "connect",
            "--timeout",
            "1s",
            &target,
        ];
        lab.verb("exec", &words)
    };
    eventually("a connection to the new service", || {
        let asked = ask();
        if asked.status.success() {
            Ok(())
        } else {
            Err(both(&asked))
        }
    });
    let mut held = Held::open(&lab, &target);
    assert!(held.read().starts_with("web-"), "a web pod greets");
    assert_eq!(held.echo("before"), "before");

    kill_9(lab.process(&["podway agent", "/node1/"]));
    assert_eq!(
        held.echo("while the agent is dead"),
        "while the agent is dead"
    );
    for _ in 0..6 {
        text(&ask());
    }

    // What the dead one said of itself is not what its successor says.
    let said = [
        "delete",
        "configmap",
        "-n",
        "kube-system",
        "podway-node-node1",
    ];
    text(&lab.kubectl(&said));
    text(&lab.verb("up", &[]));
    let of = [
        "get",
        "configmap",
        "-n",
        "kube-system",
        "podway-node-node1",
        "-o",
        "jsonpath={.data.status\\.json}",
    ];
    let writes = eventually("the status of the new agent", || {
        let said = lab.kubectl(&of);
        if !said.status.success() {
            return Err(both(&said));
        }
        let status: serde_json::Value =
            serde_json::from_str(&text(&said)).map_err(|e| e.to_string())?;
        let revision = status["revision"].as_u64().unwrap_or_default();
        let pid = lab.process(&["podway agent", "/node1/"]);
        let log = std::fs::read_to_string(format!("/run/podway/{}/node1/agent.log", lab.name()))
            .map_err(|e| e.to_string())?;
        let started = log.matches("agent started").count();
        if revision > 0 && started >= 2 && pid > 0 && status["synced"] == true {
            Ok(status["writes"].clone())
        } else {
            Err(format!("{status} {started}"))
        }
    });
    assert_eq!(writes, serde_json::json!({"transactions": 0, "objects": 0}));
    assert_eq!(held.echo("after"), "after");
}
