use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;

fn facts() -> Arc<Facts> {
    let shown = Shown {
        mode: "nftables".to_owned(),
        configuration: json!({ "podway.dev": {} }),
        patience: Duration::ZERO,
    };
    Arc::new(Facts {
        health: Arc::default(),
        counters: Counters::default(),
        shown: RwLock::new(shown),
    })
}

/// Code, content type and body.
async fn ask(router: Router, path: &str) -> (u16, String, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = router.oneshot(request).await.unwrap();
    let kind = answer.headers().get("content-type");
    let kind = kind.map_or("", |kind| kind.to_str().unwrap()).to_owned();
    let code = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (code, kind, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn health_is_answered_as_kube_proxy_does() {
    let facts = facts();
    let codes = async || {
        let mut codes = Vec::new();
        for path in ["/healthz", "/livez"] {
            let (code, kind, body) = ask(health::router(facts.clone()), path).await;
            assert_eq!(kind, "application/json");
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["healthy"], code == 200, "{path}: {body}");
            assert_eq!(body.get("nodeEligible").is_some(), path == "/healthz");
            assert!(body["status"]["IPv6"]["healthy"].is_boolean(), "{body}");
            codes.push(code);
        }
        codes
    };
    assert_eq!(codes().await, [200, 200], "starting");
    facts.health.in_force(std::time::SystemTime::now());
    facts.health.note_node(true);
    assert_eq!(codes().await, [503, 200], "the node leaves");
    facts.health.note_node(false);
    facts.health.queue(std::time::Instant::now());
    assert_eq!(codes().await, [503, 503], "a change is late");
    let text = facts.counters.metrics().render();
    for line in [
        "kubeproxy_proxy_healthz_total{code=\"200\"} 1",
        "kubeproxy_proxy_healthz_total{code=\"503\"} 2",
        "kubeproxy_proxy_livez_total{code=\"503\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}

#[tokio::test]
async fn metrics_mode_and_configuration_are_answered() {
    let router = metrics::router(facts());
    let (code, kind, body) = ask(router.clone(), "/proxyMode").await;
    assert_eq!(
        (code, &*kind, &*body),
        (200, "text/plain; charset=utf-8", "nftables")
    );
    let (code, _, body) = ask(router.clone(), "/configz").await;
    assert_eq!((code, &*body), (200, "{\"podway.dev\":{}}"));
    let (code, kind, body) = ask(router.clone(), "/metrics").await;
    assert_eq!(
        (code, &*kind),
        (200, "text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(body.contains("process_start_time_seconds "), "{body}");
    assert_eq!(ask(router.clone(), "/healthz").await.2, "ok");
    assert_eq!(ask(router, "/nothing").await.0, 404);
}

/// Waits for what a server says of itself.
async fn answers(address: SocketAddr) -> bool {
    for _ in 0..500 {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return true;
        }
        sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test]
async fn servers_move_where_they_are_told() {
    let free = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let (one, other) = (free().await, free().await);
    let at = |health| Settings {
        health,
        metrics: None,
        is_hard: false,
    };
    let (change, settings) = watch::channel(at(Some(one)));
    let server = tokio::spawn(serve(facts(), settings, |unbound| panic!("{unbound:?}")));
    assert!(answers(one).await);
    change.send(at(Some(other))).unwrap();
    assert!(answers(other).await);
    assert!(TcpListener::bind(one).await.is_ok(), "still held");
    server.abort();
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_once_or_fatal() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = Settings {
        health: Some(taken.local_addr().unwrap()),
        metrics: None,
        is_hard: true,
    };
    let (_change, hard) = watch::channel(settings.clone());
    let failed = serve(facts(), hard, |_| {}).await.unwrap_err();
    assert!(
        failed.to_string().starts_with("listen at 127.0.0.1:"),
        "{failed}"
    );
    settings.is_hard = false;
    let (_change, soft) = watch::channel(settings);
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let server = tokio::spawn(serve(facts(), soft, move |unbound| {
        told.send(unbound.reason).unwrap();
    }));
    assert_eq!(heard.recv().await, Some("FailedToStartProxierHealthcheck"));
    server.abort();
}
