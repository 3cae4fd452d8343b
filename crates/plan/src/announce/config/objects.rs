//! `MetalLB` from 0.13 on: objects of `metallb.io`, as far as they say what to do.
//!
//! The fields are those of the custom resources (v1beta1, `BGPPeer` v1beta2);
//! whoever watches them fills these structures.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use podway_model::{Labels, Selector};

use super::error::Problems;
use super::{
    AddressPool, BfdProfile, BgpAdvertisement, BgpPeer, Config, ConfigError, Layer2Advertisement,
    Password, PeerAs, PeerEnd, PoolChoice, Preference, ServiceAllocation, check,
};

/// All objects there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Objects {
    /// `IPAddressPool`.
    pub pools: Vec<IpAddressPool>,
    /// `L2Advertisement`.
    pub layer2: Vec<Layer2Advertisement>,
    /// `BGPAdvertisement`.
    pub bgp: Vec<BgpAdvertisementObject>,
    /// `BGPPeer`.
    pub peers: Vec<BgpPeerObject>,
    /// `Community`: alias and value.
    pub communities: Vec<(String, String)>,
    /// `BFDProfile`.
    pub bfd_profiles: Vec<BfdProfileObject>,
}

/// An `IPAddressPool`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IpAddressPool {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `spec.addresses`.
    pub addresses: Vec<String>,
    /// `spec.autoAssign`, true where unset.
    pub auto_assign: Option<bool>,
    /// `spec.avoidBuggyIPs`.
    pub avoid_buggy_ips: bool,
    /// `spec.serviceAllocation`.
    pub service_allocation: Option<ServiceAllocation>,
}

/// A `BGPAdvertisement`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BgpAdvertisementObject {
    /// `metadata.name`.
    pub name: String,
    /// `spec.ipAddressPools` and `spec.ipAddressPoolSelectors`.
    pub pools: PoolChoice,
    /// `spec.aggregationLength`, 32 where unset.
    pub aggregation_length: Option<u8>,
    /// `spec.aggregationLengthV6`, 128 where unset.
    pub aggregation_length_v6: Option<u8>,
    /// `spec.localPref`; 0 is unset.
    pub local_pref: u32,
    /// `spec.communities`: aliases or values.
    pub communities: Vec<String>,
    /// `spec.peers`.
    pub peers: BTreeSet<String>,
    /// `spec.nodeSelectors`.
    pub nodes: Vec<Selector>,
    /// `spec.serviceSelectors`.
    pub services: Vec<Selector>,
}

/// A `BGPPeer`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BgpPeerObject {
    /// `metadata.name`.
    pub name: String,
    /// `spec.myASN`.
    pub my_asn: u32,
    /// `spec.peerASN`; 0 is unset.
    pub peer_asn: u32,
    /// `spec.dynamicASN`.
    pub dynamic_asn: String,
    /// `spec.peerAddress`.
    pub peer_address: String,
    /// `spec.interface`.
    pub interface: String,
    /// `spec.sourceAddress`.
    pub source_address: String,
    /// `spec.peerPort`, 179 where unset.
    pub peer_port: Option<u16>,
    /// `spec.holdTime`: `90s`.
    pub hold_time: Option<String>,
    /// `spec.keepaliveTime`.
    pub keepalive_time: Option<String>,
    /// `spec.connectTime`.
    pub connect_time: Option<String>,
    /// `spec.routerID`.
    pub router_id: String,
    /// `spec.nodeSelectors`.
    pub nodes: Vec<Selector>,
    /// `spec.password`.
    pub password: String,
    /// `spec.passwordSecret.name`.
    pub password_secret: String,
    /// `spec.bfdProfile`.
    pub bfd_profile: String,
    /// `spec.enableGracefulRestart`.
    pub graceful_restart: bool,
    /// `spec.ebgpMultiHop`.
    pub multi_hop: bool,
    /// `spec.vrf`: what Podway does not do.
    pub vrf: String,
}

