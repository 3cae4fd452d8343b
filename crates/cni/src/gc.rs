//! GC: nothing of this network is held for an interface that is not valid any
//! more.

use std::collections::BTreeSet;

use podway_kernel::route::Rtnetlink;

use crate::config::Network;
use crate::del::tell_agent;
use crate::error::Error;
use crate::ipam::Ipam;
use crate::owner::Owner;
use crate::teardown::tear_down;

/// Takes away what belongs to any other interface. Goes on past what fails.
pub(crate) fn gc(network: &Network, valid: &BTreeSet<Owner>) -> Result<(), Error> {
    let held = Ipam::open(network)?.owners();
    let mut socket = Rtnetlink::open()?;
    let mut failures = Vec::new();
    for owner in held.difference(valid) {
        match tear_down(&mut socket, owner, network) {
            Ok(addresses) => tell_agent(owner, None, addresses, network),
            Err(error) => {
                let (what, why) = error.chain();
                failures.push(format!("{owner}: {what}: {why}"));
            }
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Error::Incomplete { failures })
    }
}
