//! Flannel's configuration file, `net-conf.json`.

use std::num::NonZeroU16;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Map, Value};

use super::{OverlayMode, OverlaySettings};

/// What a `net-conf.json` says. Keys are read as flannel reads them: whatever
/// their case, and unknown ones are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetConf {
    /// How the overlay is to be.
    pub settings: OverlaySettings,
    /// What it says that Podway does in another way or not at all, for the log:
    /// the key, and what happens instead.
    pub ignored: Vec<(String, &'static str)>,
}

/// Why a `net-conf.json` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetConfError {
    /// It is no JSON object.
    #[error("{line}:{column}: not a JSON object: {reason}")]
    NotJson {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// A key is missing.
    #[error("{key} is missing: {reason}")]
    Missing {
        /// The key.
        key: &'static str,
        /// Why it is needed.
        reason: &'static str,
    },
    /// A value cannot be used.
    #[error("{key} is {value}: {reason}")]
    Value {
        /// The key.
        key: String,
        /// What it says, as JSON.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Keys of the backends that change what travels on the wire, or who can read
/// it: going on without them would not be what the file asks for.
const REFUSED: [(&str, &str); 4] = [
    ("GBP", "group policies in VXLAN headers are not written"),
    ("Learning", "forwarding entries are never learnt"),
    ("PSK", "preshared keys are not used"),
    (
        "Mode",
        "each family has a WireGuard device of its own, as with \"separate\"",
    ),
];

/// Keys of which the effect comes about in another way.
const ELSEWHERE: [(&str, &str); 7] = [
    ("EnableNFTables", "rules are always nftables'"),
    ("SubnetLen", "a node's prefix is its podCIDR"),
    ("SubnetMin", "a node's prefix is its podCIDR"),
    ("SubnetMax", "a node's prefix is its podCIDR"),
    ("IPv6SubnetLen", "a node's prefix is its podCIDR"),
    ("IPv6SubnetMin", "a node's prefix is its podCIDR"),
    ("IPv6SubnetMax", "a node's prefix is its podCIDR"),
];

impl NetConf {
    /// Reads the file's text.
    ///
    /// # Errors
    /// [`NetConfError`]: what flannel would refuse, and what Podway cannot do.
    pub fn parse(text: &str) -> Result<Self, NetConfError> {
        let json: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| NetConfError::NotJson {
                line: error.line(),
                column: error.column(),
                reason: error.to_string(),
            })?;
        let top = Section {
            name: "",
            keys: &json,
        };
        let empty = Map::new();
        let backend = match top.find("Backend") {
            None | Some((_, Value::Null)) => &empty,
            Some((_, Value::Object(backend))) => backend,
            Some((key, value)) => return Err(wrong(key.to_owned(), value, "not an object")),
        };
        let backend = Section {
            name: "Backend.",
            keys: backend,
        };
        let mut settings = backend_of(&backend)?;
        settings.networks = networks_of(&top)?;
        let ignored = ELSEWHERE
            .iter()
            .filter_map(|(key, instead)| Some((top.find(key)?.0.to_owned(), *instead)))
            .collect();
        Ok(Self { settings, ignored })
    }
}

fn networks_of(top: &Section<'_>) -> Result<Vec<IpNet>, NetConfError> {
    let mut networks = Vec::new();
    if top.boolean("EnableIPv4")?.unwrap_or(true) {
        let network: Ipv4Net = top
            .parsed("Network", "an IPv4 prefix, as 10.244.0.0/16")?
            .ok_or(NetConfError::Missing {
                key: "Network",
                reason: "the pods' IPv4 network (EnableIPv4 is not false)",
            })?;
        networks.push(IpNet::V4(network).trunc());
    }
    if top.boolean("EnableIPv6")?.unwrap_or(false) {
        let network: Ipv6Net = top
            .parsed("IPv6Network", "an IPv6 prefix, as fd00:10:244::/48")?
            .ok_or(NetConfError::Missing {
                key: "IPv6Network",
                reason: "the pods' IPv6 network (EnableIPv6 is true)",
            })?;
        networks.push(IpNet::V6(network).trunc());
    }
    if networks.is_empty() {
        return Err(NetConfError::Missing {
            key: "EnableIPv6",
            reason: "EnableIPv4 is false, and pods need one family",
        });
    }
    Ok(networks)
}

fn backend_of(backend: &Section<'_>) -> Result<OverlaySettings, NetConfError> {
    // What flannel's code does where its documentation says vxlan.
    let name = backend.text("Type")?.unwrap_or("udp").to_lowercase();
    let mode = match name.as_str() {
        // Only hands out podCIDRs.
        "alloc" => Some(OverlayMode::None),
        "none" => None,
        name => OverlayMode::of_name(name),
    };
    let Some(mode) = mode else {
        let value = Value::String(name);
        let known = "expected vxlan, host-gw, udp, ipip, wireguard or alloc";
        return Err(wrong("Backend.Type".to_owned(), &value, known));
    };
    for (key, reason) in REFUSED {
        if let Some((key, value)) = backend.find(key)
            && !is_default(value)
        {
            return Err(wrong(backend.path(key), value, reason));
        }
    }
    let direct_routing = backend.boolean("DirectRouting")?.unwrap_or(false);
    let port = match mode {
        OverlayMode::WireGuard => "ListenPort",
        _ => "Port",
    };
    Ok(OverlaySettings {
        vni: match backend.number("VNI", 0xff_ffff)? {
            None | Some(0) => 1,
            Some(vni) => vni,
        },
        port: backend.port(port)?,
        mtu: backend.number("MTU", 0xffff)?.filter(|mtu| *mtu > 0),
        mac_prefix: backend.mac_prefix()?,
        direct_routing: direct_routing && mode.can_route_directly(),
        keepalive: backend.port("PersistentKeepaliveInterval")?,
        ..OverlaySettings::new(mode)
    })
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::String(text) => text.is_empty() || text == "separate",
        _ => false,
    }
}