/// A `BFDProfile`; times in milliseconds, 300 where unset.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BfdProfileObject {
    /// `metadata.name`.
    pub name: String,
    /// `spec.receiveInterval`, 10 to 60000.
    pub receive_interval: Option<u32>,
    /// `spec.transmitInterval`, 10 to 60000.
    pub transmit_interval: Option<u32>,
    /// `spec.detectMultiplier`, 2 to 255, 3 where unset.
    pub detect_multiplier: Option<u32>,
    /// `spec.passiveMode`.
    pub passive_mode: bool,
}

impl Objects {
    /// Makes a configuration of them.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn read(self) -> Result<Config, ConfigError> {
        let mut problems = Problems::default();
        let communities = Communities::of(&self.aliases(&mut problems), &mut problems);
        let mut config = Config {
            pools: self
                .pools
                .iter()
                .map(|pool| pool.read(&mut problems))
                .collect(),
            layer2: self.layer2,
            bgp: self
                .bgp
                .iter()
                .map(|advertisement| advertisement.read(&communities, &mut problems))
                .collect(),
            peers: self
                .peers
                .iter()
                .filter_map(|peer| peer.read(&mut problems))
                .collect(),
            bfd_profiles: self
                .bfd_profiles
                .iter()
                .map(|p| p.read(&mut problems))
                .collect(),
        };
        config.pools.sort_by(|a, b| a.name.cmp(&b.name));
        for advertisement in &config.layer2 {
            check_preferences(advertisement, &mut problems);
        }
        check::check(config, problems)
    }

    fn aliases(&self, problems: &mut Problems) -> BTreeMap<String, String> {
        let mut aliases = BTreeMap::new();
        for (name, value) in &self.communities {
            if aliases.insert(name.clone(), value.clone()).is_some() {
                problems.push(&format!("Community {name}"), "there are two of this name");
            }
        }
        aliases
    }
}

fn check_preferences(advertisement: &Layer2Advertisement, problems: &mut Problems) {
    for Preference { weight, .. } in &advertisement.preferences {
        if !(1..=100).contains(weight) {
            let object = format!("L2Advertisement {}", advertisement.name);
            let what = format!("preferredNodeSelectors: weight {weight} is not from 1 to 100");
            problems.push(&object, what);
        }
    }
}

impl IpAddressPool {
    fn read(&self, problems: &mut Problems) -> AddressPool {
        let object = format!("IPAddressPool {}", self.name);
        if self.addresses.is_empty() {
            problems.push(&object, "addresses: there is none");
        }
        let ranges = self.addresses.iter();
        let ranges = ranges.filter_map(|text| problems.take(&object, "addresses", text.parse()));
        AddressPool {
            ranges: ranges.collect(),
            name: self.name.clone(),
            labels: self.labels.clone(),
            auto_assign: self.auto_assign.unwrap_or(true),
            avoid_buggy: self.avoid_buggy_ips,
            allocation: self.service_allocation.clone(),
        }
    }
}

impl BgpAdvertisementObject {
    fn read(&self, communities: &Communities, problems: &mut Problems) -> BgpAdvertisement {
        let object = format!("BGPAdvertisement {}", self.name);
        let (plain, large) = communities.resolve(&object, &self.communities, problems);
        let aggregation = self.aggregation_length.unwrap_or(32);
        let aggregation_v6 = self.aggregation_length_v6.unwrap_or(128);
        if aggregation > 32 {
            problems.push(
                &object,
                format!("aggregationLength: {aggregation} is more than 32"),
            );
        }
        if aggregation_v6 > 128 {
            let what = format!("aggregationLengthV6: {aggregation_v6} is more than 128");
            problems.push(&object, what);
        }
        BgpAdvertisement {
            name: self.name.clone(),
            pools: self.pools.clone(),
            aggregation,
            aggregation_v6,
            local_pref: (self.local_pref != 0).then_some(self.local_pref),
            communities: plain,
            large_communities: large,
            peers: self.peers.clone(),
            nodes: self.nodes.clone(),
            services: self.services.clone(),
        }
    }
}

