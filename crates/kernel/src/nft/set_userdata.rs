//! What nft keeps beside a set so that a listing prints readably and can be
//! loaded again. The kernel stores it and does not look (libnftnl `udata.h`,
//! nftables `set_make_key`). Type and length are one byte each.

use super::field::{Field, Origin};
use super::set::{MapData, Set};

const KEY_BYTE_ORDER: u8 = 0;
const DATA_BYTE_ORDER: u8 = 1;
const KEY_TYPEOF: u8 = 3;
const DATA_TYPEOF: u8 = 4;

const TYPEOF_EXPRESSION: u8 = 0;
const TYPEOF_DATA: u8 = 1;

/// nft's numbers of expressions (nftables `expression.h`).
const PAYLOAD: u32 = 7;
const META: u32 = 9;
const CONCATENATION: u32 = 13;
const NUMGEN: u32 = 23;

/// nft's byte orders: a concatenation has none of its own.
const MIXED: u32 = 0;
const HOST: u32 = 1;
const NETWORK: u32 = 2;

pub(super) fn encode(set: &Set) -> Vec<u8> {
    let mut out = Vec::new();
    word(&mut out, KEY_BYTE_ORDER, byte_order(&set.key));
    if let Some(MapData::Fields(fields)) = &set.data {
        word(&mut out, DATA_BYTE_ORDER, byte_order(fields));
    }
    if set.needs_typeof() {
        nest(&mut out, KEY_TYPEOF, |out| expressions(out, &set.key));
        if let Some(MapData::Fields(fields)) = &set.data {
            nest(&mut out, DATA_TYPEOF, |out| expressions(out, fields));
        }
    }
    out
}

fn byte_order(fields: &[Field]) -> u32 {
    match fields {
        [one] if one.kind().is_host_order() => HOST,
        [_] => NETWORK,
        _ => MIXED,
    }
}

fn expressions(out: &mut Vec<u8>, fields: &[Field]) {
    if let [one] = fields {
        return expression(out, *one);
    }
    word(out, TYPEOF_EXPRESSION, CONCATENATION);
    nest(out, TYPEOF_DATA, |out| {
        for (index, field) in (0..).zip(fields) {
            nest(out, index, |out| expression(out, *field));
        }
    });
}

fn expression(out: &mut Vec<u8>, field: Field) {
    match field.origin() {
        Origin::Payload { .. } => {
            let (protocol, template) = template(field);
            word(out, TYPEOF_EXPRESSION, PAYLOAD);
            nest(out, TYPEOF_DATA, |out| {
                word(out, 0, protocol);
                word(out, 1, template);
            });
        }
        Origin::Meta(key) => {
            word(out, TYPEOF_EXPRESSION, META);
            nest(out, TYPEOF_DATA, |out| word(out, 0, key));
        }
        Origin::Numgen { modulus, offset } => {
            word(out, TYPEOF_EXPRESSION, NUMGEN);
            nest(out, TYPEOF_DATA, |out| {
                word(out, 0, 1); // random
                word(out, 1, modulus);
                word(out, 2, offset);
            });
        }
        // Their types have names, so no set needs their expressions.
        Origin::Ct(_) | Origin::FibType(_) | Origin::FibPresent(_) | Origin::Socket(_) => {}
    }
}

/// nft's numbers of a header and of a field in it (nftables `proto.h`).
const fn template(field: Field) -> (u32, u32) {
    const TRANSPORT: u32 = 11;
    const IP: u32 = 12;
    const IP6: u32 = 13;
    match field {
        Field::IpSaddr => (IP, 11),
        Field::IpDaddr => (IP, 12),
        Field::Ip6Saddr => (IP6, 8),
        Field::Ip6Daddr => (IP6, 9),
        Field::ThSport => (TRANSPORT, 1),
        _ => (TRANSPORT, 2),
    }
}

fn word(out: &mut Vec<u8>, kind: u8, value: u32) {
    out.extend_from_slice(&[kind, 4]);
    out.extend_from_slice(&value.to_ne_bytes());
}

fn nest(out: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[kind, 0]);
    let start = out.len();
    fill(out);
    out[start - 1] =
        u8::try_from(out.len() - start).expect("the kernel takes at most 256 bytes of userdata");
}
