use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use podway_dataplane::overlay::{Error, Interest, Watcher};

use crate::feature::chain;
use crate::mailbox::Mailbox;

/// At most one whole comparison in this time, whatever happens to the node's
/// links and routes.
const PACE: Duration = Duration::from_millis(200);

/// What the overlay wants to be told of.
#[derive(Debug)]
pub(crate) struct OverlayWatch {
    /// The netlink ports of its own changes.
    pub(super) own: Vec<u32>,
    pub(super) interest: Arc<Mutex<Interest>>,
}

impl OverlayWatch {
    /// Tells the mailbox of what concerns the overlay in the calling thread's
    /// namespace, from now on and for as long as the process lives.
    pub(crate) fn start(self, mailbox: Arc<Mailbox>) -> Result<(), crate::Error> {
        let failed = |source| crate::Error::Open {
            feature: "the monitor of links and routes",
            source,
        };
        let mut watcher =
            Watcher::open(self.own, self.interest).map_err(|error| failed(Box::new(error)))?;
        let thread = thread::Builder::new().name("podway-links".to_owned());
        let spawned = thread.spawn(move || {
            while let Err(error) = tell(&mut watcher, &mailbox) {
                let error = chain(&error);
                tracing::warn!(error, "notifications of links and routes not read");
                mailbox.disturb_feature("overlay");
                thread::sleep(PACE);
            }
        });
        spawned.map(drop).map_err(|error| failed(Box::new(error)))
    }
}

fn tell(watcher: &mut Watcher, mailbox: &Mailbox) -> Result<(), Error> {
    while let Some(what) = watcher.wait(None)? {
        tracing::info!(what, "changed by another program, comparing the overlay");
        mailbox.disturb_feature("overlay");
        thread::sleep(PACE);
    }
    Ok(())
}
