//! What only a proxy does, with real connections in both families.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use podway_dataplane::service::userspace::SPEC;
use podway_kernel::netns::NetNs;
use podway_model::{Change, EndpointSlice, IpFamily, Service, TrafficPolicy};
use podway_testkit::builders::{IntoObject as _, endpoint, ip, slice, slice_port};

use super::served::{POD_ONE, POD_TWO, Served, node_port, numbered, vip};
use super::site::{
    CLIENT, Connection, NODE, ONE, Reply, TCP_PORT, TWO, ask, connect, from, serve, udp,
};

/// A slice of service `number` with these addresses, at a port.
fn extra(number: u16, name: &str, family: usize, addresses: &[&str], port: u16) -> EndpointSlice {
    let service = format!("ns/s{number}");
    let endpoints: Vec<_> = addresses.iter().map(|a| endpoint(a, "node1")).collect();
    let slice_name = format!("{service}-{name}-{family}");
    let made = slice(
        &slice_name,
        &service,
        &[slice_port("web", port)],
        &endpoints,
    );
    EndpointSlice {
        family: IpFamily::ALL[family],
        ..made
    }
}

fn add(served: &mut Served, slices: [EndpointSlice; 2]) {
    served.apply(slices.map(|slice| Change::Upsert(slice.object())));
}

#[test]
fn an_endpoint_that_refuses_is_passed_over() {
    let mut served = Served::new(&SPEC, &[(numbered(1), &[POD_ONE])]);
    // Nobody listens there.
    add(
        &mut served,
        [0, 1].map(|family| extra(1, "closed", family, &[TWO[family]], 9)),
    );
    for family in [0, 1] {
        for attempt in 0..6 {
            let reply = connect(&served.site.client, node_port(1, family));
            assert!(matches!(reply, Reply::From { .. }), "{attempt}: {reply:?}");
        }
    }
    // Where all refuse, the client learns it.
    served.scale(1, &[]);
    for family in [0, 1] {
        assert!(is_cut(&served.site.client, node_port(1, family)));
    }
}

/// Whether a connection is cut at once, whether or not it has come about before:
/// the proxy takes it before it knows.
fn is_cut(client: &NetNs, to: SocketAddr) -> bool {
    let opened = client.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(10)));
    let outcome = opened
        .unwrap()
        .and_then(|mut stream| stream.read(&mut [0; 8]));
    outcome.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[test]
fn an_endpoint_that_is_silent_is_passed_over() {
    let mut served = Served::new(&SPEC, &[(numbered(1), &[POD_ONE])]);
    // Packets there are routed to the other node, which has no such pod.
    let nowhere = ["172.16.0.99", "fd00:172:16::99"];
    add(
        &mut served,
        [0, 1].map(|family| extra(1, "silent", family, &[nowhere[family]], 80)),
    );
    for family in [0, 1] {
        for attempt in 0..2 {
            let reply = connect(&served.site.two, vip(1, family, 80));
            assert_eq!(reply, from("one", TWO[family]), "{attempt}");
        }
    }
}

#[test]
fn each_direction_ends_by_itself() {
    let served = Served::new(&SPEC, &[(numbered(1), &[POD_ONE])]);
    for to in [vip(1, 0, 80), vip(1, 1, 80), node_port(1, 0)] {
        let mut connection = Connection::open(&served.site.two, to).unwrap();
        let stream = connection.stream.get_mut();
        stream.write_all(b"the last words\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // The echo comes after our own direction has ended, then the end.
        let mut rest = String::new();
        connection.stream.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "the last words\n", "{to}");
    }
}

/// A server in a pod that does this with every connection.
fn in_pod(pod: &NetNs, port: u16, act: impl Fn(TcpStream) + Send + Copy + 'static) {
    let listener = pod
        .run(|| TcpListener::bind(("::", port)))
        .unwrap()
        .unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || act(stream));
        }
    });
}

#[test]
fn a_reset_is_passed_on() {
    let mut served = Served::new(&SPEC, &[(numbered(1), &[])]);
    // It ends with bytes unread, which is a reset.
    in_pod(&served.site.one, 7777, |mut stream| {
        let _ = stream.read_exact(&mut [0; 2]);
    });
    add(
        &mut served,
        [0, 1].map(|family| extra(1, "rude", family, &[ONE[family]], 7777)),
    );
    for family in [0, 1] {
        let to = vip(1, family, 80);
        let opened = served.site.two.run(|| TcpStream::connect(to));
        let mut stream = opened.unwrap().unwrap();
        stream.write_all(b"more than it reads").unwrap();
        let error = stream.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{to}");
    }
}