/// An object of the file.
struct Section<'a> {
    /// What its keys are named after in errors.
    name: &'static str,
    keys: &'a Map<String, Value>,
}

impl<'a> Section<'a> {
    fn path(&self, key: &str) -> String {
        format!("{}{key}", self.name)
    }

    /// A key in any case, with its value; the exact one where there are several.
    fn find(&self, key: &str) -> Option<(&'a str, &'a Value)> {
        let exact = self.keys.get_key_value(key);
        let any_case = || {
            let mut all = self.keys.iter();
            all.find(|(name, _)| name.eq_ignore_ascii_case(key))
        };
        let (key, value) = exact.or_else(any_case)?;
        Some((key.as_str(), value))
    }

    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, NetConfError> {
        match self.find(key) {
            None | Some((_, Value::Null)) => Ok(None),
            Some((key, value)) => {
                let refused = || wrong(self.path(key), value, &format!("expected {expected}"));
                read(value).map(Some).ok_or_else(refused)
            }
        }
    }

    fn boolean(&self, key: &str) -> Result<Option<bool>, NetConfError> {
        self.read(key, "true or false", Value::as_bool)
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, NetConfError> {
        self.read(key, "a text", Value::as_str)
    }

    fn parsed<T: std::str::FromStr>(
        &self,
        key: &str,
        expected: &str,
    ) -> Result<Option<T>, NetConfError> {
        self.read(key, expected, |value| value.as_str()?.parse().ok())
    }

    fn number(&self, key: &str, most: u32) -> Result<Option<u32>, NetConfError> {
        self.read(key, &format!("a number up to {most}"), |value| {
            let number = u32::try_from(value.as_u64()?).ok()?;
            (number <= most).then_some(number)
        })
    }

    /// A number of 16 bits, of which 0 means that it is left out.
    fn port(&self, key: &str) -> Result<Option<NonZeroU16>, NetConfError> {
        let port = self.number(key, 0xffff)?;
        Ok(port.and_then(|port| NonZeroU16::new(u16::try_from(port).ok()?)))
    }

    /// `0E-2A`: unicast, locally administered.
    fn mac_prefix(&self) -> Result<Option<[u8; 2]>, NetConfError> {
        let expected = "two pairs of hexadecimal digits of a local unicast address, as 0E-2A";
        self.read("MacPrefix", expected, |value| {
            super::mac_prefix_of(value.as_str()?)
        })
    }
}

fn wrong(key: String, value: &Value, reason: &str) -> NetConfError {
    NetConfError::Value {
        key,
        value: value.to_string(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
