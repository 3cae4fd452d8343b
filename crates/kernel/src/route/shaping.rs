//! Limits on what an interface sends and receives (traffic control).
//!
//! The kernel shapes what leaves an interface. What comes in is shaped by
//! sending it out of another one first, an "intermediate functional block".

use netlink_packet_core::DecodeError;

use super::error::{Error, Result};
use super::link::LinkIndex;
use super::socket::{Doing, Mode, Rtnetlink};
use crate::netlink::{Attribute, Attributes, attributes};

const NEW_QDISC: u16 = 36;
const GET_QDISC: u16 = 38;
const NEW_FILTER: u16 = 44;

/// Attributes of every message (`TCA_*`).
const KIND: u16 = 1;
const OPTIONS: u16 = 2;

const ROOT: u32 = 0xffff_ffff;
const INGRESS: u32 = 0xffff_fff1;
/// `ffff:`, by which filters name the ingress side.
const INGRESS_HANDLE: u32 = 0xffff_0000;
/// `1:`.
const FIRST_HANDLE: u32 = 0x0001_0000;

/// How long a packet may wait before later ones are dropped.
const LATENCY_MS: u64 = 25;
/// The kernel's unit of time in these messages, in nanoseconds.
const TICK: u64 = 64;

/// A token bucket: how much may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket {
    /// Bytes per second in the long run; not 0.
    pub rate: u64,
    /// Bytes that may pass at once after a pause. Packets that are larger are
    /// dropped, so at least the MTU and an Ethernet header.
    pub burst: u32,
}

impl Rtnetlink {
    /// Limits what an interface sends, in place of any other limit.
    ///
    /// # Errors
    /// Kind `NotFound` where the interface is gone, or the kernel has no token
    /// buckets (`sch_tbf`).
    pub fn limit_sending(&mut self, link: LinkIndex, bucket: Bucket) -> Result<()> {
        let mut body = header(link, ROOT, FIRST_HANDLE, 0);
        Attributes::new(&mut body)
            .text(KIND, "tbf")
            .nest(OPTIONS, |options| bucket.encode(options));
        self.change_encoded(doing("limit", &link), NEW_QDISC, &body, Mode::Replace)
    }

    /// The limit on what an interface sends, where there is one.
    ///
    /// # Errors
    /// A socket's failure.
    pub fn sending_limit(&mut self, link: LinkIndex) -> Result<Option<Bucket>> {
        let request = header(LinkIndex(0), 0, 0, 0);
        let answers = self.dump_encoded(doing("list limits of", &link), GET_QDISC, &request)?;
        let mut found = None;
        for answer in answers.iter() {
            let malformed = |error: &'static str| Error::Answer {
                operation: "list limits of",
                object: link.to_string(),
                source: DecodeError::from(error),
            };
            let body = answer.body.get(HEADER..);
            let body = body.ok_or_else(|| malformed("a traffic control message is cut off"))?;
            let [index, _, parent] = numbers(&answer.body[4..16]);
            if index == link.0 && parent == ROOT {
                found = Bucket::decode(body);
            }
        }
        Ok(found)
    }

    /// Sends everything that `link` receives out of `over`, an interface of kind
    /// ifb, from where it comes back.
    ///
    /// # Errors
    /// Kind `Exists` where something is done with what it receives already,
    /// `NotFound` where the kernel lacks `sch_ingress`, `cls_u32` or
    /// `act_mirred`.
    pub fn redirect_received(&mut self, link: LinkIndex, over: LinkIndex) -> Result<()> {
        let mut body = header(link, INGRESS, INGRESS_HANDLE, 0);
        Attributes::new(&mut body).text(KIND, "ingress");
        let doing = doing("shape what is received on", &link);
        self.change_encoded(doing, NEW_QDISC, &body, Mode::Create)?;
        // Priority 1, every protocol (ETH_P_ALL).
        let info = 1 << 16 | u32::from(0x0003_u16.to_be());
        let mut body = header(link, INGRESS_HANDLE, 0, info);
        Attributes::new(&mut body)
            .text(KIND, "u32")
            .nest(OPTIONS, |options| redirect_all(options, over));
        self.change_encoded(doing, NEW_FILTER, &body, Mode::Create)
    }
}

