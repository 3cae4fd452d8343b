//! A pod's interface: a veth pair between the pod and the node's IP stack.
//!
//! No bridge: each end has addresses of its own length (/32, /128) and a route
//! to the other end, so also two pods of one node talk through the node's IP
//! stack, where services and policies are decided. docs/decisions/0002 says why.

mod node_end;
mod pod_end;

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use podway_kernel::netns::NetNs;
use podway_kernel::route::{
    ErrorKind, Link, LinkDetail, LinkIndex, Mac, NewLink, Rtnetlink, VethPeer,
};

use crate::environment::{PodName, Target};
use crate::error::Error;
use crate::ipam::Assigned;
use crate::owner::Owner;

/// The group of the node's ends (`ip link show group 28791`; "pw"). They get it
/// as they are made, so it tells ours from others' of the same name, and all of
/// them can be deleted at once.
pub const LINK_GROUP: u32 = 0x7077;

/// The longest alias of an interface in bytes (IFALIASZ without the final zero).
const LONGEST_ALIAS: usize = 255;

/// How long an interface may take to come up. It takes microseconds, or a second
/// when a hundred pods start at once.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// What a pod's interface must be.
#[derive(Debug)]
pub(crate) struct PodInterface<'a> {
    pub(crate) target: &'a Target,
    pub(crate) namespace: &'a NetNs,
    pub(crate) mtu: u32,
    /// The Ethernet address of the pod's end.
    pub(crate) mac: Option<Mac>,
    /// The pod's addresses, at most one of each family, and those of the node's
    /// end.
    pub(crate) ips: &'a [Assigned],
}

/// The node's end of an interface: a name that follows from the container, so
/// that DEL finds it without the pod's namespace.
pub(crate) fn host_name(owner: &Owner) -> String {
    format!("pw{}", digest(owner))
}

/// The interface over which what a pod sends takes a detour to be limited.
pub(crate) fn ifb_name(owner: &Owner) -> String {
    format!("pb{}", digest(owner))
}

/// 13 characters that follow from the owner.
fn digest(owner: &Owner) -> String {
    // FNV-1a: the same in every version of this program.
    let hash = owner
        .to_string()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
    format!("{:013x}", hash >> 12)
}

/// The alias of the node's end: whose it is, of which its name is only a hash,
/// and the pod for people who read `ip link`.
pub(crate) fn alias(owner: &Owner, pod: Option<&PodName>) -> String {
    let mut alias = owner.to_string();
    if let Some(pod) = pod {
        alias = format!("{alias} {}/{}", pod.namespace, pod.name);
    }
    // What has come through the environment's checks is ASCII but for pod
    // names of runtimes that are not Kubernetes'.
    alias.truncate(alias.floor_char_boundary(LONGEST_ALIAS));
    alias
}

/// An Ethernet address that follows from an IP address of the node's range: a
/// neighbour entry that somebody still has for a reused address is right, and
/// the pods' entries for their gateway need no look at the node's end.
pub(crate) fn mac_of(address: IpAddr) -> Mac {
    let (family, [a, b, c, d]) = match address {
        IpAddr::V4(address) => (0x04, address.octets()),
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            (0x06, [a, b, c, d])
        }
    };
    // 0x0a: locally administered, unicast.
    Mac([0x0a, family, a, b, c, d])
}

impl PodInterface<'_> {
    /// The Ethernet address of the node's end. All have the same: each is alone
    /// with its pod.
    pub(crate) fn gateway_mac(&self) -> Option<Mac> {
        self.ips.first().map(|ip| mac_of(ip.gateway))
    }

    /// Makes the pair, its peer in the pod's namespace from the start. Nothing is
    /// up yet.
    pub(crate) fn create(&self, socket: &mut Rtnetlink) -> Result<LinkIndex, Error> {
        let mut peer = VethPeer::new(&self.target.owner.ifname)
            .in_namespace(self.namespace)
            .mtu(self.mtu);
        if let Some(mac) = self.mac {
            peer = peer.mac(mac);
        }
        let mut pair = NewLink::veth(host_name(&self.target.owner), peer)
            .mtu(self.mtu)
            .group(LINK_GROUP);
        if let Some(mac) = self.gateway_mac() {
            pair = pair.mac(mac);
        }
        match socket.create_link(&pair) {
            Err(error) if error.kind() == ErrorKind::Exists => Err(self.taken()),
            made => Ok(made?),
        }
    }

    /// The kernel does not say which of a pair's two names is taken.
    fn taken(&self) -> Error {
        let name = &self.target.owner.ifname;
        let inside = self
            .namespace
            .run(|| Rtnetlink::open()?.link(name))
            .is_ok_and(|link| matches!(link, Ok(Some(_))));
        let (name, namespace) = if inside {
            (name.clone(), self.namespace.path().display().to_string())
        } else {
            (host_name(&self.target.owner), "the node's namespace".into())
        };
        Error::InterfaceExists { name, namespace }
    }
}