/// The bytes of a stream, from a generator that both ends know.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn whatever_is_sent_arrives_as_it_was() {
    const LENGTH: usize = 16 << 20;
    let mut served = Served::new(&SPEC, &[(numbered(1), &[])]);
    // Echoes, so that both directions are full at once.
    in_pod(&served.site.one, 7778, |stream| {
        let mut from = &stream;
        let mut to = &stream;
        let _ = std::io::copy(&mut from, &mut to);
        let _ = stream.shutdown(Shutdown::Write);
    });
    add(
        &mut served,
        [0, 1].map(|family| extra(1, "echo", family, &[ONE[family]], 7778)),
    );
    let sent = pattern(LENGTH);
    for to in [vip(1, 0, 80), node_port(1, 1)] {
        let opened = served.site.client.run(|| TcpStream::connect(to));
        let stream = opened.unwrap().unwrap();
        let mut received = Vec::with_capacity(LENGTH);
        thread::scope(|scope| {
            scope.spawn(|| {
                (&stream).write_all(&sent).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            });
            (&stream).read_to_end(&mut received).unwrap();
        });
        assert!(received == sent, "{to}: {} bytes", received.len());
    }
}

#[test]
fn many_connections_at_once_are_kept_apart() {
    let served = Served::new(&SPEC, &[(numbered(1), &[POD_ONE, POD_TWO])]);
    let open = |index: usize| {
        let to = [vip(1, 0, 80), vip(1, 1, 80), node_port(1, 0)][index % 3];
        Connection::open(&served.site.client, to).unwrap()
    };
    let mut connections: Vec<Connection> = (0..200).map(open).collect();
    for round in 0..3 {
        for (index, connection) in connections.iter_mut().enumerate() {
            assert!(connection.echoes(&format!("{index} in round {round}")));
        }
    }
}

