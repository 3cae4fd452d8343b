use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Facts;
use crate::health::Judgement;

pub(super) fn router(facts: Arc<Facts>) -> Router {
    Router::new()
        .route("/healthz", any(healthz))
        .route("/livez", any(livez))
        .with_state(facts)
}

/// Whether load balancers should choose this node: not when it is unwell, and
/// not when it is about to be deleted, though it still serves.
async fn healthz(State(facts): State<Arc<Facts>>) -> Response {
    let judged = judge(&facts);
    let is_good = judged.is_well && judged.is_eligible;
    let counted = &facts.counters.metrics().healthz;
    counted.add(&[code(is_good)], 1);
    let mut body = body(judged, is_good);
    body.insert("nodeEligible".to_owned(), judged.is_eligible.into());
    answer(is_good, body)
}

/// Whether the process should live on: a node that leaves is no reason to
/// restart it.
async fn livez(State(facts): State<Arc<Facts>>) -> Response {
    let judged = judge(&facts);
    let counted = &facts.counters.metrics().livez;
    counted.add(&[code(judged.is_well)], 1);
    answer(judged.is_well, body(judged, judged.is_well))
}

fn judge(facts: &Facts) -> Judgement {
    let patience = facts.shown.read().patience;
    facts.health.judge(Instant::now(), patience)
}

const fn code(is_good: bool) -> &'static str {
    if is_good { "200" } else { "503" }
}

/// `lastUpdated` is now whenever the answer is good: who asked old versions
/// took an old time for a failure.
fn body(judged: Judgement, is_good: bool) -> Map<String, Value> {
    let now = SystemTime::now();
    let updated = if is_good { Some(now) } else { judged.updated };
    let family = json!({ "lastUpdated": time(updated), "healthy": judged.is_well });
    let body = json!({
        "lastUpdated": time(updated),
        "currentTime": time(Some(now)),
        "healthy": is_good,
        "status": { "IPv4": family, "IPv6": family },
    });
    match body {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// RFC 3339; the year 1 for never, as Go writes it.
fn time(at: Option<SystemTime>) -> String {
    let never = || "0001-01-01T00:00:00Z".to_owned();
    at.and_then(|at| Timestamp::try_from(at).ok())
        .map_or_else(never, |at| at.to_string())
}

fn answer(is_good: bool, body: Map<String, Value>) -> Response {
    let status = match is_good {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, Value::Object(body).to_string()).into_response()
}
