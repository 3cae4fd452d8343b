//! Who holds an address, in clusters that fall apart and come together.

mod world;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use podway_wire::Moment;
use podway_wire::mesh::{Incarnation, Key, Member, OpenError, Timing};

use self::world::{World, ms};

/// A datagram's longest way in the simulated network.
const DELAY: Duration = Duration::from_millis(2);

/// A cluster that has come up and agreed.
fn settled(seed: u64, nodes: usize, addresses: u8) -> World {
    let mut world = World::new(seed, nodes, addresses);
    for node in 0..nodes {
        world.start(node);
        let pause = world.random.range(0, 60);
        world.run_for(ms(pause));
    }
    world.run_for(world.timing.recovery_bound(DELAY) + ms(300));
    world.forget_gaps();
    world
}

fn has_candidate(world: &World, address: IpAddr) -> bool {
    (0..world.nodes.len()).any(|node| world.is_candidate(node, address))
}

/// Whether these nodes alone may hold addresses.
fn decides(world: &World, group: &[usize], rest_reaches_api: bool) -> bool {
    let all = world.nodes.len();
    let tie = group.len() * 2 == all
        && !rest_reaches_api
        && group.iter().all(|node| world.nodes[*node].reaches_api);
    group.len() * 2 > all || tie
}

/// Splits the cluster into groups that do not hear each other.
fn partition(world: &mut World) -> Vec<Vec<usize>> {
    let count = world.random.range(2, 3);
    let all = world.nodes.len();
    let label: Vec<u64> = (0..all).map(|_| world.random.range(1, count)).collect();
    for from in 0..all {
        for to in 0..all {
            if label[from] != label[to] {
                world.cut.insert((from, to));
            }
        }
    }
    world.log(&format!("falls into {label:?}"));
    (1..=count)
        .map(|group| (0..all).filter(|node| label[*node] == group).collect())
        .collect()
}

fn cut_some_links(world: &mut World) {
    let percent = world.random.range(5, 60);
    let all = world.nodes.len();
    for from in 0..all {
        for to in 0..all {
            if from != to && world.random.chance(percent) {
                world.cut.insert((from, to));
            }
        }
    }
    world.log(&format!("links cut: {:?}", world.cut));
}

fn kill_some(world: &mut World) -> Vec<usize> {
    let all = 0..world.nodes.len();
    let dead: Vec<usize> = all.filter(|_| world.random.chance(40)).collect();
    for node in &dead {
        world.kill(*node);
    }
    dead
}

fn choose_who_reaches_the_api(world: &mut World) {
    for node in 0..world.nodes.len() {
        world.nodes[node].reaches_api = world.random.chance(70);
    }
}

/// No gap of an address that one of these groups may and can hold is longer
/// than the bound.
fn assert_held(world: &World, groups: &[Vec<usize>], bound: Duration, seed: u64) {
    for address in &world.addresses {
        let able = groups.iter().any(|group| {
            let candidate = group.iter().any(|node| world.is_candidate(*node, *address));
            let others = groups.iter().filter(|other| *other != group).flatten();
            let rest = others
                .into_iter()
                .any(|node| world.nodes[*node].reaches_api);
            candidate && decides(world, group, rest)
        });
        let gap = world.gaps.get(address).copied().unwrap_or_default();
        assert!(
            !able || gap <= bound,
            "seed {seed}: {address} had no owner for {gap:?}, the bound is {bound:?}\n{}",
            world.log.join("\n")
        );
    }
}

/// A thousand partitions of every kind. That two nodes never hold an address is
/// asserted by the world, at every event, and without the tolerance of an
/// announcement interval.
#[test]
fn a_thousand_partitions_have_one_owner_and_soon() {
    let (mut held, mut judged) = (0, 0);
    for seed in 0..1_000 {
        let nodes = 1 + (seed % 6) as usize;
        let mut world = settled(seed, nodes, 3);
        for address in world.addresses.clone() {
            let owned = world.owner(address).is_some();
            assert_eq!(owned, has_candidate(&world, address), "{seed} {address}");
        }
        choose_who_reaches_the_api(&mut world);
        let groups = match seed % 4 {
            0 | 1 => partition(&mut world),
            2 => {
                let dead = kill_some(&mut world);
                vec![(0..nodes).filter(|n| !dead.contains(n)).collect()]
            }
            _ => {
                cut_some_links(&mut world);
                Vec::new()
            }
        };
        world.run_for(ms(1_500));
        assert_held(&world, &groups, world.timing.failover_bound(DELAY), seed);
        judged += groups.len();
        held += world
            .addresses
            .iter()
            .filter(|a| world.owner(**a).is_some())
            .count();
        world.log("everything is back");
        world.cut.clear();
        for node in 0..nodes {
            world.nodes[node].reaches_api = true;
            if !world.is_alive(node) {
                world.start(node);
            }
        }
        world.forget_gaps();
        world.run_for(ms(1_500));
        let all = vec![(0..nodes).collect()];
        assert_held(&world, &all, world.timing.recovery_bound(DELAY), seed);
    }
    assert!(
        held > 1_000 && judged > 1_000,
        "held {held}, judged {judged}"
    );
}

