//! Policies: planning, programming, connecting.

mod cluster;
mod connections;
mod kernel;
mod planning;

use crate::{Bench, Suite};

pub(crate) const SUITE: Suite = Suite {
    name: "policies",
    about: "planning and programming policies, connections that they allow (as root)",
    run,
};

fn run(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    planning::measure(bench)?;
    kernel::measure(bench)?;
    connections::measure(bench)
}
