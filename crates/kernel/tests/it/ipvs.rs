//! Virtual servers written natively: the same contract for the kernel and for
//! the fake, and `ipvsadm` as the judge of what was written.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use podway_kernel::iptables::Family;
use podway_kernel::ipvs::{
    FakeIpvs, Ipvs, IpvsTable, SCHEDULERS, Scheduling, Timeouts, VirtualServer,
};
use podway_kernel::route::{LinkChange, Rtnetlink};

use super::namespace;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

fn server(protocol: u8, address: &str) -> VirtualServer {
    VirtualServer::Address {
        protocol,
        address: address.parse().unwrap(),
    }
}

fn addresses(texts: [&str; 2]) -> [SocketAddr; 2] {
    texts.map(|text| text.parse().unwrap())
}

/// Virtual servers of a namespace of the test's own. The kernel refuses real
/// servers where there are no addresses at all.
fn open() -> IpvsTable {
    let mut netlink = Rtnetlink::open().unwrap();
    let lo = netlink.link("lo").unwrap().unwrap().index;
    netlink.change_link(lo, &LinkChange::new().up()).unwrap();
    IpvsTable::open().unwrap()
}

/// Everything that a caller may rely on.
fn contract(ipvs: &mut impl Ipvs) {
    let web = server(TCP, "10.96.0.1:80");
    let dns = server(UDP, "[fd00:10:96::1]:53");
    let marked = VirtualServer::Mark {
        family: Family::V4,
        mark: 0x5000_0001,
    };
    let sticky = Scheduling {
        persistence: Some(Duration::from_secs(10_800)),
        ..Scheduling::by("wrr")
    };
    let hashed = Scheduling {
        flag_2: true,
        ..Scheduling::by("mh")
    };
    assert_eq!(ipvs.servers().unwrap().len(), 0);
    ipvs.add(&web, &Scheduling::by("rr")).unwrap();
    ipvs.add(&dns, &sticky).unwrap();
    ipvs.add(&marked, &hashed).unwrap();
    let held = ipvs.servers().unwrap();
    assert_eq!(held.len(), 3);
    assert_eq!(held[&web], Scheduling::by("rr"));
    assert_eq!(held[&dns], sticky);
    assert_eq!(held[&marked], hashed);

    let error = ipvs.add(&web, &Scheduling::by("rr")).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("TCP 10.96.0.1:80") && text.contains("already"),
        "{text}"
    );
    let error = ipvs.reschedule(&web, &Scheduling::by("no-such"));
    let text = error.unwrap_err().to_string();
    assert!(text.contains("scheduler"), "{text}");

    contract_of_real_servers(ipvs, &web, &dns, &sticky);

    let timeouts = Timeouts {
        tcp: Duration::from_secs(1_000),
        tcp_fin: Duration::from_secs(30),
        udp: Duration::from_secs(45),
    };
    ipvs.set_timeouts(timeouts).unwrap();
    assert_eq!(ipvs.timeouts().unwrap(), timeouts);
}

fn contract_of_real_servers(
    ipvs: &mut impl Ipvs,
    web: &VirtualServer,
    dns: &VirtualServer,
    sticky: &Scheduling,
) {
    let [one, two] = addresses(["10.244.1.1:8080", "10.244.1.2:8080"]);
    ipvs.add_real(web, one, 100).unwrap();
    ipvs.add_real(web, two, 1).unwrap();
    let error = ipvs.add_real(web, two, 1).unwrap_err().to_string();
    assert!(error.contains("10.244.1.2:8080"), "{error}");
    ipvs.weigh_real(web, two, 0).unwrap();
    // Rescheduling keeps them.
    ipvs.reschedule(web, sticky).unwrap();
    assert_eq!(ipvs.servers().unwrap()[web], *sticky);
    ipvs.reschedule(web, &Scheduling::by("sh")).unwrap();
    assert_eq!(ipvs.servers().unwrap()[web], Scheduling::by("sh"));
    let reals = ipvs.real_servers(web).unwrap();
    let weights: Vec<_> = reals
        .iter()
        .map(|(real, held)| (*real, held.weight))
        .collect();
    assert_eq!(weights, [(one, 100), (two, 0)]);

    let [six, _] = addresses(["[fd00:10:244:1::1]:8053", "[::]:0"]);
    ipvs.add_real(dns, six, 1).unwrap();
    assert!(ipvs.real_servers(dns).unwrap().contains_key(&six));
    assert!(
        ipvs.weigh_real(dns, "[fd00::9]:1".parse().unwrap(), 1)
            .is_err()
    );

    for _ in 0..2 {
        ipvs.remove_real(web, one).unwrap();
        ipvs.remove(dns).unwrap();
    }
    assert_eq!(ipvs.real_servers(web).unwrap().len(), 1);
    assert_eq!(ipvs.real_servers(dns).unwrap().len(), 0);
    assert_eq!(ipvs.servers().unwrap().len(), 2);
}

