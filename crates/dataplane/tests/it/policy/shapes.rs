//! Packets whose ports are not where a simple filter looks for them: behind IPv4
//! options, behind IPv6's extension headers, in fragments.

use podway_dataplane::policy::PolicyBackend as _;
use podway_kernel::nft::Nft;
use podway_model::Protocol;
use podway_plan::policy::Connection;
use podway_testkit::builders::ip;

use super::shape::{OF_IPV4, OF_IPV6, Shape};
use super::table;
use super::wire::Wire;

const CASE: &str = "namespace x
pod x/a node1 10.244.1.2,fd00:10:244:1::2 app=a
pod x/b node2 10.244.2.2,fd00:10:244:2::2 app=b
policy x/p app=a
ingress from pods app=b ports tcp/80 udp/80 sctp/80
egress to pods app=b ports tcp/80 udp/80 sctp/80
case shapes
";

const A: [&str; 2] = ["10.244.1.2", "fd00:10:244:1::2"];
const B: [&str; 2] = ["10.244.2.2", "fd00:10:244:2::2"];
const OTHER: [&str; 2] = ["192.0.2.1", "2001:db8::1"];

#[test]
fn ports_are_found_wherever_they_are() {
    let case = podway_testkit::policy_scenario::parse("shapes", CASE).remove(0);
    let mut wire = Wire::new(&["172.16.0.11", "fd00:172:16::11"]);
    let nft = wire.router.run(Nft::open).expect("the router's namespace");
    let mut backend = super::backend(nft.expect("nf_tables"));
    backend.sync(&table(&case), None).expect("a full sync");
    let mut wrong = Vec::new();
    let shapes = [&OF_IPV4[..], &OF_IPV6[..]];
    for (family, shapes) in shapes.into_iter().enumerate() {
        for shape in [Shape::Plain].iter().chain(shapes) {
            for protocol in Protocol::ALL {
                let from_to = [
                    (B, A, 80, true),
                    (B, A, 81, false),
                    (A, B, 80, true),
                    (A, B, 81, false),
                    (OTHER, A, 80, false),
                    (A, OTHER, 80, false),
                ];
                for (from, to, port, allowed) in from_to {
                    let connection = Connection {
                        source: ip(from[family]),
                        destination: ip(to[family]),
                        protocol,
                        port,
                        node: None,
                        through_service: false,
                    };
                    if wire.passes_as(*shape, &connection, false) != allowed {
                        wrong.push(format!("{shape:?}, allowed {allowed}: {connection:?}"));
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