/// Frozen nodes, loss, long delays, restarts, all at once: nothing is said about
/// how long an address has no owner, but there are never two.
#[test]
fn chaos_has_never_two_owners() {
    for seed in 10_000..10_200 {
        let nodes = 2 + (seed % 4) as usize;
        let mut world = settled(seed, nodes, 2);
        world.loss_percent = world.random.range(0, 15);
        world.delay = (100, world.random.range(1_000, 60_000));
        for _ in 0..25 {
            disturb(&mut world);
            let pause = world.random.range(1, 500);
            world.run_for(ms(pause));
        }
    }
}

fn disturb(world: &mut World) {
    let last = world.nodes.len() as u64 - 1;
    let node = world.random.range(0, last) as usize;
    match world.random.range(0, 9) {
        0..3 => {
            world.cut.clear();
            partition(world);
        }
        3 => cut_some_links(world),
        4 => choose_who_reaches_the_api(world),
        5 => {
            let duration = ms(world.random.range(50, 1_500));
            world.freeze(node, duration);
        }
        6..8 => {
            world.kill(node);
            world.start(node);
        }
        8 => world.kill(node),
        _ => {
            world.cut.clear();
            for node in 0..world.nodes.len() {
                if !world.is_alive(node) {
                    world.start(node);
                }
            }
        }
    }
}

#[test]
fn the_first_in_rank_holds_and_takes_back_what_is_its() {
    for seed in 20_000..20_050 {
        let mut world = settled(seed, 5, 4);
        let before: Vec<Option<usize>> = world.addresses.iter().map(|a| world.owner(*a)).collect();
        let Some(owner) = before[0] else { continue };
        world.kill(owner);
        world.run_for(ms(1_000));
        world.start(owner);
        world.forget_gaps();
        world.run_for(ms(2_000));
        let after: Vec<Option<usize>> = world.addresses.iter().map(|a| world.owner(*a)).collect();
        assert_eq!(before, after, "seed {seed}\n{}", world.log.join("\n"));
        for (address, gap) in &world.gaps {
            let others = (0..5).filter(|n| *n != owner && world.is_candidate(*n, *address));
            assert!(
                others.count() == 0 || *gap < ms(60),
                "seed {seed}: {address} was handed over in {gap:?}\n{}",
                world.log.join("\n")
            );
        }
    }
}

#[test]
fn a_drained_node_hands_over_at_once() {
    for seed in 30_000..30_050 {
        let mut world = settled(seed, 5, 4);
        let Some(owner) = world.owner(world.addresses[0]) else {
            continue;
        };
        world.drain(owner);
        world.run_for(ms(500));
        for address in world.addresses.clone() {
            let expected = has_candidate(&world, address);
            assert_eq!(world.owner(address).is_some(), expected, "seed {seed}");
            assert_ne!(world.owner(address), Some(owner), "seed {seed}");
            let gap = world.gaps.get(&address).copied().unwrap_or_default();
            assert!(
                !expected || gap < ms(60),
                "seed {seed}: {gap:?}\n{}",
                world.log.join("\n")
            );
        }
    }
}

#[test]
fn a_node_that_cannot_serve_holds_nothing_and_stands_in_nobodys_way() {
    for seed in 40_000..40_020 {
        let mut world = settled(seed, 3, 4);
        let Some(owner) = world.owner(world.addresses[0]) else {
            continue;
        };
        world.kill(owner);
        world.start(owner);
        world.nodes[owner].member.as_mut().unwrap().set_ready(false);
        world.run_for(ms(3_000));
        for address in world.addresses.clone() {
            let other = (0..3).any(|n| n != owner && world.is_candidate(n, address));
            assert_ne!(world.owner(address), Some(owner), "seed {seed}");
            assert_eq!(world.owner(address).is_some(), other, "seed {seed}");
        }
    }
}

fn member(name: &str, secret: &[u8], now: Moment) -> Member {
    let timing = Timing::for_nodes(2);
    let life = Incarnation::new(1, 7);
    let mut member = Member::new(name, life, Key::from_secret(secret), timing, now);
    let voters: BTreeSet<_> = ["a", "b"].map(std::sync::Arc::from).into();
    member.set_voters(voters, now);
    member
}

#[test]
fn forged_repeated_and_misdirected_datagrams_are_refused() {
    let now = Moment::after_origin(ms(5_000));
    let mut a = member("a", b"one", now);
    let mut b = member("b", b"one", now);
    let datagram = a.tick(now).remove(0).bytes;
    assert!(b.receive(&datagram, now).is_ok());
    let old = OpenError::Old("a".to_owned());
    assert_eq!(b.receive(&datagram, now), Err(old), "repeated");
    let sealed = OpenError::Sealed("a".to_owned());
    let mut other = member("b", b"two", now);
    assert_eq!(other.receive(&datagram, now), Err(sealed.clone()), "secret");
    let unknown = OpenError::UnknownSender("a".to_owned());
    assert_eq!(a.receive(&datagram, now), Err(unknown), "sent back");
    for index in 0..datagram.len() {
        let mut forged = datagram.clone();
        forged[index] ^= 1;
        let mut fresh = member("b", b"one", now);
        assert!(fresh.receive(&forged, now).is_err(), "byte {index}");
        assert!(
            fresh.receive(&datagram[..index], now).is_err(),
            "cut at {index}"
        );
    }
}
