//! Each measurement at a size that takes no time: that it measures what it says.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use podway_dataplane::service::{nftables, userspace};

use super::api::Api;
use super::cluster;
use super::paths::{Paths, Serve};
use super::programming::{Served, first_sync};

#[test]
fn services_are_programmed_and_changed() {
    let taken = first_sync(&nftables::SPEC, &cluster::state(20)).expect("as root");
    assert!(taken > Duration::ZERO);
    let mut served = Served::new(&nftables::SPEC, 20).expect("as root");
    for _ in 0..50 {
        assert!(served.change().expect("a change") > Duration::ZERO);
    }
}

#[test]
fn connections_go_both_ways() {
    let mut paths = Paths::new(&nftables::SPEC, 20, Serve::Accept).expect("as root");
    let [direct, through] = paths.connect(40).expect("connections");
    assert_eq!([direct.len(), through.len()], [40, 40]);
    let mut paths = Paths::new(&userspace::SPEC, 20, Serve::Read).expect("as root");
    let rates = paths.send(Duration::from_millis(50)).expect("a connection");
    assert!(rates.iter().all(|rate| *rate > 0.0), "{rates:?}");
}

/// Pages of a list, and what a watch is told.
#[test]
fn the_api_server_lists_in_pages_and_tells_watches() {
    let api = Api::serve(7).expect("a port");
    let ask = |target: &str| {
        let mut stream = TcpStream::connect(api.address).expect("a connection");
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        stream
    };
    let page = |target: &str| {
        let stream = ask(target);
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("a connection");
        let text = std::io::read_to_string(stream).expect("an answer");
        let body = text.split_once("\r\n\r\n").expect("a head").1;
        serde_json::from_str::<serde_json::Value>(body).expect("JSON")
    };
    let first = page("/api/v1/services?limit=5");
    assert_eq!(first["items"].as_array().map(Vec::len), Some(5));
    assert_eq!(first["metadata"]["continue"], "5");
    let second = page("/api/v1/services?limit=5&continue=5");
    assert_eq!(second["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(second["metadata"]["continue"], serde_json::Value::Null);
    assert_eq!(page("/api/v1/pods?limit=5")["items"], serde_json::json!([]));

    let mut watch = ask("/apis/discovery.k8s.io/v1/endpointslices?watch=true");
    while !api.is_watched() {
        std::thread::yield_now();
    }
    api.tell(3, 1, 9).expect("a watch");
    let (mut text, mut bytes) = (String::new(), [0; 4096]);
    while !text.contains("}\n\r\n") {
        let length = watch.read(&mut bytes).expect("an event");
        text += std::str::from_utf8(&bytes[..length]).expect("text");
    }
    let line = text
        .lines()
        .find(|line| line.starts_with('{'))
        .expect("an event");
    let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(event["type"], "MODIFIED");
    assert_eq!(event["object"]["metadata"]["name"], "service-3-abcde");
}