#[test]
fn shares_follow_weights() {
    let mut served = Served::new(&SPEC, &[(numbered(1), &[])]);
    let weighted = |name: &str, pod: &[&str; 2], weight| {
        [0, 1].map(|family| EndpointSlice {
            weight: Some(weight),
            ..extra(1, name, family, &[pod[family]], TCP_PORT)
        })
    };
    add(&mut served, weighted("heavy", &ONE, 75));
    add(&mut served, weighted("light", &TWO, 25));
    for family in [0, 1] {
        let mut counts = BTreeMap::<String, usize>::new();
        for _ in 0..40 {
            match connect(&served.site.client, vip(1, family, 80)) {
                Reply::From { pod, .. } => *counts.entry(pod).or_default() += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((counts["one"], counts["two"]), (30, 10));
    }
}

#[test]
fn a_process_of_the_node_is_an_endpoint_like_any_other() {
    let mut served = Served::new(&SPEC, &[(numbered(1), &[])]);
    served.site.node.run(|| serve("process")).unwrap();
    add(
        &mut served,
        [0, 1].map(|family| extra(1, "host", family, &[NODE[family]], TCP_PORT)),
    );
    for family in [0, 1] {
        let site = &served.site;
        let (cluster_ip, port) = (vip(1, family, 80), node_port(1, family));
        for (what, client, to, seen) in [
            ("pod", &site.two, cluster_ip, Some(TWO[family])),
            ("outside", &site.client, cluster_ip, None),
            ("outside by node port", &site.client, port, None),
            ("node", &site.node, cluster_ip, None),
        ] {
            let reply = connect(client, to);
            let Reply::From { pod, seen: found } = &reply else {
                panic!("{what}: {reply:?}");
            };
            assert_eq!(pod, "process", "{what}");
            // The node's own address is as good as another.
            let expected = seen.map_or(*found, ip);
            assert_eq!(*found, expected, "{what}");
        }
    }
}

#[test]
fn the_client_outside_is_seen_by_an_endpoint_here() {
    let local = Service {
        external_policy: TrafficPolicy::Local,
        ..numbered(1)
    };
    let served = Served::new(&SPEC, &[(local, &[POD_ONE])]);
    for family in [0, 1] {
        let to = node_port(1, family);
        assert_eq!(
            connect(&served.site.client, to),
            from("one", CLIENT[family])
        );
        assert_eq!(
            ask(&udp(&served.site.client, to)),
            from("one", CLIENT[family])
        );
    }
}

#[test]
fn a_proxy_that_retires_ends_what_it_has_begun() {
    let mut served = Served::new(&SPEC, &[(numbered(1), &[POD_ONE])]);
    let mut connection = Connection::open(&served.site.two, vip(1, 0, 80)).unwrap();
    let Served { site, backend, .. } = &mut served;
    let begun = Instant::now();
    thread::scope(|scope| {
        let retiring = scope.spawn(|| backend.retire(Duration::from_secs(60)));
        // Refused once it no longer listens, and not before.
        while connect(&site.client, node_port(1, 1)) != Reply::Refused {}
        assert!(connection.echoes("still there"));
        assert!(!retiring.is_finished());
        drop(connection);
        retiring.join().unwrap();
    });
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "it waited for nothing"
    );
}

#[test]
fn nothing_is_left_by_a_cleanup() {
    let mut served = Served::new(&SPEC, &[(numbered(1), &[POD_ONE])]);
    served.backend.cleanup().unwrap();
    let left = served.site.node.run(|| {
        let mut nft = podway_kernel::nft::Nft::open().unwrap();
        let mut routes = podway_kernel::route::Rtnetlink::open().unwrap();
        let table = podway_dataplane::names::PROXY_TABLE;
        let marked = routes.rules().unwrap();
        (
            podway_kernel::nft::Nftables::dump(&mut nft, table)
                .unwrap()
                .is_some(),
            marked.iter().any(|rule| rule.mark.is_some()),
        )
    });
    assert_eq!(left.unwrap(), (false, false));
}

/// Bytes a second that a client can send to an address for so long.
fn throughput(client: &NetNs, to: SocketAddr, length: Duration) -> f64 {
    let opened = client.run(|| TcpStream::connect(to));
    let mut stream = opened.unwrap().unwrap();
    let bytes = vec![7; 256 << 10];
    let (begun, mut sent) = (Instant::now(), 0_usize);
    while begun.elapsed() < length {
        sent += stream.write(&bytes).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    // The sink ends when it has read everything.
    stream.read_to_end(&mut Vec::new()).unwrap();
    sent as f64 / begun.elapsed().as_secs_f64()
}

/// `cargo test -p podway-dataplane --test it measure -- --ignored --nocapture`
#[test]
#[ignore = "measures; says nothing about right or wrong"]
fn measure_throughput_against_direct() {
    const ROUNDS: usize = 9;
    let mut served = Served::new(&SPEC, &[(numbered(1), &[])]);
    in_pod(&served.site.one, 7779, |mut stream| {
        let mut buffer = vec![0; 256 << 10];
        while let Ok(1..) = stream.read(&mut buffer) {}
    });
    add(
        &mut served,
        [0, 1].map(|family| extra(1, "sink", family, &[ONE[family]], 7779)),
    );
    for family in [0, 1] {
        let direct = SocketAddr::new(ip(ONE[family]), 7779);
        let ways = [direct, vip(1, family, 80)];
        let mut rates: [Vec<f64>; 2] = Default::default();
        for _ in 0..ROUNDS {
            for (to, rates) in ways.iter().zip(&mut rates) {
                rates.push(throughput(
                    &served.site.two,
                    *to,
                    Duration::from_millis(700),
                ));
            }
        }
        let [direct, proxied] = rates.map(|mut rates| {
            rates.sort_by(f64::total_cmp);
            rates[ROUNDS / 2] * 8.0 / 1e9
        });
        let ratio = proxied / direct;
        println!(
            "IPv{}: direct {direct:.1} Gbit/s, proxied {proxied:.1} Gbit/s, ratio {ratio:.2}",
            4 + 2 * family
        );
    }
}

/// How long a connection takes from its beginning to the first answer.
#[test]
#[ignore = "measures; says nothing about right or wrong"]
fn measure_connecting_against_direct() {
    const CONNECTIONS: usize = 1000;
    let served = Served::new(&SPEC, &[(numbered(1), &[POD_ONE])]);
    for family in [0, 1] {
        let direct = SocketAddr::new(ip(ONE[family]), TCP_PORT);
        let ways = [direct, vip(1, family, 80)];
        let mut times: [Vec<Duration>; 2] = Default::default();
        for _ in 0..CONNECTIONS {
            for (to, times) in ways.iter().zip(&mut times) {
                let begun = Instant::now();
                connect(&served.site.two, *to);
                times.push(begun.elapsed());
            }
        }
        let [direct, proxied] = times.map(|mut times| {
            times.sort();
            times[CONNECTIONS / 2].as_micros()
        });
        println!(
            "IPv{}: first answer p50: direct {direct} us, proxied {proxied} us",
            4 + 2 * family
        );
    }
}
