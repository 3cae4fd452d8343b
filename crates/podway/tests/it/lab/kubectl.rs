//! kubectl against the lab: what needs nodes and pods.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::harness::{Lab, both, eventually, text};

const SHOP: &str = "../../examples/tour/shop.yaml";

#[test]
fn a_person_works_with_kubectl() {
    let lab = Lab::new("e2e-kubectl");
    text(&lab.verb("up", &[]));
    let applied = text(&lab.kubectl(&["apply", "-f", SHOP]));
    assert_eq!(applied.matches(" created").count(), 7, "{applied}");
    let again = text(&lab.kubectl(&["apply", "-f", SHOP]));
    assert_eq!(again.matches(" unchanged").count(), 7, "{again}");

    let mut watch = Command::new("kubectl")
        .args(["get", "pods", "-n", "shop", "-w", "--request-timeout=30s"])
        .env("KUBECONFIG", lab.kubeconfig())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    text(&lab.kubectl(&[
        "wait",
        "pods",
        "-n",
        "shop",
        "--all",
        "--for=condition=Ready",
        "--timeout=60s",
    ]));
    let wide = text(&lab.kubectl(&["get", "pods", "-n", "shop", "-o", "wide"]));
    let web_3 = wide
        .lines()
        .find(|line| line.starts_with("web-3"))
        .unwrap_or_default();
    assert!(
        web_3.contains("1/1") && web_3.contains("node3") && web_3.contains("10.244."),
        "{wide}"
    );

    let described = text(&lab.kubectl(&["describe", "service", "web", "-n", "shop"]));
    assert!(
        described.contains("IP Families:") && described.contains("30080/TCP"),
        "{described}"
    );
    let described = text(&lab.kubectl(&["describe", "pod", "web-1", "-n", "shop"]));
    assert!(described.contains("Ready:          True"), "{described}");

    let exec = lab.kubectl(&[
        "exec",
        "-n",
        "shop",
        "cart",
        "--",
        "sh",
        "-c",
        "hostname; exit 3",
    ]);
    assert_eq!(
        (exec.status.code(), &*exec.stdout),
        (Some(3), &b"cart\n"[..]),
        "{}",
        both(&exec)
    );
    let loud = "apiVersion: v1\nkind: Pod\nmetadata: {name: loud}\nspec:\n  containers:\n  - name: c\n    image: none\n    command: [sh, -c, 'echo one; echo two; exec sleep 1000']\n";
    std::fs::write(lab.kubeconfig().with_file_name("loud.yaml"), loud).expect("a file");
    let path = lab
        .kubeconfig()
        .with_file_name("loud.yaml")
        .display()
        .to_string();
    text(&lab.kubectl(&["apply", "-f", &path]));
    eventually("the logs", || {
        let logs = lab.kubectl(&["logs", "loud"]);
        if logs.stdout == b"one\ntwo\n" {
            Ok(())
        } else {
            Err(both(&logs))
        }
    });

    text(&lab.kubectl(&["delete", "-f", SHOP]));
    let gone = lab.kubectl(&["get", "pods", "-n", "shop", "-o", "name"]);
    assert_eq!(text(&gone), "", "{}", both(&gone));
    watch.kill().expect("the watch runs until it is ended");
    let mut seen = String::new();
    let mut stdout = watch.stdout.take().expect("piped");
    stdout
        .read_to_string(&mut seen)
        .expect("kubectl prints text");
    watch.wait().expect("kubectl ends");
    assert!(
        seen.contains("Running") && seen.contains("Terminating"),
        "{seen}"
    );
}