/// Returns once packets pass an end of the pair in both directions, which two
/// kernel threads have to see to. The end that came up first throws away what it
/// should send until one has noticed that the other is up too (a connection made
/// then would wait a second for its second attempt). And IPv6 addresses, also
/// those without duplicate address detection, are answered for when the other
/// has made their local routes; nothing is notified after that.
pub(crate) fn await_ready(
    socket: &mut Rtnetlink,
    link: LinkIndex,
    addresses: impl Iterator<Item = IpAddr>,
) -> Result<(), Error> {
    let deadline = Instant::now() + LONGEST_WAIT;
    let mut pause = FIRST_PAUSE;
    let mut waiting: Vec<IpAddr> = addresses.filter(IpAddr::is_ipv6).collect();
    loop {
        if let Some(address) = waiting.last() {
            if socket.is_local(*address)? {
                waiting.pop();
                continue;
            }
        } else if socket.link_at(link)?.is_some_and(|link| link.running) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::NotReadyInTime { link });
        }
        thread::sleep(pause);
        // Many pods at once keep the kernel's threads busy: asking does not help.
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Removes the node's end, and with it the pod's, addresses and routes of both.
/// Whether it was there. What has the name and is somebody else's stays.
pub(crate) fn remove(socket: &mut Rtnetlink, owner: &Owner) -> Result<bool, Error> {
    let mut found = false;
    for name in [host_name(owner), ifb_name(owner)] {
        let link = socket.link(&name)?;
        let Some(link) = link.filter(|link| belongs_to(link, owner)) else {
            continue;
        };
        found |= match socket.delete_link_and_leave(link.index) {
            Ok(()) => true,
            // The pod's namespace went at the same moment.
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error.into()),
        };
    }
    Ok(found)
}

/// How many interfaces of pods the calling thread's namespace has.
///
/// # Errors
/// The kernel refused to list them.
pub fn attached() -> Result<usize, Error> {
    let links = Rtnetlink::open()?.links()?;
    let is_ours = |link: &&Link| link.group == LINK_GROUP && link.detail == LinkDetail::Veth;
    Ok(links.iter().filter(is_ours).count())
}

/// An ADD that was killed has left an interface without an alias.
pub(crate) fn belongs_to(link: &Link, owner: &Owner) -> bool {
    let whose = |alias: &str| alias.split(' ').next().map(str::to_owned);
    let named = link.alias.as_deref().and_then(whose);
    let is_owners = named.is_none() || named == whose(&alias(owner, None));
    let is_ours = match &link.detail {
        LinkDetail::Veth => true,
        LinkDetail::Other(kind) => kind == "ifb",
        _ => false,
    };
    is_ours && link.group == LINK_GROUP && is_owners
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(container: &str) -> Owner {
        Owner {
            container: container.into(),
            ifname: "eth0".into(),
        }
    }

    #[test]
    fn names_and_addresses_follow_from_what_they_are_for() {
        let name = host_name(&owner("c1"));
        assert_eq!(name, host_name(&owner("c1")));
        assert_ne!(name, host_name(&owner("c2")));
        assert_eq!(name.len(), 15, "{name}");
        for (address, mac) in [
            ("10.244.1.2", "0a:04:0a:f4:01:02"),
            ("fd00:10:244:1::1:2", "0a:06:00:01:00:02"),
        ] {
            assert_eq!(mac_of(address.parse().unwrap()).to_string(), mac);
        }
    }

    #[test]
    fn an_interface_belongs_to_the_container_that_its_alias_names() {
        let pod = PodName {
            namespace: "x".into(),
            name: "a".into(),
            uid: String::new(),
        };
        let link = |group, alias: Option<String>| Link {
            index: LinkIndex(7),
            name: host_name(&owner("c1")),
            mac: None,
            mtu: 1500,
            up: true,
            carrier: true,
            running: true,
            group,
            master: None,
            lower: None,
            alias,
            detail: LinkDetail::Veth,
            port: None,
        };
        let alias = |container: &str| Some(alias(&owner(container), Some(&pod)));
        let long = "c".repeat(300);
        for (container, link, expected) in [
            ("c1", link(LINK_GROUP, alias("c1")), true),
            ("c1", link(LINK_GROUP, None), true),
            ("c1", link(LINK_GROUP, alias("c11")), false),
            ("c1", link(0, None), false),
            (&long, link(LINK_GROUP, alias(&long)), true),
        ] {
            let found = belongs_to(&link, &owner(container));
            assert_eq!(found, expected, "{container}: {link:?}");
        }
    }
}
