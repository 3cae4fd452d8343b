//! The pods' network: the ways between nodes.

mod overlay;

use crate::{Bench, Suite};

pub(crate) const SUITE: Suite = Suite {
    name: "pods",
    about: "packets between nodes, and how soon many nodes are known",
    run,
};

fn run(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    overlay::run(bench)
}
