//! The pods' network: how a pod comes and goes, and the ways between nodes.

mod cni;
mod overlay;

use crate::{Bench, Suite};

pub(crate) const SUITE: Suite = Suite {
    name: "pods",
    about: "pods that come and go, packets between nodes, and how soon many nodes are known",
    run,
};

fn run(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    cni::run(bench)?;
    overlay::run(bench)
}
