use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use podway_model::IpFamily;
use podway_plan::policy::Block;

use super::ports::Ports;

/// Addresses from the first to the last, and the ports allowed there.
pub(super) type Range = (IpAddr, IpAddr, Ports);

/// Blocks as ranges of one family that are apart from each other, in order.
///
/// A set of intervals refuses one that begins or ends within another
/// (`nft_pipapo_insert`), and answers with any of those that match. So where
/// blocks overlap there is a range with what they mean together, and exceptions
/// are cut out.
pub(super) fn disjoint<T: Copy>(
    blocks: &[(&Block, T)],
    family: IpFamily,
    together: impl Fn(&[T]) -> Ports,
) -> Vec<Range> {
    let pieces: Vec<(u128, u128, T)> = blocks
        .iter()
        .filter(|(block, _)| IpFamily::of(&block.prefix.addr()) == family)
        .flat_map(|(block, meaning)| {
            pieces(block, family)
                .into_iter()
                .map(move |(first, last)| (first, last, *meaning))
        })
        .collect();
    // Where a piece begins, and behind where it ends (never behind the last
    // address of all).
    let mut borders: Vec<(u128, bool, usize)> = Vec::with_capacity(2 * pieces.len());
    for (index, (first, last, _)) in pieces.iter().enumerate() {
        borders.push((*first, true, index));
        borders.extend(last.checked_add(1).map(|behind| (behind, false, index)));
    }
    borders.sort_unstable();
    let mut open: BTreeSet<usize> = BTreeSet::new();
    let mut ranges: Vec<(u128, u128, Ports)> = Vec::new();
    for (position, (first, opens, index)) in borders.iter().enumerate() {
        if *opens {
            open.insert(*index);
        } else {
            open.remove(index);
        }
        let next = borders.get(position + 1).map(|(next, ..)| *next);
        if next == Some(*first) || open.is_empty() {
            continue;
        }
        let meanings: Vec<T> = open.iter().map(|index| pieces[*index].2).collect();
        let ports = together(&meanings);
        let last = next.map_or(top(family), |next| next - 1);
        append(&mut ranges, (*first, last, ports));
    }
    ranges
        .into_iter()
        .map(|(first, last, ports)| (address(first, family), address(last, family), ports))
        .collect()
}

/// Appends a range, or stretches the last one where they are one.
fn append(ranges: &mut Vec<(u128, u128, Ports)>, range: (u128, u128, Ports)) {
    match ranges.last_mut() {
        Some(last) if last.2 == range.2 && last.1.checked_add(1) == Some(range.0) => {
            last.1 = range.1;
        }
        _ => ranges.push(range),
    }
}

/// A block without its exceptions.
fn pieces(block: &Block, family: IpFamily) -> Vec<(u128, u128)> {
    let (first, last) = ends(&block.prefix);
    let mut except: Vec<(u128, u128)> = block
        .except
        .iter()
        .filter(|except| IpFamily::of(&except.addr()) == family)
        .map(ends)
        .filter(|(from, to)| *from <= last && *to >= first)
        .collect();
    except.sort_unstable();
    let mut pieces = Vec::new();
    let mut next = Some(first);
    for (from, to) in except {
        let Some(begin) = next else { break };
        if from > begin {
            pieces.push((begin, from - 1));
        }
        next = to.checked_add(1).map(|behind| behind.max(begin));
    }
    if let Some(begin) = next.filter(|begin| *begin <= last) {
        pieces.push((begin, last));
    }
    pieces
}

fn ends(prefix: &IpNet) -> (u128, u128) {
    (number(prefix.network()), number(prefix.broadcast()))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address(number: u128, family: IpFamily) -> IpAddr {
    match family {
        IpFamily::V4 => {
            let bits = u32::try_from(number).expect("between two IPv4 addresses");
            Ipv4Addr::from_bits(bits).into()
        }
        IpFamily::V6 => Ipv6Addr::from_bits(number).into(),
    }
}

const fn top(family: IpFamily) -> u128 {
    match family {
        IpFamily::V4 => u32::MAX as u128,
        IpFamily::V6 => u128::MAX,
    }
}

#[cfg(test)]
mod tests;
