//! Policy routing rules: which table a packet is looked up in.

use std::fmt;

use ipnet::IpNet;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::error::Result;
use super::link::found;
use super::socket::{Doing, Mode, Rtnetlink};

/// A rule that sends packets to a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Rules are asked in this order, lowest first.
    pub priority: u32,
    /// The table to look up.
    pub table: u32,
    /// For IPv6 rather than IPv4.
    pub ipv6: bool,
    /// Only packets from here; of the rule's family.
    pub source: Option<IpNet>,
    /// Only packets to here; of the rule's family.
    pub destination: Option<IpNet>,
    /// Only packets with this mark, as value and mask.
    pub mark: Option<(u32, u32)>,
    /// Only packets that came in by this interface.
    pub input: Option<String>,
}

impl Rule {
    /// A rule for every packet of a family.
    #[must_use]
    pub const fn new(ipv6: bool, priority: u32, table: u32) -> Self {
        Self {
            priority,
            table,
            ipv6,
            source: None,
            destination: None,
            mark: None,
            input: None,
        }
    }

    fn to_message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = family(self.ipv6);
        message.header.action = RuleAction::ToTable;
        let attributes = &mut message.attributes;
        attributes.push(RuleAttribute::Priority(self.priority));
        attributes.push(RuleAttribute::Table(self.table));
        if let Some(source) = self.source {
            message.header.src_len = source.prefix_len();
            attributes.push(RuleAttribute::Source(source.network()));
        }
        if let Some(destination) = self.destination {
            message.header.dst_len = destination.prefix_len();
            attributes.push(RuleAttribute::Destination(destination.network()));
        }
        if let Some((value, mask)) = self.mark {
            attributes.push(RuleAttribute::FwMark(value));
            attributes.push(RuleAttribute::FwMask(mask));
        }
        attributes.extend(self.input.clone().map(RuleAttribute::Iifname));
        message
    }

    /// Reads RTM_NEWRULE and RTM_DELRULE that look up a table.
    pub(super) fn of_message(message: &RouteNetlinkMessage) -> Option<Self> {
        let (RouteNetlinkMessage::NewRule(message) | RouteNetlinkMessage::DelRule(message)) =
            message
        else {
            return None;
        };
        let header = &message.header;
        if header.action != RuleAction::ToTable {
            return None;
        }
        let ipv6 = header.family == AddressFamily::Inet6;
        let mut rule = Self::new(ipv6, 0, header.table.into());
        let (mut mark, mut mask) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Priority(priority) => rule.priority = *priority,
                RuleAttribute::Table(table) => rule.table = *table,
                RuleAttribute::Source(ip) => rule.source = IpNet::new(*ip, header.src_len).ok(),
                RuleAttribute::Destination(ip) => {
                    rule.destination = IpNet::new(*ip, header.dst_len).ok();
                }
                RuleAttribute::FwMark(value) => mark = Some(*value),
                RuleAttribute::FwMask(value) => mask = Some(*value),
                RuleAttribute::Iifname(name) => rule.input = Some(name.clone()),
                _ => {}
            }
        }
        rule.mark = mark
            .or_else(|| mask.map(|_| 0))
            .zip(mask.or(Some(u32::MAX)));
        Some(rule)
    }
}

impl Rtnetlink {
    /// Adds a rule.
    ///
    /// # Errors
    /// Kind `Exists`.
    pub fn add_rule(&mut self, rule: &Rule) -> Result<()> {
        let doing = Doing {
            operation: "add rule",
            object: rule,
        };
        let message = RouteNetlinkMessage::NewRule(rule.to_message());
        self.change(doing, &message, Mode::Create)
    }

    /// Deletes a rule. Whether it was there.
    ///
    /// # Errors
    /// A socket's failure.
    pub fn delete_rule(&mut self, rule: &Rule) -> Result<bool> {
        let doing = Doing {
            operation: "delete rule",
            object: rule,
        };
        let message = RouteNetlinkMessage::DelRule(rule.to_message());
        found(self.change(doing, &message, Mode::Existing))
    }

    /// The rules of both families that look up a table, in the kernel's order.
    ///
    /// # Errors
    /// A socket's failure.
    pub fn rules(&mut self) -> Result<Vec<Rule>> {
        let mut rules = Vec::new();
        for ipv6 in [false, true] {
            let mut request = RuleMessage::default();
            request.header.family = family(ipv6);
            let doing = Doing {
                operation: "list",
                object: &"rules",
            };
            let answers = self.dump(doing, &RouteNetlinkMessage::GetRule(request))?;
            rules.extend(answers.iter().filter_map(Rule::of_message));
        }
        Ok(rules)
    }
}

const fn family(ipv6: bool) -> AddressFamily {
    if ipv6 {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.ipv6 { "IPv6" } else { "IPv4" };
        write!(f, "{} {family} lookup {}", self.priority, self.table)
    }
}
