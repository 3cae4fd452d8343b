//! Logs and exec: the request is passed on to the kubelet of the pod's node,
//! and after an upgrade the bytes are carried both ways untouched.

use axum::body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::{Answer, Api, Call};
use crate::status::Status;
use crate::store::Object;

/// Says which container a client means who names none.
const DEFAULT_CONTAINER: &str = "/metadata/annotations/kubectl.kubernetes.io~1default-container";

impl Api {
    /// Answers `pods/NAME/log`, `exec` and (not yet) their relatives.
    pub(super) async fn to_kubelet(&self, call: Call) -> Answer {
        let subresource = call.path.subresource.as_deref().unwrap_or_default();
        let verb = match (subresource, &call.parts.method) {
            ("log", &Method::GET) => "containerLogs",
            ("exec", &Method::GET | &Method::POST) => "exec",
            ("attach" | "portforward", _) => {
                return Err(Status::not_implemented(format!(
                    "pods/{subresource} is not served; use exec"
                )));
            }
            _ => return Err(Status::method_not_allowed()),
        };
        let target = &call.path.target;
        let pod = self.find(target)?;
        let container = container(&pod, call.query.text("container"))?;
        let stream = self.connect(&pod).await?;
        let query = call.parts.uri.query().unwrap_or_default();
        let (namespace, name) = (pod.namespace(), pod.name());
        let path = format!("/{verb}/{namespace}/{name}/{container}?{query}");
        forward(stream, call, &path).await
    }

    async fn connect(&self, pod: &Object) -> Result<UnixStream, Status> {
        let node = pod
            .value()
            .pointer("/spec/nodeName")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if node.is_empty() {
            return Err(Status::bad_request(format!(
                "pod {} does not have a host assigned",
                pod.name()
            )));
        }
        let socket = (self.kubelet)(node).ok_or_else(|| {
            Status::unavailable(format!("node {node} of pod {} has no kubelet", pod.name()))
        })?;
        UnixStream::connect(&socket).await.map_err(|error| {
            Status::unavailable(format!(
                "cannot reach the kubelet of node {node} at {}: {error}; is the node running?",
                socket.display()
            ))
        })
    }
}

/// The container that is asked for, or the only possible one.
fn container<'p>(pod: &'p Object, asked: Option<&str>) -> Result<&'p str, Status> {
    let names = |list: &str| -> Vec<&'p str> {
        let containers = pod.value().pointer(list).and_then(Value::as_array);
        let containers = containers.map(Vec::as_slice).unwrap_or_default();
        containers
            .iter()
            .filter_map(|container| container["name"].as_str())
            .collect()
    };
    let regular = names("/spec/containers");
    let initial = names("/spec/initContainers");
    let default = pod
        .value()
        .pointer(DEFAULT_CONTAINER)
        .and_then(Value::as_str);
    let find = |name: &str| {
        regular
            .iter()
            .chain(&initial)
            .find(|known| **known == name)
            .copied()
    };
    if let Some(name) = asked {
        return find(name).ok_or_else(|| {
            let pod = pod.name();
            Status::bad_request(format!("container {name} is not valid for pod {pod}"))
        });
    }
    match (default.and_then(find), regular.as_slice()) {
        (Some(name), _) => Ok(name),
        (None, [only]) => Ok(only),
        (None, several) => Err(Status::bad_request(format!(
            "a container name must be specified for pod {}, choose one of: [{}]",
            pod.name(),
            several.join(" ")
        ))),
    }
}

fn unreachable(error: &hyper::Error) -> Status {
    Status::unavailable(format!("the kubelet ended the connection: {error}"))
}

async fn forward(stream: UnixStream, call: Call, path: &str) -> Answer {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(&error))?;
    tokio::spawn(connection.with_upgrades());
    let mut parts = call.parts;
    let client_upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let mut request = Request::new(call.body);
    *request.method_mut() = parts.method;
    *request.uri_mut() = path
        .parse()
        .map_err(|error| Status::bad_request(format!("the query cannot be passed on: {error}")))?;
    *request.headers_mut() = end_to_end(parts.headers);
    let mut answer = sender
        .send_request(request)
        .await
        .map_err(|error| unreachable(&error))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answered(answer));
    }
    let kubelet = hyper::upgrade::on(&mut answer);
    let Some(client) = client_upgrade else {
        return Err(Status::internal(
            "the kubelet upgraded a connection that cannot be",
        ));
    };
    tokio::spawn(tunnel(client, kubelet));
    Ok(upgraded(&answer))
}

/// The client's token is for this server; the kubelet trusts the socket.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    headers.remove(AUTHORIZATION);
    headers.insert(HOST, HeaderValue::from_static("kubelet"));
    headers
}

/// What is said of the connection to the kubelet is not true of the client's,
/// which may be HTTP/2.
fn answered(mut answer: Response<Incoming>) -> Response<Body> {
    for header in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        answer.headers_mut().remove(header);
    }
    answer.map(Body::new)
}

/// The kubelet's 101 with its headers (protocol, key), which are the client's
/// business.
fn upgraded(answer: &Response<Incoming>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().clone_from(answer.headers());
    response
}

async fn tunnel(client: hyper::upgrade::OnUpgrade, kubelet: hyper::upgrade::OnUpgrade) {
    let ends = futures_util::future::try_join(client, kubelet).await;
    let carried = match ends {
        Ok((client, kubelet)) => {
            let (mut client, mut kubelet) = (TokioIo::new(client), TokioIo::new(kubelet));
            tokio::io::copy_bidirectional(&mut client, &mut kubelet)
                .await
                .map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    match carried {
        Ok((sent, received)) => tracing::debug!(sent, received, "exec connection ended"),
        Err(error) => tracing::debug!(error, "exec connection broke"),
    }
}
