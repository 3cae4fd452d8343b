//! Logs and exec, with a kubelet of the test's own behind a unix socket.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::RawQuery;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use axum::routing::get;
use tokio::net::UnixListener;

use crate::fixture::Server;
use crate::kubectl::{Kubectl, newest};

/// Channels of `v5.channel.k8s.io`.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const ERROR: u8 = 3;
const CLOSE: u8 = 255;

/// Answers logs with the query, and exec with what comes in, reversed.
fn kubelet() -> Router {
    Router::new()
        .route(
            "/containerLogs/default/web/main",
            get(|RawQuery(query): RawQuery| async {
                format!("log {}\n", query.unwrap_or_default())
            }),
        )
        .route("/exec/default/web/main", get(exec))
}

async fn exec(RawQuery(query): RawQuery, upgrade: WebSocketUpgrade) -> Response {
    let query = query.unwrap_or_default();
    upgrade
        .protocols(["v5.channel.k8s.io"])
        .on_upgrade(|socket| async { answer(socket, query).await.unwrap() })
}

async fn answer(mut socket: WebSocket, query: String) -> Result<(), axum::Error> {
    let mut input = Vec::new();
    while query.contains("stdin=true")
        && let Some(message) = socket.recv().await
    {
        match message?.into_data().as_ref() {
            [STDIN, bytes @ ..] => input.extend_from_slice(bytes),
            [CLOSE, ..] => break,
            _ => {}
        }
    }
    input.reverse();
    let text = format!("{query} {}\n", String::from_utf8_lossy(&input));
    let frame =
        |channel: u8, text: &str| Message::Binary([&[channel], text.as_bytes()].concat().into());
    socket.send(frame(STDOUT, &text)).await?;
    let status = r#"{"metadata":{},"status":"Success"}"#;
    socket.send(frame(ERROR, status)).await?;
    let done = CloseFrame {
        code: close_code::NORMAL,
        reason: "".into(),
    };
    socket.send(Message::Close(Some(done))).await
}

/// A server with two nodes, of which only n1 has a kubelet, at `socket`.
fn start(socket: &Path) -> (Server, Kubectl) {
    let socket = socket.to_owned();
    let server = Server::with_kubelet(Arc::new(move |node| (node == "n1").then(|| socket.clone())));
    let kubectl = Kubectl::new(&server, newest());
    for node in ["n1", "n2"] {
        kubectl.apply(&format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: {node}}}}}"
        ));
    }
    for (pod, node) in [("web", "n1"), ("lost", "n2")] {
        kubectl.apply(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {pod}}}, \
             spec: {{nodeName: {node}, containers: [{{name: main, image: podway/toolbox}}]}}}}"
        ));
    }
    (server, kubectl)
}

#[test]
fn logs_and_exec_reach_the_pods_kubelet() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("kubelet.sock");
    let (server, kubectl) = start(&socket);
    let listener = {
        let _runtime = server.runtime.enter();
        UnixListener::bind(&socket).unwrap()
    };
    server
        .runtime
        .spawn(async { axum::serve(listener, kubelet()).await.unwrap() });
    let logs = kubectl.run(&["logs", "web", "--tail=3"]);
    assert_eq!(logs, "log container=main&tailLines=3\n");
    let output = kubectl.run_with_input(&["exec", "-i", "web", "--", "rev", "-x"], "abc");
    assert_eq!(
        output,
        "command=rev&command=-x&container=main&stderr=true&stdin=true&stdout=true cba\n"
    );
    let output = kubectl.run(&["exec", "web", "--", "true"]);
    assert_eq!(
        output,
        "command=true&container=main&stderr=true&stdout=true \n"
    );
    std::fs::remove_file(&socket).unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["logs", "web"], "cannot reach the kubelet of node n1"),
        (&["logs", "lost"], "node n2 of pod lost has no kubelet"),
        (
            &["logs", "web", "-c", "no"],
            "container no is not valid for pod web",
        ),
        (&["port-forward", "pod/web", "80"], "pod is not running"),
        (&["exec", "none", "--", "true"], "pods \"none\" not found"),
    ];
    for (arguments, expected) in cases {
        let refused = kubectl.fail(arguments);
        assert!(refused.contains(expected), "{arguments:?}: {refused}");
    }
}
