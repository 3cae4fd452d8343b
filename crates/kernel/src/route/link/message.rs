//! Interfaces to and from rtnetlink messages.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, InfoVxlan,
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use super::request::{LinkChange, NewKind, NewLink};
use super::{BridgePort, Link, LinkDetail, LinkIndex, Mac, Vxlan};
use crate::netns::NetNs;

pub(super) fn of_index(index: LinkIndex) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index.0;
    message
}

pub(super) fn of_name(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.into()));
    message
}

pub(super) fn of_group(group: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::Group(group));
    message
}

pub(super) fn create(link: &NewLink<'_>) -> LinkMessage {
    let mut message = of_name(&link.name);
    let info = match &link.kind {
        NewKind::Bridge => vec![LinkInfo::Kind(InfoKind::Bridge)],
        NewKind::Dummy => vec![LinkInfo::Kind(InfoKind::Dummy)],
        NewKind::Ifb => vec![LinkInfo::Kind(InfoKind::Ifb)],
        NewKind::Veth(peer) => {
            let mut end = of_name(&peer.name);
            common(&mut end, peer.mac, peer.mtu, None);
            set_namespace(&mut end, peer.namespace);
            vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(end))),
            ]
        }
        NewKind::Vxlan(vxlan) => vec![
            LinkInfo::Kind(InfoKind::Vxlan),
            LinkInfo::Data(InfoData::Vxlan(vxlan_attributes(vxlan))),
        ],
    };
    message.attributes.push(LinkAttribute::LinkInfo(info));
    common(&mut message, link.mac, link.mtu, link.group);
    if let Some(master) = link.master {
        message.attributes.push(LinkAttribute::Controller(master.0));
    }
    set_up(&mut message, link.up.then_some(true));
    message
}

pub(super) fn change(index: LinkIndex, change: &LinkChange<'_>) -> LinkMessage {
    let mut message = of_index(index);
    if let Some(name) = &change.name {
        message.attributes.push(LinkAttribute::IfName(name.clone()));
    }
    if let Some(alias) = &change.alias {
        message
            .attributes
            .push(LinkAttribute::IfAlias(alias.clone()));
    }
    common(&mut message, change.mac, change.mtu, change.group);
    if let Some(master) = change.master {
        let master = master.map_or(0, |bridge| bridge.0);
        message.attributes.push(LinkAttribute::Controller(master));
    }
    if let Some(port) = change.port {
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![
                InfoBridgePort::Isolated(port.isolated),
                InfoBridgePort::HairpinMode(port.hairpin),
            ])),
        ]));
    }
    set_up(&mut message, change.up);
    set_namespace(&mut message, change.namespace);
    message
}

fn common(message: &mut LinkMessage, mac: Option<Mac>, mtu: Option<u32>, group: Option<u32>) {
    let attributes = &mut message.attributes;
    attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    attributes.extend(mtu.map(LinkAttribute::Mtu));
    attributes.extend(group.map(LinkAttribute::Group));
}

fn set_up(message: &mut LinkMessage, up: Option<bool>) {
    let Some(up) = up else { return };
    message.header.flags.set(LinkFlags::Up, up);
    message.header.change_mask = LinkFlags::Up;
}

fn set_namespace(message: &mut LinkMessage, namespace: Option<&NetNs>) {
    message
        .attributes
        .extend(namespace.map(|namespace| LinkAttribute::NetNsFd(namespace.as_fd().as_raw_fd())));
}

fn vxlan_attributes(vxlan: &Vxlan) -> Vec<InfoVxlan> {
    let mut attributes = vec![
        InfoVxlan::Id(vxlan.vni),
        InfoVxlan::Port(vxlan.port),
        InfoVxlan::Learning(vxlan.learning),
        match vxlan.local {
            IpAddr::V4(local) => InfoVxlan::Local(local),
            IpAddr::V6(local) => InfoVxlan::Local6(local),
        },
    ];
    attributes.extend(vxlan.lower.map(|lower| InfoVxlan::Link(lower.0)));
    attributes
}

impl Link {
    /// Reads RTM_NEWLINK and RTM_DELLINK; other messages are no link.
    pub(in crate::route) fn of_message(message: &RouteNetlinkMessage) -> Option<Self> {
        let (RouteNetlinkMessage::NewLink(message) | RouteNetlinkMessage::DelLink(message)) =
            message
        else {
            return None;
        };
        let mut link = Self {
            index: LinkIndex(message.header.index),
            name: String::new(),
            mac: None,
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            carrier: message.header.flags.contains(LinkFlags::LowerUp),
            running: message.header.flags.contains(LinkFlags::Running),
            group: 0,
            master: None,
            lower: None,
            alias: None,
            detail: LinkDetail::Other(String::new()),
            port: None,
        };
        for attribute in &message.attributes {
            link.read(attribute);
        }
        Some(link)
    }

    fn read(&mut self, attribute: &LinkAttribute) {
        match attribute {
            LinkAttribute::IfName(name) => self.name.clone_from(name),
            LinkAttribute::Address(bytes) => self.mac = mac_of(bytes),
            LinkAttribute::Mtu(mtu) => self.mtu = *mtu,
            LinkAttribute::Group(group) => self.group = *group,
            LinkAttribute::Controller(index) => self.master = Some(LinkIndex(*index)),
            LinkAttribute::Link(index) => self.lower = Some(LinkIndex(*index)),
            LinkAttribute::IfAlias(alias) => self.alias = Some(alias.clone()),
            LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| self.read_info(info)),
            _ => {}
        }
    }

    fn read_info(&mut self, info: &LinkInfo) {
        match info {
            LinkInfo::Kind(InfoKind::Bridge) => self.detail = LinkDetail::Bridge,
            LinkInfo::Kind(InfoKind::Veth) => self.detail = LinkDetail::Veth,
            LinkInfo::Kind(kind) => self.detail = LinkDetail::Other(kind.to_string()),
            LinkInfo::Data(InfoData::Vxlan(attributes)) => {
                if let Some(vxlan) = vxlan_of(attributes) {
                    self.detail = LinkDetail::Vxlan(vxlan);
                }
            }
            LinkInfo::PortData(InfoPortData::BridgePort(attributes)) => {
                self.port = Some(port_of(attributes));
            }
            _ => {}
        }
    }
}

/// An Ethernet address where the bytes are one.
pub(in crate::route) fn mac_of(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

fn port_of(attributes: &[InfoBridgePort]) -> BridgePort {
    let mut port = BridgePort::default();
    for attribute in attributes {
        match attribute {
            InfoBridgePort::Isolated(isolated) => port.isolated = *isolated,
            InfoBridgePort::HairpinMode(hairpin) => port.hairpin = *hairpin,
            _ => {}
        }
    }
    port
}

/// `None` where the device has no local address (metadata mode, multicast):
/// not one that we make.
fn vxlan_of(attributes: &[InfoVxlan]) -> Option<Vxlan> {
    let (mut vni, mut port, mut local, mut lower, mut learning) = (0, 0, None, None, false);
    for attribute in attributes {
        match attribute {
            InfoVxlan::Id(id) => vni = *id,
            InfoVxlan::Port(number) => port = *number,
            InfoVxlan::Local(address) => local = Some(IpAddr::V4(*address)),
            InfoVxlan::Local6(address) => local = Some(IpAddr::V6(*address)),
            InfoVxlan::Link(index) => lower = Some(LinkIndex(*index)),
            InfoVxlan::Learning(on) => learning = *on,
            _ => {}
        }
    }
    Some(Vxlan {
        vni,
        port,
        local: local?,
        lower,
        learning,
    })
}
