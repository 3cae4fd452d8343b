//! Every message survives its bytes, and no bytes panic.

use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use podway_wire::bgp::{
    AsPathSegment, Attributes, Capability, Family, GracefulRestart, LargeCommunity, Message,
    Notification, Open, Origin, Reach, Received, UnknownAttribute, Unreach, Update,
};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

pub(crate) fn ipv4_prefix() -> impl Strategy<Value = IpNet> {
    (any::<[u8; 4]>(), 0..=32_u8).prop_map(|(address, length)| {
        IpNet::V4(Ipv4Net::new(address.into(), length).expect("a length")).trunc()
    })
}

pub(crate) fn ipv6_prefix() -> impl Strategy<Value = IpNet> {
    (any::<[u8; 16]>(), 0..=128_u8).prop_map(|(address, length)| {
        IpNet::V6(Ipv6Net::new(address.into(), length).expect("a length")).trunc()
    })
}

fn capability() -> impl Strategy<Value = Capability> {
    let families = vec(
        (prop::sample::select(Family::ALL.to_vec()), any::<bool>()),
        0..3,
    );
    prop_oneof![
        prop::sample::select(Family::ALL.to_vec()).prop_map(Capability::Multiprotocol),
        Just(Capability::RouteRefresh),
        (any::<bool>(), 0..4096_u16, families).prop_map(|(restarted, seconds, families)| {
            Capability::GracefulRestart(GracefulRestart {
                restarted,
                seconds,
                families,
            })
        }),
        (66..=255_u8, vec(any::<u8>(), 0..9))
            .prop_map(|(code, value)| Capability::Other { code, value }),
    ]
}

fn open() -> impl Strategy<Value = Open> {
    let hold = prop_oneof![Just(0), 3..=u16::MAX];
    (1..=u32::MAX, hold, 1..=u32::MAX, vec(capability(), 0..8)).prop_map(
        |(asn, hold, router_id, mut capabilities)| {
            capabilities.push(Capability::FourOctetAsn(asn));
            Open {
                asn,
                hold_time: Duration::from_secs(u64::from(hold)),
                router_id: router_id.into(),
                capabilities,
            }
        },
    )
}

fn reach() -> impl Strategy<Value = Reach> {
    let v4 = (any::<[u8; 4]>(), vec(ipv4_prefix(), 0..9)).prop_map(|(next_hop, prefixes)| Reach {
        family: Family::Ipv4,
        next_hop: std::net::Ipv4Addr::from(next_hop).into(),
        link_local: None,
        prefixes,
    });
    let hops = (any::<[u8; 16]>(), option::of(any::<[u8; 16]>()));
    let v6 =
        (hops, vec(ipv6_prefix(), 0..9)).prop_map(|((next_hop, link_local), prefixes)| Reach {
            family: Family::Ipv6,
            next_hop: std::net::Ipv6Addr::from(next_hop).into(),
            link_local: link_local.map(Into::into),
            prefixes,
        });
    prop_oneof![v4, v6]
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let origin = prop::sample::select(vec![Origin::Igp, Origin::Egp, Origin::Incomplete]);
    let segment = (any::<bool>(), vec(any::<u32>(), 1..6))
        .prop_map(|(ordered, asns)| AsPathSegment { ordered, asns });
    let unreach = vec(ipv6_prefix(), 0..9).prop_map(|prefixes| Unreach {
        family: Family::Ipv6,
        prefixes,
    });
    let unknown = (any::<bool>(), 40..=255_u8, vec(any::<u8>(), 0..300)).prop_map(
        |(transitive, code, value)| UnknownAttribute {
            flags: if transitive { 0xc0 } else { 0x80 },
            code,
            value,
        },
    );
    let numbers = (option::of(any::<u32>()), option::of(any::<u32>()));
    let communities = (
        btree_set(any::<u32>(), 0..70),
        btree_set(any::<[u32; 3]>().prop_map(LargeCommunity), 0..9),
    );
    let multiprotocol = (
        option::of(reach()),
        option::of(unreach),
        option::of(unknown),
    );
    (
        origin,
        vec(segment, 0..3),
        any::<[u8; 4]>(),
        numbers,
        communities,
        multiprotocol,
    )
        .prop_map(
            |(
                origin,
                path,
                next_hop,
                (med, local_pref),
                (communities, large),
                (reach, unreach, unknown),
            )| {
                Attributes {
                    origin: Some(origin),
                    as_path: Some(path),
                    next_hop: Some(next_hop.into()),
                    med,
                    local_pref,
                    communities,
                    large_communities: large,
                    reach,
                    unreach,
                    unknown: unknown.into_iter().collect(),
                }
            },
        )
}

fn update() -> impl Strategy<Value = Update> {
    let prefixes = || vec(ipv4_prefix(), 0..20);
    (prefixes(), attributes(), prefixes()).prop_map(|(withdrawn, attributes, announced)| Update {
        withdrawn,
        attributes,
        announced,
    })
}

fn message() -> impl Strategy<Value = Message> {
    let family = option::of(prop::sample::select(Family::ALL.to_vec()));
    let notification =
        (1..8_u8, any::<u8>(), vec(any::<u8>(), 0..60)).prop_map(|(code, subcode, data)| {
            Notification {
                code,
                subcode,
                data,
            }
        });
    prop_oneof![
        open().prop_map(Message::Open),
        update().prop_map(Message::Update),
        notification.prop_map(Message::Notification),
        Just(Message::Keepalive),
        family.prop_map(Message::RouteRefresh),
    ]
}

proptest! {
    #[test]
    fn a_message_survives_its_bytes(message in message()) {
        let bytes = message.encode(true);
        prop_assert!(bytes.len() <= 4096);
        let expected = (Received::Message(message), bytes.len());
        prop_assert_eq!(Message::decode(&bytes, true), Ok(Some(expected)));
        for cut in 0..bytes.len() {
            prop_assert_eq!(Message::decode(&bytes[..cut], true), Ok(None), "cut at {}", cut);
        }
    }

    /// What can be read can be written, and reads the same again.
    #[test]
    fn a_damaged_message_does_not_panic(
        message in message(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        four_octets: bool,
    ) {
        let mut bytes = message.encode(four_octets);
        for (index, value) in damage {
            let index = 18 + index.index(bytes.len() - 18);
            bytes[index] = value;
        }
        if let Ok(Some((Received::Message(message), length))) = Message::decode(&bytes, four_octets) {
            prop_assert!(length <= bytes.len());
            let again = message.encode(four_octets);
            let again = Message::decode(&again, four_octets);
            prop_assert_eq!(again.unwrap().unwrap().0, Received::Message(message));
        }
    }

    #[test]
    fn no_bytes_panic(
        kind: u8, body in vec(any::<u8>(), 0..400), raw in vec(any::<u8>(), 0..100),
        four_octets: bool,
    ) {
        let mut bytes = vec![0xff; 16];
        bytes.extend(u16::try_from(19 + body.len()).unwrap().to_be_bytes());
        bytes.push(kind);
        bytes.extend(body);
        for stream in [&bytes, &raw] {
            if let Err(error) = Message::decode(stream, four_octets) {
                prop_assert!((1..=3).contains(&error.code) || error.code == 7, "{}", error);
            }
        }
    }
}
