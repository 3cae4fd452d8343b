//! Overlays: what packets between nodes cost beside the same by hand, and how
//! soon a cluster of many nodes is programmed.

mod cluster;
mod site;
mod traffic;

use std::time::Duration;

use podway_plan::overlay::{OverlayMode, OverlaySettings};

use crate::measure::{Contestant, Samples, take_turns};
use crate::{Bench, Figure, Line, Target};
use site::{Site, Way};
use traffic::Traffic;

const VXLAN: OverlaySettings = OverlaySettings::new(OverlayMode::Vxlan);
const HOST_GW: OverlaySettings = OverlaySettings::new(OverlayMode::HostGw);
const UDP: OverlaySettings = OverlaySettings::new(OverlayMode::Udp);

/// What one turn sends.
const BYTES: u64 = 128 << 20;
/// How many questions and answers one turn is.
const ROUND_TRIPS: u32 = 300;

pub(super) fn run(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    packets(bench)?;
    for settings in [VXLAN, HOST_GW, UDP] {
        cluster::run(bench, &settings)?;
    }
    Ok(())
}

fn packets(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    let ways = [
        Way::Ours(VXLAN),
        Way::VxlanByHand,
        Way::Ours(HOST_GW),
        Way::RoutesByHand,
        Way::Ours(UDP),
    ];
    let sites: Vec<Site> = ways.iter().map(Site::new).collect::<Result<_, _>>()?;
    let traffic: Vec<Traffic> = sites.iter().map(Traffic::new).collect::<Result<_, _>>()?;
    let rounds = bench.rounds(25);
    let streams = turns(rounds, &traffic, |traffic| traffic.stream(BYTES))?;
    let trips = turns(rounds, &traffic, |traffic| traffic.round_trips(ROUND_TRIPS))?;
    let pairs = [
        ("vxlan", 0, "vxlan by hand", 1, 0.98, 1.0 / 0.98),
        ("host-gw", 2, "routes by hand", 3, 0.98, 1.0 / 0.98),
        ("udp", 4, "vxlan", 0, 0.5, 1.6),
    ];
    for (name, ours, peer_name, peer, least, most) in pairs {
        let rate = |samples: &Samples| {
            #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
            let bytes = BYTES as f64;
            Figure::Rate(bytes / samples.median().as_secs_f64())
        };
        bench.add(
            Line::new(
                format!("{name}: bytes of one TCP stream"),
                rate(&streams[ours]),
            )
            .beside(peer_name, rate(&streams[peer]))
            .target(Target::RatioAtLeast(least)),
        );
        let time = |samples: &Samples| Figure::Time(samples.median() / ROUND_TRIPS);
        bench.add(
            Line::new(format!("{name}: TCP round trip"), time(&trips[ours]))
                .beside(peer_name, time(&trips[peer]))
                .target(Target::RatioAtMost(most)),
        );
    }
    Ok(())
}

fn turns(
    rounds: usize,
    traffic: &[Traffic],
    work: impl Fn(&Traffic) -> anyhow::Result<Duration> + Copy,
) -> anyhow::Result<Vec<Samples>> {
    let mut contestants: Vec<Contestant<'_>> = traffic
        .iter()
        .map(|traffic| Box::new(move || work(traffic)) as Contestant<'_>)
        .collect();
    take_turns(rounds, &mut contestants)
}
