//! An API server that says what a test tells it to: lists from a table, watch
//! events from a channel. It speaks as much HTTP/1.1 as the client needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use podway_watch::client;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify, mpsc};

/// A custom resource: served once a test says what a list of it holds.
pub(crate) const CUSTOM: &str = "clusternetworkpolicies";
const CUSTOM_VERSION: &str = "v1alpha2";

/// A server on a port of its own, for as long as the test's runtime lives.
pub(crate) struct ScriptedServer {
    address: std::net::SocketAddr,
    script: Arc<Script>,
}

#[derive(Default)]
struct Script {
    /// The items of the next lists, by resource (`services`).
    lists: Mutex<BTreeMap<String, Value>>,
    /// Requests in the order they came: `list services`, `watch services from 5`.
    requests: Mutex<Vec<String>>,
    /// What open watches are to say; a closed channel ends the watch.
    watches: Mutex<BTreeMap<String, mpsc::UnboundedSender<String>>>,
    /// A watch was opened.
    opened: Notify,
    /// The status codes with which the next watches of a resource are answered.
    refusals: Mutex<BTreeMap<String, Vec<u16>>>,
}

impl ScriptedServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Script::default());
        let served = script.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let script = served.clone();
                tokio::spawn(async move { serve(stream, &script).await });
            }
        });
        Self { address, script }
    }

    /// A client of this server, through a kubeconfig file.
    pub(crate) async fn client(&self) -> kube::Client {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        let address = self.address;
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: c, \
             clusters: [{{name: c, cluster: {{server: \"http://{address}\"}}}}], \
             users: [{{name: u, user: {{token: t}}}}], \
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]}}"
        );
        std::fs::write(&path, text).unwrap();
        client::connect(Some(&path)).await.unwrap()
    }

    /// What the next lists of a resource hold.
    pub(crate) async fn set(&self, resource: &str, items: Value) {
        self.script
            .lists
            .lock()
            .await
            .insert(resource.to_owned(), items);
    }

    /// Says something in the open watch of a resource; waits until there is one.
    pub(crate) async fn say(&self, resource: &str, event: &Value) {
        loop {
            let opened = self.script.opened.notified();
            if let Some(watch) = self.script.watches.lock().await.get(resource)
                && watch.send(format!("{event}\n")).is_ok()
            {
                return;
            }
            opened.await;
        }
    }

    /// Ends the open watch of a resource, as a server that shuts down does.
    pub(crate) async fn hang_up(&self, resource: &str) {
        self.script.watches.lock().await.remove(resource);
    }

    /// Answers the next watch of a resource with a status code, before it begins.
    pub(crate) async fn refuse(&self, resource: &str, code: u16) {
        let mut refusals = self.script.refusals.lock().await;
        refusals.entry(resource.to_owned()).or_default().push(code);
    }

    /// The requests for a resource so far.
    pub(crate) async fn requests(&self, resource: &str) -> Vec<String> {
        let requests = self.script.requests.lock().await;
        let about = |request: &&String| request.split(' ').nth(1) == Some(resource);
        requests.iter().filter(about).cloned().collect()
    }
}

async fn serve(stream: TcpStream, script: &Script) {
    let mut stream = BufReader::new(stream);
    // A connection carries many requests.
    while let Some(target) = read_request(&mut stream).await {
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let resource = path.rsplit('/').next().unwrap_or_default().to_owned();
        let parameters: BTreeMap<&str, &str> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        if resource == CUSTOM_VERSION {
            let resources = script.lists.lock().await.get(CUSTOM).map(|_| {
                let namespaced = false;
                json!([{"name": CUSTOM, "singularName": "", "namespaced": namespaced,
                    "kind": "ClusterNetworkPolicy", "verbs": ["list", "watch"]}])
            });
            let version = format!("policy.networking.k8s.io/{CUSTOM_VERSION}");
            let list = json!({
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version,
                "resources": resources.unwrap_or_else(|| json!([])),
            });
            answer(&mut stream, "200 OK", &list).await;
            continue;
        }
        if parameters.get("watch") == Some(&"true") {
            let from = parameters.get("resourceVersion").unwrap_or(&"-");
            let request = format!("watch {resource} from {from}");
            script.requests.lock().await.push(request);
            let refusal = script
                .refusals
                .lock()
                .await
                .get_mut(&resource)
                .and_then(Vec::pop);
            if let Some(code) = refusal {
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "reason": "Refused", "code": code, "message": "as the test says",
                });
                answer(&mut stream, &format!("{code} Refused"), &status).await;
                continue;
            }
            watch(&mut stream, &resource, script).await;
            return;
        }
        script
            .requests
            .lock()
            .await
            .push(format!("list {resource}"));
        let items = script.lists.lock().await.get(&resource).cloned();
        let list = json!({
            "kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "5"},
            "items": items.unwrap_or_else(|| json!([])),
        });
        answer(&mut stream, "200 OK", &list).await;
    }
}

async fn answer(stream: &mut BufReader<TcpStream>, status: &str, body: &Value) {
    let body = body.to_string();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// The target of the next request; its head is read, and has no body.
async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut first = String::new();
    if stream.read_line(&mut first).await.ok()? == 0 {
        return None;
    }
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        if line.trim().is_empty() {
            return first.split(' ').nth(1).map(str::to_owned);
        }
    }
}

async fn watch(stream: &mut BufReader<TcpStream>, resource: &str, script: &Script) {
    let (say, mut said) = mpsc::unbounded_channel();
    script.watches.lock().await.insert(resource.to_owned(), say);
    script.opened.notify_waiters();
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    while let Some(text) = said.recv().await {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        if stream.write_all(chunk.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
    let _ = stream.write_all(b"0\r\n\r\n").await;
}
