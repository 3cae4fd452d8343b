use std::collections::BTreeMap;

use podway_model::{Pod, Protocol};

/// A port's name and protocol.
pub(super) type PortName = (String, Protocol);

/// The numbers that container ports of a name have, over all pods that can be
/// peers, and how many container ports have each.
#[derive(Debug, Clone, Default)]
pub(super) struct PortNumbers(BTreeMap<PortName, BTreeMap<u16, usize>>);

impl PortNumbers {
    /// Counts a pod in. Returns the names that gained a number.
    pub(super) fn add(&mut self, pod: &Pod) -> Vec<PortName> {
        let mut gained = Vec::new();
        for (name, port) in named_ports(pod) {
            let ports = self.0.entry(name.clone()).or_default();
            let count = ports.entry(port).or_default();
            *count += 1;
            if *count == 1 {
                gained.push(name);
            }
        }
        gained
    }

    /// Counts a pod out. Returns the names that lost a number.
    pub(super) fn remove(&mut self, pod: &Pod) -> Vec<PortName> {
        let mut lost = Vec::new();
        for (name, port) in named_ports(pod) {
            let Some(ports) = self.0.get_mut(&name) else {
                continue;
            };
            let Some(count) = ports.get_mut(&port) else {
                continue;
            };
            *count -= 1;
            if *count == 0 {
                ports.remove(&port);
                if ports.is_empty() {
                    self.0.remove(&name);
                }
                lost.push(name);
            }
        }
        lost
    }

    /// The numbers of a name, in order.
    pub(super) fn of(&self, name: &PortName) -> impl Iterator<Item = u16> {
        self.0
            .get(name)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .copied()
    }
}

fn named_ports(pod: &Pod) -> impl Iterator<Item = (PortName, u16)> {
    pod.ports
        .iter()
        .filter(|port| !port.name.is_empty())
        .map(|port| ((port.name.clone(), port.protocol), port.port))
}
