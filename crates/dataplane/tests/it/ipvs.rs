//! Services in IPVS: what is written, and, on the second kernel, what it does to
//! packets.

mod packets;
mod trace;
mod writes;

use podway_dataplane::service::ipvs::{Addresses, FakeNode, IpvsServices, Kernel};
use podway_dataplane::service::{ServiceBackend, SyncReport};
use podway_kernel::conntrack::FakeConntrack;
use podway_kernel::ipset::FakeTypedSets;
use podway_kernel::iptables::FakeIptables;
use podway_kernel::ipvs::FakeIpvs;
use podway_plan::service::{ServiceChange, ServiceTable};
use podway_testkit::builders::ips;

use crate::iptables::clusters::context;
use crate::iptables::settings;
use crate::iptables::trace::NODE;

type FakeKernel = Kernel<FakeIpvs, FakeTypedSets, FakeIptables, FakeNode, FakeConntrack>;
type Fake = IpvsServices<FakeIpvs, FakeTypedSets, FakeIptables, FakeNode, FakeConntrack>;

fn fake() -> Fake {
    IpvsServices::new(fake_kernel(), settings(&context()))
}

/// A kernel that has only the node's addresses.
fn fake_kernel() -> FakeKernel {
    let addresses = Addresses {
        bound: None,
        others: ips(&NODE).into_iter().collect(),
    };
    Kernel {
        ipvs: FakeIpvs::new(),
        sets: FakeTypedSets::new(),
        iptables: FakeIptables::new(),
        node: FakeNode {
            addresses,
            ..FakeNode::default()
        },
        conntrack: FakeConntrack::default(),
    }
}

fn sync(
    backend: &mut impl ServiceBackend,
    table: &ServiceTable,
    change: Option<&ServiceChange>,
) -> SyncReport {
    backend
        .sync(table, change)
        .unwrap_or_else(|error| panic!("{error}: {error:#?}"))
}
