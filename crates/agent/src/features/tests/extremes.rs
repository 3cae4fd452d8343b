use podway_model::{Protocol, Service, ServicePort, ServiceType};

use super::*;

/// Of x/web, whose slices hold 100 endpoints each.
fn slices(endpoints: usize) -> Vec<EndpointSlice> {
    let address = |i: usize| format!("10.{}.{}.{}", 100 + i / 65_536, i / 256 % 256, i % 256);
    let addresses: Vec<String> = (0..endpoints).map(address).collect();
    let some = addresses.chunks(100).enumerate();
    some.map(|(i, some)| {
        let endpoints: Vec<_> = some.iter().map(|a| endpoint(a, "node2")).collect();
        let name = format!("x/web-{i}");
        slice(&name, "x/web", &[slice_port("http", 8080)], &endpoints)
    })
    .collect()
}

#[test]
fn ten_thousand_endpoints_of_one_service_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut objects = cluster();
    objects.extend(slices(10_000).into_iter().map(IntoObject::object));
    in_node(|| {
        let mut agent = Agent::start(&folder, &objects);
        assert_eq!(agent.status().services.unwrap().endpoints, 10_000);
        // One more, and one less: what is written follows the change.
        let mut last = slices(10_000).pop().unwrap();
        last.endpoints.pop();
        agent.tell(last.object());
        let writes = agent.turn();
        assert_eq!(writes.transactions, 1);
        assert!(writes.objects < 100, "{writes:?}");
    });
}

#[test]
fn thousands_of_ports_of_one_service_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let ports: Vec<ServicePort> = (0..3000)
        .map(|i| ServicePort {
            port: 10_000 + i,
            ..port(&format!("p{i}"), 1)
        })
        .collect();
    let named: Vec<_> = (0..3000)
        .map(|i| slice_port(&format!("p{i}"), 20_000 + i))
        .collect();
    let mut objects = cluster();
    objects.push(service("x/wide", &["10.96.0.20"], &ports).object());
    let wide = slice(
        "x/wide-1",
        "x/wide",
        &named,
        &[endpoint("10.244.1.7", "node1")],
    );
    objects.push(wide.object());
    in_node(|| {
        let agent = Agent::start(&folder, &objects);
        assert_eq!(agent.status().services.unwrap().frontends, 3001);
    });
}

#[test]
fn a_service_changes_family_and_protocol() {
    let folder = tempfile::tempdir().unwrap();
    in_node(|| {
        let mut agent = Agent::start(&folder, &cluster());
        let of = |address: &str, protocol| {
            let web = ServicePort {
                protocol,
                ..port("http", 80)
            };
            service("x/web", &[address], &[web])
        };
        let served = |agent: &Agent| {
            let services = agent.status().services.unwrap();
            (services.frontends, services.endpoints)
        };
        agent.tell(of("10.96.0.10", Protocol::Udp).object());
        agent.turn();
        assert_eq!(served(&agent), (1, 0), "its slice is of TCP");
        agent.tell(of("fd00:10:96::10", Protocol::Tcp).object());
        agent.turn();
        assert_eq!(served(&agent), (1, 0), "its slice is of IPv4");
        agent.tell(of("10.96.0.10", Protocol::Tcp).object());
        agent.turn();
        assert_eq!(served(&agent), (1, 1));
        let again = Agent::start(&folder, &cluster());
        assert_eq!(
            again.counters.total(),
            Writes::default(),
            "as from the start"
        );
    });
}

#[test]
fn a_node_port_that_is_taken_is_told_and_the_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let node_port = |name: &str, address: &str, created| Service {
        created,
        service_type: ServiceType::NodePort,
        ..service(
            name,
            &[address],
            &[ServicePort {
                node_port: Some(30_080),
                ..port("http", 80)
            }],
        )
    };
    in_node(|| {
        let mut agent = Agent::start(&folder, &cluster());
        agent.tell(node_port("x/first", "10.96.0.21", 1).object());
        agent.tell(node_port("x/second", "10.96.0.22", 2).object());
        agent.turn();
        let status = agent.status();
        assert_eq!(status.services.unwrap().frontends, 4);
        let [fault] = status.faults.as_slice() else {
            panic!("{:?}", status.faults);
        };
        assert_eq!(fault.object, "Service x/second");
        assert!(fault.message.contains("node:30080/tcp"), "{fault:?}");
        assert!(fault.message.contains("x/first"), "{fault:?}");
        assert_eq!(agent.latest.1.lock().len(), 1, "told once");
        agent.tell(web(&["10.244.1.6"]).object());
        agent.turn();
        assert_eq!(agent.latest.1.lock().len(), 1, "and not again");
    });
}
