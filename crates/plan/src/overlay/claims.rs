use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// Which node holds which pod addresses: prefixes that do not overlap, by their
/// first address.
#[derive(Debug, Default)]
pub(super) struct Claims {
    held: BTreeMap<IpAddr, (IpNet, Arc<str>)>,
}

impl Claims {
    /// Takes a prefix for a node, or says which one it overlaps and whose that
    /// is. The order of an `IpAddr` puts IPv4 before IPv6, so that neighbours
    /// in the map are the only candidates.
    pub(super) fn claim(
        &mut self,
        prefix: IpNet,
        node: &Arc<str>,
    ) -> Result<(), (IpNet, Arc<str>)> {
        let below = self.held.range(..=prefix.network()).next_back();
        let above = self.held.range(prefix.network()..).next();
        let overlapped = below
            .into_iter()
            .chain(above)
            .map(|(_, held)| held)
            .find(|(held, _)| held.contains(&prefix) || prefix.contains(held));
        if let Some((held, holder)) = overlapped {
            return Err((*held, holder.clone()));
        }
        self.held.insert(prefix.network(), (prefix, node.clone()));
        Ok(())
    }
}
