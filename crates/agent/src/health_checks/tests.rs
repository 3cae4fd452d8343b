use axum::body::{Body, to_bytes};
use axum::http::Request;
use parking_lot::RwLock;
use podway_model::ObjectName;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use super::*;
use crate::features::Counters;
use crate::servers::Shown;

fn facts() -> Arc<Facts> {
    let shown = Shown {
        patience: Duration::from_secs(60),
        ..Shown::default()
    };
    Arc::new(Facts {
        health: Arc::default(),
        counters: Counters::default(),
        shown: RwLock::new(shown),
    })
}

fn wanted(port: u16, v4: usize, v6: usize) -> Wanted {
    let check = HealthCheck {
        service: ObjectName::new("shop", "web"),
        local_endpoints: [(IpFamily::V4, v4), (IpFamily::V6, v6)].into(),
    };
    Wanted {
        checks: Arc::new([(port, Arc::new(check))].into()),
        prefixes: Vec::new(),
    }
}

#[tokio::test]
async fn counts_are_answered_as_kube_proxy_does() {
    let facts = facts();
    let (_sender, source) = watch::channel(wanted(1, 2, 0));
    for (address, code, count) in [("0.0.0.0:1", 200, 2), ("[::]:1", 503, 0)] {
        let router = router(address.parse().unwrap(), facts.clone(), source.clone());
        let request = Request::delete("/any/path").body(Body::empty()).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        assert_eq!(answer.status().as_u16(), code, "{address}");
        let headers = answer.headers();
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(
            headers["x-load-balancing-endpoint-weight"],
            count.to_string()
        );
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            json!({
                "service": {"namespace": "shop", "name": "web"},
                "localEndpoints": count,
                "serviceProxyHealthy": true,
            })
        );
    }
}

#[tokio::test]
async fn a_node_that_is_late_is_no_target() {
    let facts = facts();
    facts.shown.write().patience = Duration::ZERO;
    facts.health.in_force(std::time::SystemTime::now());
    facts.health.queue(Instant::now());
    let wanted = wanted(1, 2, 2);
    let check = wanted.checks.get(&1).map(|check| &**check);
    let answer = answer(check, IpFamily::V4, &facts);
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

/// The first line of the answer; `None` where nobody listens.
async fn ask(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text.lines().next().map(str::to_owned)
}

async fn until(address: SocketAddr, expected: Option<&str>) {
    loop {
        if ask(address).await.as_deref() == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn ports_open_and_close_with_the_plan_in_both_families() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let (sender, source) = watch::channel(Wanted::default());
    let (post, _kept) = crate::publish::bulletin_for_tests();
    let serving = tokio::spawn(serve(facts(), source, post));
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    sender.send(wanted(port, 1, 0)).unwrap();
    until(v4, Some("HTTP/1.1 200 OK")).await;
    until(v6, Some("HTTP/1.1 503 Service Unavailable")).await;
    sender.send(wanted(port, 0, 3)).unwrap();
    until(v4, Some("HTTP/1.1 503 Service Unavailable")).await;
    until(v6, Some("HTTP/1.1 200 OK")).await;
    sender.send(Wanted::default()).unwrap();
    until(v4, None).await;
    until(v6, None).await;
    serving.abort();
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_and_the_others_go_on() {
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let clash = taken.local_addr().unwrap().port();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut both = BTreeMap::clone(&wanted(port, 1, 1).checks);
    both.extend(BTreeMap::clone(&wanted(clash, 1, 1).checks));
    let both = Wanted {
        checks: Arc::new(both),
        prefixes: vec!["127.0.0.0/8".parse().unwrap()],
    };
    let (_sender, source) = watch::channel(both);
    let (post, mut told) = crate::publish::bulletin_for_tests();
    let serving = tokio::spawn(serve(facts(), source, post));
    let News::Occurrence {
        object,
        reason,
        message,
        ..
    } = told.recv().await.unwrap()
    else {
        panic!("a fault");
    };
    assert_eq!(object, ObjectRef::Service(ObjectName::new("shop", "web")));
    assert_eq!(reason, "FailedToStartServiceHealthcheck");
    assert!(
        message.contains(&format!("127.0.0.1:{clash}: ")),
        "{message}"
    );
    until(
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        Some("HTTP/1.1 200 OK"),
    )
    .await;
    serving.abort();
}
