//! The network below the nodes: a bridge for each segment in a namespace of its
//! own, which is the router between them, with a link to each node and to the
//! outside client. The machine's own namespace gets no
//! address and no route.

use ipnet::IpNet;
use podway_kernel::netns::{self, NetNs};
use podway_kernel::route::{LinkChange, NewLink, Route, Rtnetlink, VethPeer};
use podway_kernel::sysctl;
use podway_model::IpFamily;

use crate::name::node_index;
use crate::step::{Outcome, Step};
use crate::{Error, LabName, topology};

/// The bridges in the underlay's namespace, one for each segment.
const BRIDGES: [&str; topology::MOST_SEGMENTS] = ["underlay", "underlay1"];
/// The link of a node or the client, inside its namespace.
const LINK: &str = "eth0";
/// The underlay's place among the lab's namespaces.
const UNDERLAY: &str = "underlay";
/// The outside client's place among the lab's namespaces.
pub(crate) const CLIENT: &str = "client";

/// Kernel parameters of every namespace of the lab. Forwarding comes first: it
/// resets others.
const PARAMETERS: [(&str, &str); 6] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    // Nobody advertises anything here; a waiting router solicitation and
    // duplicate address detection would only delay.
    ("net/ipv6/conf/all/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
];

/// Makes the underlay's namespace and bridges, or completes it.
pub(crate) fn ensure(
    lab: &LabName,
    segments: usize,
    progress: &mut dyn FnMut(Step),
) -> Result<NetNs, Error> {
    let namespace = ensure_namespace(lab, UNDERLAY, progress)?;
    let mut links = Rtnetlink::open_in(&namespace)?;
    for (segment, name) in BRIDGES.into_iter().enumerate().take(segments.max(1)) {
        let bridge = match links.link(name)? {
            Some(link) => link.index,
            None => links.create_link(&NewLink::bridge(name))?,
        };
        for family in IpFamily::ALL {
            links.add_address(bridge, topology::gateway(segment, family))?;
        }
        links.change_link(bridge, &LinkChange::new().up())?;
    }
    Ok(namespace)
}

/// Makes the namespace of a node or the client and its link to the underlay,
/// or completes them. The link comes up.
pub(crate) fn ensure_place(
    lab: &LabName,
    underlay: &NetNs,
    place: &str,
    segments: usize,
    progress: &mut dyn FnMut(Step),
) -> Result<NetNs, Error> {
    let namespace = ensure_namespace(lab, place, progress)?;
    let segment = segment_of(place, segments);
    let mut links = Rtnetlink::open_in(&namespace)?;
    let link = match links.link(LINK)? {
        Some(link) => link.index,
        None => {
            connect(underlay, place, BRIDGES[segment], &namespace)?;
            let link = links.link(LINK)?;
            link.ok_or_else(|| {
                Error::io(format!("find {LINK} of {place}"))(std::io::ErrorKind::NotFound.into())
            })?
            .index
        }
    };
    for family in IpFamily::ALL {
        links.add_address(link, address(place, segments, family))?;
    }
    links.change_link(link, &LinkChange::new().up())?;
    for family in IpFamily::ALL {
        let gateway = topology::gateway(segment, family).addr();
        links.replace_route(&Route::default_via(gateway))?;
    }
    Ok(namespace)
}

/// Takes a node's link down: nothing reaches it and it reaches nothing.
pub(crate) fn disconnect(lab: &LabName, place: &str) -> Result<(), Error> {
    let namespace = NetNs::named(&lab.namespace(place))?;
    let mut links = Rtnetlink::open_in(&namespace)?;
    if let Some(link) = links.link(LINK)? {
        links.change_link(link.index, &LinkChange::new().down())?;
    }
    Ok(())
}

/// A place's address on the underlay, with its prefix length.
pub(crate) fn address(place: &str, segments: usize, family: IpFamily) -> IpNet {
    match node_index(place) {
        Some(index) => topology::node(index, segments, family),
        None => topology::client(family),
    }
}

fn segment_of(place: &str, segments: usize) -> usize {
    node_index(place).map_or(0, |index| topology::segment_of(index, segments))
}

/// Makes the veth pair between a bridge and a namespace. The end on the bridge
/// has the place's name.
fn connect(underlay: &NetNs, place: &str, bridge: &str, namespace: &NetNs) -> Result<(), Error> {
    let mut links = Rtnetlink::open_in(underlay)?;
    let bridge = links.link(bridge)?;
    // Left over from a namespace that somebody deleted a moment ago: the
    // kernel frees its end later.
    if let Some(stale) = links.link(place)? {
        links.delete_link(stale.index)?;
    }
    let peer = VethPeer::new(LINK).in_namespace(namespace).up();
    let mut link = NewLink::veth(place, peer).up();
    if let Some(bridge) = bridge {
        link = link.master(bridge.index);
    }
    links.create_link(&link)?;
    Ok(())
}

fn ensure_namespace(
    lab: &LabName,
    place: &str,
    progress: &mut dyn FnMut(Step),
) -> Result<NetNs, Error> {
    let name = lab.namespace(place);
    let (namespace, outcome) = match NetNs::named(&name) {
        Ok(namespace) => (namespace, Outcome::Kept),
        Err(netns::Error::NotFound { .. } | netns::Error::NotANamespace { .. }) => {
            // What a crash left of an earlier one is a plain file.
            netns::delete(&name)?;
            (NetNs::create(&name)?, Outcome::Made)
        }
        Err(error) => return Err(error.into()),
    };
    // Also where it was kept: whoever made it may have been killed here.
    namespace.run(set_parameters)??;
    let mut links = Rtnetlink::open_in(&namespace)?;
    if let Some(loopback) = links.link("lo")?.filter(|loopback| !loopback.up) {
        links.change_link(loopback.index, &LinkChange::new().up())?;
    }
    progress(Step::new(format!("namespace {name}"), outcome));
    Ok(namespace)
}

/// Sets the parameters of the calling thread's namespace.
fn set_parameters() -> Result<(), sysctl::Error> {
    for (key, value) in PARAMETERS {
        sysctl::ensure(key, value)?;
    }
    Ok(())
}
