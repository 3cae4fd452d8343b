//! The API over HTTP: who may ask, what is asked, and how the answer is put.

mod accept;
mod body;
mod discovery;
mod kubelet;
mod openapi;
mod query;
mod read;
mod respond;
mod route;
mod scale;
mod stream;
mod write;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use tokio::sync::watch;

use crate::kinds::Kinds;
use crate::pki::{Tokens, User};
use crate::rest::Registry;
use crate::server::KubeletResolver;
use crate::status::Status;
use query::Query;
use route::{ResourcePath, Route, route};

/// The version that clients see; the minor version decides which kubectl the
/// dispatching kubectl runs.
const GIT_VERSION: &str = "v1.33.0+podway";

/// Everything that an answer needs.
pub(crate) struct Api {
    registry: Registry,
    kubelet: KubeletResolver,
    stopped: watch::Receiver<bool>,
}

/// A request for a resource, taken apart.
struct Call {
    path: ResourcePath,
    query: Query,
    parts: Parts,
    body: Incoming,
}

impl Call {
    /// The form of the answer that the client takes.
    fn form(&self) -> Result<accept::Form, Status> {
        accept::form(&self.parts.headers, self.query.text("includeObject"))
    }
}

type Answer = Result<Response<Body>, Status>;

impl Api {
    pub(crate) fn new(
        registry: Registry,
        kubelet: KubeletResolver,
        stopped: watch::Receiver<bool>,
    ) -> Api {
        Api {
            registry,
            kubelet,
            stopped,
        }
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Answers one request; errors are answers as well.
    pub(crate) async fn answer(
        &self,
        tokens: &Tokens,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let outcome = match authenticate(tokens, &request) {
            Some(user) => self
                .dispatch(request)
                .await
                .map_err(|status| (user.name(), status)),
            None => Err(("nobody", Status::unauthorized())),
        };
        outcome.unwrap_or_else(|(user, status)| {
            let (code, reason) = (status.code, status.reason);
            tracing::debug!(%method, path, user, code, reason, %status, "request refused");
            respond::status(&status)
        })
    }

    async fn dispatch(&self, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        let route =
            route(&self.registry.kinds(), parts.uri.path()).ok_or_else(Status::unknown_path)?;
        let Route::Resource(path) = route else {
            if parts.method != Method::GET {
                return Err(Status::method_not_allowed());
            }
            return self.describe(&route, &parts);
        };
        let call = Call {
            path,
            query,
            parts,
            body,
        };
        match call.path.subresource.as_deref() {
            None | Some("status") => self.objects(call).await,
            Some("scale") => self.scale(call).await,
            Some("log" | "exec" | "attach" | "portforward") => self.to_kubelet(call).await,
            Some("binding") if call.parts.method == Method::POST => self.bind(call).await,
            Some(_) => Err(Status::method_not_allowed()),
        }
    }

    /// What the server says of itself.
    fn describe(&self, route: &Route, parts: &Parts) -> Answer {
        let kinds = self.registry.kinds();
        match route {
            Route::Health => Ok(respond::text("ok")),
            Route::Version => Ok(respond::json(200, &version())),
            Route::OpenApi(None) => Ok(respond::json(200, &openapi::index(&kinds))),
            Route::OpenApi(Some(path)) => openapi::document(&kinds, path)
                .map(|document| respond::json(200, &document))
                .ok_or_else(Status::unknown_path),
            Route::OpenApiV2 => openapi_v2(&kinds, parts),
            Route::Discovery(what) => discovery::answer(&kinds, what, &parts.headers),
            Route::Resource(_) => Err(Status::method_not_allowed()),
        }
    }

    async fn objects(&self, call: Call) -> Answer {
        let named = !call.path.target.name.is_empty();
        match (&call.parts.method, named) {
            (&Method::GET, _) if call.query.flag("watch")? => self.watch(&call),
            (&Method::GET, true) => self.get(&call),
            (&Method::GET, false) => self.list(&call),
            (&Method::POST, false) => self.create(call).await,
            (&Method::PUT, true) => self.update(call).await,
            (&Method::PATCH, true) => self.patch(call).await,
            (&Method::DELETE, true) => self.delete(call).await,
            (&Method::DELETE, false) => self.delete_collection(call).await,
            _ => Err(Status::method_not_allowed()),
        }
    }
}

fn openapi_v2(kinds: &Kinds, parts: &Parts) -> Answer {
    let (asked, answered) = (openapi::v2::ASKED, openapi::v2::ANSWERED);
    let offers = accept::offers(&parts.headers);
    if !offers
        .iter()
        .any(|offer| [asked, answered, "*/*"].contains(&offer.media))
    {
        let message = format!("only the following media types are accepted: {answered}");
        return Err(Status::new(406, "NotAcceptable", message));
    }
    let answered = HeaderValue::from_static(answered);
    Ok(respond::content(
        200,
        answered,
        openapi::v2::document(kinds),
    ))
}

fn authenticate(tokens: &Tokens, request: &Request<Incoming>) -> Option<User> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    tokens.user(token.trim())
}

fn version() -> serde_json::Value {
    serde_json::json!({
        "major": "1", "minor": "33",
        "gitVersion": GIT_VERSION,
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc",
        "platform": format!("linux/{}", go_architecture()),
    })
}

/// Go's name of this architecture, which is what `platform` holds.
fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
