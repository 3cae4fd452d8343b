use std::sync::Arc;

use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::{refuse, session};
use crate::kubelet::host::Host;

/// The protocol of channels over a WebSocket that kubectl has spoken since 1.30.
const PROTOCOL: &str = "v5.channel.k8s.io";

/// What `kubectl exec` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) command: Vec<String>,
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
}

pub(super) async fn answer(
    State(host): State<Arc<Host>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(query): Query<Vec<(String, String)>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let request = match Request::parse(query) {
        Ok(request) => request,
        Err(reason) => return refuse(StatusCode::BAD_REQUEST, reason),
    };
    let live = match host.live.container(&namespace, &pod, &container) {
        Ok(live) => live,
        Err(reason) => return refuse(StatusCode::NOT_FOUND, reason),
    };
    let Some(process) = *live.process.borrow() else {
        let reason = format!("container {container:?} of pod {namespace}/{pod} is not running");
        return refuse(StatusCode::CONFLICT, reason);
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols([PROTOCOL]),
        Err(rejection) => {
            let reason = format!("exec needs a WebSocket with protocol {PROTOCOL}: {rejection}");
            return refuse(StatusCode::BAD_REQUEST, reason);
        }
    };
    if upgrade.selected_protocol().is_none() {
        return refuse(
            StatusCode::FORBIDDEN,
            format!("exec speaks {PROTOCOL} only"),
        );
    }
    upgrade.on_upgrade(move |socket| session::run(socket, process, request))
}

impl Request {
    fn parse(query: Vec<(String, String)>) -> Result<Self, String> {
        let mut request = Self {
            stdout: true,
            stderr: true,
            ..Self::default()
        };
        for (name, value) in query {
            let flag = matches!(value.as_str(), "true" | "1");
            match name.as_str() {
                "command" => request.command.push(value),
                "stdin" | "input" => request.stdin = flag,
                "stdout" | "output" => request.stdout = flag,
                "stderr" | "error" => request.stderr = flag,
                "tty" => request.tty = flag,
                _ => {}
            }
        }
        if request.command.is_empty() {
            return Err("you must specify at least 1 command".to_owned());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_names_the_command_word_by_word() {
        let uri = "/?command=sh&command=-c&command=a+b%26&stdin=true&tty=1&stderr=false";
        let Query(query) = Query::try_from_uri(&uri.parse().unwrap()).unwrap();
        let request = Request::parse(query);
        let expected = Request {
            command: ["sh", "-c", "a b&"].map(str::to_owned).to_vec(),
            stdin: true,
            stdout: true,
            stderr: false,
            tty: true,
        };
        assert_eq!(request, Ok(expected));
        assert!(Request::parse(vec![("stdin".to_owned(), "true".to_owned())]).is_err());
    }
}