impl Bucket {
    fn encode(self, options: &mut Attributes<'_>) {
        const PARAMETERS: u16 = 1;
        const RATE64: u16 = 4;
        const BURST: u16 = 6;
        let queue = (self.rate / 1000 * LATENCY_MS).saturating_add(self.burst.into());
        // struct tc_tbf_qopt: two struct tc_ratespec, limit, buffer, mtu.
        let mut parameters = Vec::with_capacity(36);
        // No cell table (linklayer Ethernet): the kernel computes.
        parameters.extend_from_slice(&[0, 1, 0, 0, 0xff, 0xff, 0, 0]);
        parameters.extend_from_slice(&saturated(self.rate).to_ne_bytes());
        parameters.extend_from_slice(&[0; 12]);
        parameters.extend_from_slice(&saturated(queue).to_ne_bytes());
        parameters.extend_from_slice(&[0; 8]);
        options.bytes(PARAMETERS, &parameters);
        if self.rate > u64::from(u32::MAX) {
            options.bytes(RATE64, &self.rate.to_ne_bytes());
        }
        options.bytes(BURST, &self.burst.to_ne_bytes());
    }

    /// `None` for what is no token bucket.
    fn decode(body: &[u8]) -> Option<Self> {
        let find = |kind| attributes(body).find(|attribute| attribute.kind == kind);
        if find(KIND)?.text() != "tbf" {
            return None;
        }
        let options = find(OPTIONS)?;
        let parameters = options.find(1)?.value;
        let rate64 = |attribute: Attribute<'_>| {
            let bytes = attribute.value.first_chunk()?;
            Some(u64::from_ne_bytes(*bytes))
        };
        let [rate] = numbers(parameters.get(8..12)?);
        let rate = options
            .find(4)
            .and_then(rate64)
            .unwrap_or_else(|| rate.into());
        // The kernel tells how long the burst takes, in ticks.
        let [ticks] = numbers(parameters.get(28..32)?);
        let burst = u128::from(ticks) * u128::from(TICK) * u128::from(rate) / 1_000_000_000;
        Some(Self {
            rate,
            burst: u32::try_from(burst).unwrap_or(u32::MAX),
        })
    }
}

/// Length of struct tcmsg.
const HEADER: usize = 20;

fn header(link: LinkIndex, parent: u32, handle: u32, info: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    for word in [link.0, handle, parent, info] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    body
}

/// A u32 filter with one key of which no bit must match, and the action.
fn redirect_all(options: &mut Attributes<'_>, over: LinkIndex) {
    const SELECTOR: u16 = 5;
    const ACTIONS: u16 = 7;
    const TERMINAL: u8 = 1;
    let mut selector = [0; 32];
    selector[0] = TERMINAL;
    selector[2] = 1;
    options.bytes(SELECTOR, &selector);
    options.nest(ACTIONS, |actions| {
        actions.nest(1, |action| {
            action.text(KIND, "mirred");
            action.nest(OPTIONS, |options| {
                const PARAMETERS: u16 = 2;
                /// `TC_ACT_STOLEN`, `TCA_EGRESS_REDIR`.
                const STOLEN: u32 = 4;
                const REDIRECT: u32 = 1;
                let words = [0, 0, STOLEN, 0, 0, REDIRECT, over.0];
                options.bytes(PARAMETERS, &words.map(u32::to_ne_bytes).concat());
            });
        });
    });
}

const fn doing<'a>(operation: &'static str, link: &'a LinkIndex) -> Doing<'a> {
    Doing {
        operation,
        object: link,
    }
}

fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn numbers<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = bytes.chunks_exact(4);
    std::array::from_fn(|_| {
        let word = words.next().and_then(|word| word.first_chunk());
        word.map_or(0, |word| u32::from_ne_bytes(*word))
    })
}
