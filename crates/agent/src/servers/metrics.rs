use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;

use super::Facts;

pub(super) fn router(facts: Arc<Facts>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok"))
        .route("/proxyMode", get(mode))
        .route("/configz", get(configuration))
        .route("/debug/pprof/{*rest}", get(profile))
        .with_state(facts)
}

/// The format's version 0.0.4.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

async fn metrics(State(facts): State<Arc<Facts>>) -> Response {
    let text = facts.counters.metrics().render();
    ([(header::CONTENT_TYPE, TEXT)], text).into_response()
}

async fn mode(State(facts): State<Arc<Facts>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, facts.shown.read().mode.clone()).into_response()
}

async fn configuration(State(facts): State<Arc<Facts>>) -> Json<Value> {
    Json(facts.shown.read().configuration.clone())
}

async fn profile() -> Response {
    let what = "there is nothing of Go's profiler here: use perf on the process\n";
    (StatusCode::NOT_FOUND, what).into_response()
}