#[test]
fn virtual_servers_in_memory() {
    contract(&mut FakeIpvs::new());
}

#[test]
#[ignore = "needs ip_vs: make test-vm"]
fn virtual_servers_in_the_kernel() {
    namespace().run(|| contract(&mut open())).unwrap();
}

#[test]
#[ignore = "needs ip_vs: make test-vm"]
fn every_scheduler_of_linux_is_found_and_leaves_nothing() {
    let (found, left) = namespace()
        .run(|| {
            let mut ipvs = open();
            let found = ipvs.schedulers().unwrap();
            (found, ipvs.servers().unwrap())
        })
        .unwrap();
    assert_eq!(found, SCHEDULERS);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
#[ignore = "needs ip_vs: make test-vm"]
fn ipvsadm_prints_what_was_written() {
    let printed = namespace()
        .run(|| {
            let mut ipvs = open();
            let sticky = Scheduling {
                persistence: Some(Duration::from_secs(600)),
                ..Scheduling::by("wlc")
            };
            let hashed = Scheduling {
                flag_2: true,
                ..Scheduling::by("mh")
            };
            for (server, scheduling, reals) in [
                (
                    server(TCP, "10.96.0.1:80"),
                    Scheduling::by("rr"),
                    &["10.244.1.1:8080", "10.244.1.2:8080"][..],
                ),
                (server(UDP, "[fd00::1]:53"), sticky, &["[fd00::2]:8053"]),
                (server(SCTP, "10.96.0.2:90"), hashed, &[]),
                (
                    VirtualServer::Mark {
                        family: Family::V4,
                        mark: 0x5000_0001,
                    },
                    Scheduling::by("rr"),
                    &["10.244.1.1:8080"],
                ),
            ] {
                ipvs.add(&server, &scheduling).unwrap();
                for real in reals {
                    ipvs.add_real(&server, real.parse().unwrap(), 1).unwrap();
                }
            }
            let output = Command::new("ipvsadm").arg("-Sn").output();
            String::from_utf8(output.expect("ipvsadm").stdout).unwrap()
        })
        .unwrap();
    let mut lines: Vec<&str> = printed.lines().map(str::trim).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "-A --sctp-service 10.96.0.2:90 -s mh -b mh-port",
            "-A -f 1342177281 -s rr",
            "-A -t 10.96.0.1:80 -s rr",
            "-A -u [fd00::1]:53 -s wlc -p 600",
            "-a -f 1342177281 -r 10.244.1.1:8080 -m -w 1",
            "-a -t 10.96.0.1:80 -r 10.244.1.1:8080 -m -w 1",
            "-a -t 10.96.0.1:80 -r 10.244.1.2:8080 -m -w 1",
            "-a -u [fd00::1]:53 -r [fd00::2]:8053 -m -w 1",
        ],
        "{printed}"
    );
}

#[test]
fn a_kernel_without_ipvs_says_what_is_missing() {
    match namespace().run(IpvsTable::open).unwrap() {
        Ok(_) => {}
        Err(error) => {
            let text = error.to_string();
            assert!(
                text.contains("IP_VS") && text.contains("docs/second-kernel.md"),
                "{text}"
            );
        }
    }
}
