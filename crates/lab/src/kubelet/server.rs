//! What the API server asks of a kubelet: logs and exec, over a unix socket.

mod exec;
mod logs;
mod session;
mod terminal;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::UnixListener;

use crate::Error;
use crate::kubelet::host::Host;

/// Serves until the future is dropped.
///
/// # Errors
/// When the socket cannot be made.
pub(crate) async fn serve(host: Arc<Host>, socket: &Path) -> Result<(), Error> {
    let failed = || Error::io(format!("listen on {}", socket.display()));
    // A killed kubelet leaves its socket file; a second kubelet of the node
    // cannot be running, `up` sees to that.
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed()(error)),
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(failed())?;
    let router = Router::new()
        .route(
            "/containerLogs/{namespace}/{pod}/{container}",
            get(logs::answer),
        )
        .route(
            "/exec/{namespace}/{pod}/{container}",
            get(exec::answer).post(exec::answer),
        )
        .with_state(host);
    axum::serve(listener, router).await.map_err(failed())
}

/// A refusal with a sentence, as a kubelet gives it.
fn refuse(code: StatusCode, reason: impl Into<String>) -> Response {
    (code, reason.into()).into_response()
}