impl BgpPeerObject {
    fn read(&self, problems: &mut Problems) -> Option<BgpPeer> {
        let object = format!("BGPPeer {}", self.name);
        if self.my_asn == 0 {
            problems.push(&object, "myASN: there is no AS 0");
        }
        if !self.vrf.is_empty() {
            problems.push(&object, "vrf: Podway does not use VRFs");
        }
        let peer_asn = self.peer_asn(&object, problems);
        let end = self.end(&object, problems);
        let password = self.password(&object, problems);
        let hold_time = time(&object, "holdTime", self.hold_time.as_ref(), problems);
        let keepalive_time = time(
            &object,
            "keepaliveTime",
            self.keepalive_time.as_ref(),
            problems,
        );
        let connect_time = time(&object, "connectTime", self.connect_time.as_ref(), problems);
        let second = Duration::from_secs(1);
        if hold_time.is_some_and(|time| !time.is_zero() && time < second * 3) {
            problems.push(&object, "holdTime: it is 0 or at least 3s (RFC 4271)");
        }
        if let (Some(keepalive), Some(hold)) = (keepalive_time, hold_time)
            && keepalive > hold
        {
            problems.push(&object, "keepaliveTime: it is longer than holdTime");
        }
        if connect_time.is_some_and(|time| !(second..=second * 65_535).contains(&time)) {
            problems.push(&object, "connectTime: it is from 1s to 65535s");
        }
        let source = optional(&self.source_address);
        let source = source.and_then(|s| problems.take(&object, "sourceAddress", s.parse()));
        let router_id = optional(&self.router_id);
        let router_id = router_id.and_then(|s| problems.take(&object, "routerID", s.parse()));
        Some(BgpPeer {
            name: self.name.clone(),
            my_asn: self.my_asn,
            peer_asn: peer_asn?,
            end: end?,
            source,
            port: self.peer_port.unwrap_or(179),
            hold_time,
            keepalive_time,
            connect_time,
            router_id,
            nodes: self.nodes.clone(),
            password,
            bfd_profile: optional(&self.bfd_profile).cloned(),
            graceful_restart: self.graceful_restart,
            multi_hop: self.multi_hop,
        })
    }

    fn peer_asn(&self, object: &str, problems: &mut Problems) -> Option<PeerAs> {
        match (self.peer_asn, self.dynamic_asn.as_str()) {
            (0, "internal") => return Some(PeerAs::Internal),
            (0, "external") => return Some(PeerAs::External),
            (0, "") => problems.push(object, "peerASN or dynamicASN is needed"),
            (0, other) => {
                let what = format!("dynamicASN: {other:?} is neither internal nor external");
                problems.push(object, what);
            }
            (number, "") => return Some(PeerAs::Number(number)),
            _ => problems.push(object, "peerASN and dynamicASN exclude each other"),
        }
        None
    }

    fn end(&self, object: &str, problems: &mut Problems) -> Option<PeerEnd> {
        match (optional(&self.peer_address), optional(&self.interface)) {
            (Some(address), None) => {
                let address: Option<IpAddr> = problems.take(object, "peerAddress", address.parse());
                address.map(PeerEnd::Address)
            }
            (None, Some(interface)) => Some(PeerEnd::Interface(interface.clone())),
            (None, None) => {
                problems.push(object, "peerAddress or interface is needed");
                None
            }
            (Some(_), Some(_)) => {
                problems.push(object, "peerAddress and interface exclude each other");
                None
            }
        }
    }

    fn password(&self, object: &str, problems: &mut Problems) -> Option<Password> {
        match (optional(&self.password), optional(&self.password_secret)) {
            (Some(_), Some(_)) => {
                problems.push(object, "password and passwordSecret exclude each other");
                None
            }
            (Some(text), None) => Some(Password::Text(text.clone())),
            (None, secret) => secret.cloned().map(Password::Secret),
        }
    }
}

