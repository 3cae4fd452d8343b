//! What clients built on libraries rely on, over HTTP.

mod answers;
mod relist;
mod watches;

pub(crate) use watches::{Watch, revision};

use http_body_util::BodyExt;
use hyper::{Method, Request, Response};
use kube::client::Body;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use podway_apiserver::User;
use serde_json::Value;

use crate::fixture::Server;

/// A client that sends what it is told and returns what comes.
#[derive(Clone)]
pub(crate) struct Client(pub(crate) kube::Client);

impl Client {
    /// With `user`'s token, or another one.
    pub(crate) async fn new(server: &Server, user: User, token: Option<&str>) -> Client {
        let url = format!("https://{}", server.address);
        let mut kubeconfig = Kubeconfig::from_yaml(&server.api.kubeconfig(user, &url)).unwrap();
        if let Some(token) = token {
            let auth = kubeconfig.auth_infos[0].auth_info.as_mut().unwrap();
            auth.token = Some(token.to_owned().into());
        }
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .unwrap();
        // A 503 or 504 is an answer here.
        config.default_retry = false;
        Client(kube::Client::try_from(config).unwrap())
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Body::from(body.as_bytes().to_vec());
        self.0.send(request.body(body).unwrap()).await.unwrap()
    }

    /// The answer's code and JSON.
    async fn ask(&self, method: Method, url: &str, body: &Value) -> (u16, Value) {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let headers = [("content-type", "application/json")];
        answer(self.send(method, url, &headers, &text).await).await
    }

    pub(crate) async fn get(&self, url: &str) -> (u16, Value) {
        self.ask(Method::GET, url, &Value::Null).await
    }

    /// Creates a config map with one entry.
    async fn put(&self, name: &str, value: &str) -> Value {
        let object = serde_json::json!({
            "metadata": { "name": name, "labels": { "v": value } }, "data": { "k": value },
        });
        let (code, created) = self.ask(Method::POST, MAPS, &object).await;
        if code == 201 {
            return created;
        }
        let url = format!("{MAPS}/{name}");
        let (code, updated) = self.ask(Method::PUT, &url, &object).await;
        assert_eq!(code, 200, "{updated}");
        updated
    }
}

pub(crate) const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn answer(response: Response<Body>) -> (u16, Value) {
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let value = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned()));
    (code, value)
}

/// Runs a test against a server of its own.
fn with_server<F: Future<Output = ()>>(test: impl FnOnce(Client) -> F) {
    let server = Server::start();
    server.runtime.block_on(async {
        let client = Client::new(&server, User::Admin, None).await;
        test(client).await;
    });
}
