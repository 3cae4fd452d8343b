//! Notices when somebody else changes what an overlay has made, or what it
//! depends on.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use parking_lot::Mutex;
use podway_kernel::route::{Group, LinkIndex, MAIN_TABLE, Monitor, Notification, Route, Rtnetlink};
use podway_plan::overlay::OverlayTable;

use super::{DEVICES, Error, ROUTE_PROTOCOL, device};

/// What of the namespace concerns an overlay, beyond its own devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interest {
    /// The interfaces that packets to other nodes leave by.
    pub carriers: BTreeSet<LinkIndex>,
    /// The node's addresses that packets are sent from.
    pub locals: BTreeSet<IpAddr>,
    /// The node's own pods: their routes come and go with them.
    pub pods: Vec<IpNet>,
    /// The plan depends on the routing table.
    pub ways: bool,
}

impl Interest {
    /// What a table says about it.
    #[must_use]
    pub fn of(
        table: &OverlayTable,
        carriers: impl IntoIterator<Item = LinkIndex>,
        ways: bool,
    ) -> Self {
        let own = table.own.values();
        Self {
            carriers: carriers.into_iter().collect(),
            locals: own.clone().map(|own| own.local).collect(),
            pods: own.map(|own| own.prefix).collect(),
            ways,
        }
    }

    fn concerns_route(&self, route: &Route, devices: &BTreeSet<LinkIndex>) -> bool {
        let on = |links: &BTreeSet<LinkIndex>| route.link.is_some_and(|link| links.contains(&link));
        if route.table != MAIN_TABLE {
            return false;
        }
        if on(devices) || (route.protocol == ROUTE_PROTOCOL && route.gateway.is_some()) {
            return true;
        }
        let is_of_pod = self
            .pods
            .iter()
            .any(|pods| pods.contains(&route.destination));
        self.ways && !is_of_pod
    }
}

/// Waits for changes that an overlay has to look at.
#[derive(Debug)]
pub struct Watcher {
    monitor: Monitor,
    /// The ports of our own changes.
    own: Vec<u32>,
    /// The overlays' devices that are there.
    devices: BTreeSet<LinkIndex>,
    interest: Arc<Mutex<Interest>>,
}

impl Watcher {
    /// Watches the calling thread's namespace from now on. Changes by the sockets
    /// of the ports `own` are no news, where the kernel says whose they are.
    ///
    /// # Errors
    /// [`Error::Route`].
    pub fn open(own: Vec<u32>, interest: Arc<Mutex<Interest>>) -> Result<Self, Error> {
        let groups = [Group::Link, Group::Address, Group::Route, Group::Neighbour];
        let monitor = Monitor::open(&groups)?;
        // After the subscription: a device that is made meanwhile is known twice.
        let devices = device::present(&mut Rtnetlink::open()?)?;
        Ok(Self {
            monitor,
            own,
            devices: devices.into_iter().collect(),
            interest,
        })
    }

    /// Waits for something that concerns the overlay, at most `timeout` (for ever
    /// without), takes all else that is there by then, and says what it was, for
    /// people.
    ///
    /// # Errors
    /// [`Error::Route`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<String>, Error> {
        let deadline = timeout.map(|timeout| std::time::Instant::now() + timeout);
        let mut found = None;
        loop {
            let left = match (&found, deadline) {
                (Some(_), _) => Some(Duration::ZERO),
                (None, None) => None,
                (None, Some(deadline)) => {
                    Some(deadline.saturating_duration_since(std::time::Instant::now()))
                }
            };
            let Some((notification, origin)) = self.monitor.next_with_origin(left)? else {
                return Ok(found);
            };
            let is_news = self.concerns(&notification) && !self.own.contains(&origin);
            if is_news && found.is_none() {
                found = Some(describe(&notification));
            }
        }
    }

    /// Whether a notification is about the overlay. Follows its devices as they
    /// come and go, by whomever.
    fn concerns(&mut self, notification: &Notification) -> bool {
        let interest = self.interest.lock();
        match notification {
            Notification::Link(exists, link) => {
                let is_ours = DEVICES.iter().any(|device| device.name == link.name);
                let was_ours = self.devices.remove(&link.index);
                if is_ours && *exists {
                    self.devices.insert(link.index);
                }
                is_ours || was_ours || interest.carriers.contains(&link.index)
            }
            Notification::Address(_, address) => {
                self.devices.contains(&address.link)
                    || interest.locals.contains(&address.address.addr())
            }
            Notification::Route(_, route) => interest.concerns_route(route, &self.devices),
            Notification::Neighbour(_, link, _) => self.devices.contains(link),
            Notification::Fdb(_, entry) => self.devices.contains(&entry.link),
            Notification::Rule(..) => false,
            Notification::Lost => true,
        }
    }
}

fn describe(notification: &Notification) -> String {
    let verb = |exists: &bool| if *exists { "set" } else { "removed" };
    match notification {
        Notification::Link(true, link) => {
            let state = if link.up { "up" } else { "down" };
            format!("interface {} is {state}, MTU {}", link.name, link.mtu)
        }
        Notification::Link(false, link) => format!("interface {} removed", link.name),
        Notification::Address(exists, address) => {
            format!("address {} {}", address.address, verb(exists))
        }
        Notification::Route(exists, route) => format!("route {route} {}", verb(exists)),
        Notification::Neighbour(exists, _, address) => {
            format!("neighbour {address} {}", verb(exists))
        }
        Notification::Fdb(exists, entry) => format!("forwarding entry {entry} {}", verb(exists)),
        Notification::Rule(exists, _) => format!("rule {}", verb(exists)),
        Notification::Lost => "notifications were lost".to_owned(),
    }
}
