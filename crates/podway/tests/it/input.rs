//! Wrong input: a clear error each, exit code 2, nothing done.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use crate::harness::{both, podway};

fn broken(name: &str) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../watch/tests/data");
    let path = data.join(name);
    assert!(path.exists(), "{}", path.display());
    path
}

/// Arguments, and what the message must say.
#[test]
fn wrong_input_is_named_with_its_place() {
    let scratch = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = scratch.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let question = ["--from", "a/b", "--to", "c/d", "--port", "80"];
    let myapp = broken("allow-myapp-ingress.broken.yaml")
        .display()
        .to_string();
    let httpd = broken("httpd-egress.broken.yaml").display().to_string();
    let cases: Vec<(String, Vec<&str>)> = vec![
        (
            myapp.clone(),
            vec![
                ":10:5: missing colon",
                "policyTypes: [\"Ingress\"]",
                ":12:5: `--`",
            ],
        ),
        (httpd, vec![":11:3: `\\-`", "probably meant: - to:"]),
        (
            file(
                "kind.yaml",
                "apiVersion: v1\nkind: Serivce\nmetadata: {name: x}\n",
            ),
            vec![":2:7:", "Serivce", "Service"],
        ),
        (
            file(
                "field.yaml",
                "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  port:\n  - port: 80\n",
            ),
            vec![":5:3:", "port", "ports"],
        ),
        (
            file(
                "type.yaml",
                "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  ports:\n  - port: eighty\n",
            ),
            vec![":6:11:", "eighty"],
        ),
        (
            file(
                "range.yaml",
                "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  ports:\n  - port: 70000\n",
            ),
            vec![":6:11:", "70000", "65535"],
        ),
        (
            file(
                "tab.yaml",
                "apiVersion: v1\nkind:\tService\n\tmetadata: {}\n",
            ),
            vec![":3:1:", "tab"],
        ),
        ("/no/such/file.yaml".to_owned(), vec!["/no/such/file.yaml"]),
    ];
    for (path, wanted) in cases {
        let mut arguments = vec!["explain", "connect", "--state", &path];
        arguments.extend(question);
        let output = podway(&arguments);
        let said = both(&output);
        assert_eq!(output.status.code(), Some(2), "{path}: {said}");
        for word in wanted {
            assert!(said.contains(word), "{path}: {word:?} is not in {said}");
        }
    }
}

#[test]
fn wrong_usage_is_answered_with_two() {
    let cases: [(&[&str], &str); 6] = [
        (&["lab", "upp"], "'up'"),
        (&["lab", "up", "--nodes", "0"], "0 is not in"),
        (
            &["lab", "up", "--name", "e2e-mode", "--proxy-mode", "magic"],
            "nftables",
        ),
        (&["explain", "connect", "--from", "a/b"], "--to"),
        (
            &["lab", "exec", "--name", "nowhere", "p", "--", "true"],
            "no lab nowhere",
        ),
        (&["agent", "--config", "/no/such/file"], "/no/such/file"),
    ];
    for (arguments, wanted) in cases {
        let output = podway(arguments);
        let said = both(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(
            said.contains(wanted),
            "{arguments:?}: {wanted:?} is not in {said}"
        );
    }
}

/// Questions from a file are answered in order, one line each.
#[test]
fn flows_are_answered_line_by_line() {
    let scratch = tempfile::tempdir().expect("a folder");
    let state = scratch.path().join("state.yaml");
    std::fs::write(&state, include_str!("input/state.yaml")).expect("a file");
    let flows = scratch.path().join("flows");
    let lines = r#"{"from":"default/client","to":"svc:default/web","port":80}
{"from":"default/stranger","to":"10.96.0.10","port":80}
{"from":"default/client","to":"10.96.0.10","port":81}
{"from":"203.0.113.9","to":"172.16.0.11","port":30080,"node":"node1"}
"#;
    std::fs::write(&flows, lines).expect("a file");
    let (state, flows) = (state.display().to_string(), flows.display().to_string());
    let output = podway(&["explain", "connect", "--state", &state, "--flows", &flows]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let answers: Vec<serde_json::Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .collect();
    let verdicts: Vec<_> = answers
        .iter()
        .map(|a| a["verdict"].as_str().expect("a verdict"))
        .collect();
    assert_eq!(
        verdicts,
        ["allow", "deny", "reject", "deny"],
        "{answers:#?}"
    );
    assert_eq!(answers[0]["service"], "default/web:http");
    assert_eq!(
        answers[0]["endpoints"][0]["ingress"]["policy"],
        "default/only-clients"
    );
    assert_eq!(
        answers[1]["endpoints"][0]["ingress"]["isolated_by"][0],
        "default/only-clients"
    );
    assert_eq!(answers[3]["masquerade"], true);
}

/// `podway completions bash | head -0`: no panic, no message.
#[test]
fn a_closed_pipe_ends_what_only_prints() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_podway"))
        .args(["completions", "bash"])
        .stdout(writer)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("podway starts");
    let output = child.wait_with_output().expect("podway ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.signal(), Some(13), "{}", output.status);
}