impl BfdProfileObject {
    fn read(&self, problems: &mut Problems) -> BfdProfile {
        let object = format!("BFDProfile {}", self.name);
        let mut interval = |field: &str, value: Option<u32>| {
            let milliseconds = value.unwrap_or(300);
            if !(10..=60_000).contains(&milliseconds) {
                let what = format!("{field}: {milliseconds} ms is not from 10 to 60000");
                problems.push(&object, what);
            }
            Duration::from_millis(milliseconds.into())
        };
        let receive = interval("receiveInterval", self.receive_interval);
        let transmit = interval("transmitInterval", self.transmit_interval);
        let multiplier = self.detect_multiplier.unwrap_or(3);
        if !(2..=255).contains(&multiplier) {
            let what = format!("detectMultiplier: {multiplier} is not from 2 to 255");
            problems.push(&object, what);
        }
        BfdProfile {
            name: self.name.clone(),
            receive,
            transmit,
            multiplier: u8::try_from(multiplier).unwrap_or(u8::MAX),
            passive: self.passive_mode,
        }
    }
}

fn optional(text: &String) -> Option<&String> {
    Some(text).filter(|text| !text.is_empty())
}

fn time(
    object: &str,
    field: &str,
    text: Option<&String>,
    problems: &mut Problems,
) -> Option<Duration> {
    text.and_then(|text| problems.take(object, field, duration(text)))
}

/// A duration as Go writes it: `90s`, `1m30s`, `500ms`, `0`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration such as 90s or 1m30s");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u32 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3_600),
            _ => return Err(wrong()),
        };
        total = unit
            .checked_mul(number)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(wrong)?;
        rest = &rest[letters..];
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(total)
    }
}

/// Communities by alias.
#[derive(Default)]
pub(super) struct Communities(BTreeMap<String, Community>);

#[derive(Clone, Copy)]
enum Community {
    Plain(u32),
    Large([u32; 3]),
}

impl Communities {
    pub(super) fn of(aliases: &BTreeMap<String, String>, problems: &mut Problems) -> Self {
        let read = |(name, value): (&String, &String)| {
            let object = format!("community {name}");
            let value = problems.take(&object, "value", community(value))?;
            Some((name.clone(), value))
        };
        Self(aliases.iter().filter_map(read).collect())
    }

    pub(super) fn resolve(
        &self,
        object: &str,
        wanted: &[String],
        problems: &mut Problems,
    ) -> (BTreeSet<u32>, BTreeSet<[u32; 3]>) {
        let (mut plain, mut large) = (BTreeSet::new(), BTreeSet::new());
        for text in wanted {
            let known = self.0.get(text).copied();
            let found = known.or_else(|| problems.take(object, "communities", community(text)));
            let fresh = match found {
                Some(Community::Plain(value)) => plain.insert(value),
                Some(Community::Large(value)) => large.insert(value),
                None => true,
            };
            if !fresh {
                problems.push(object, format!("communities: {text:?} is there twice"));
            }
        }
        // RFC 1997 has no limit; one message must hold them and a prefix.
        if plain.len() > 63 || large.len() > 63 {
            problems.push(object, "communities: there are more than 63");
        }
        (plain, large)
    }
}

/// `64500:1`, or `large:64500:1:2`.
fn community(text: &str) -> Result<Community, String> {
    let wrong = || format!("{text:?} is neither a known name, nor 64500:1, nor large:64500:1:2");
    if let Some(parts) = text.strip_prefix("large:") {
        let numbers: Result<Vec<u32>, _> = parts.split(':').map(str::parse).collect();
        let numbers = numbers.map_err(|_| wrong())?;
        return numbers
            .try_into()
            .map(Community::Large)
            .map_err(|_| wrong());
    }
    let (high, low) = text.split_once(':').ok_or_else(wrong)?;
    let part = |part: &str| part.parse::<u16>().map_err(|_| wrong());
    Ok(Community::Plain(
        u32::from(part(high)?) << 16 | u32::from(part(low)?),
    ))
}
