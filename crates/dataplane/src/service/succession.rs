//! One mode after another, without losing a connection: `docs/switching.md`.
//!
//! The next mode is written and compared before the one before it goes, and what
//! translates established connections stays for as long as they last.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use podway_kernel::nft::Nft;
use podway_plan::service::{ServiceChange, ServiceTable};

use super::anchor::Anchor;
use super::{
    BackendSpec, Error, ServiceBackend, ServiceSettings, SyncReport, backend, iptables, ipvs,
    loopback, nftables, userspace,
};

/// How often to look whether a mode that has been followed has come to its end.
const PACE: Duration = Duration::from_secs(1);

/// A mode may have had to wait for the kernel: within this many comparisons it
/// holds everything, or it is not in force.
const COMPARISONS: usize = 3;

/// Where a succession is. It may end at each of these, and the next one goes on
/// from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing has been done yet.
    Begun,
    /// The next mode is noted, and nothing of it is there.
    Noted(&'static str),
    /// Both modes are there.
    Written(&'static str),
    /// The kernel was compared, and holds everything of the next one.
    Verified(&'static str),
    /// The one before takes nothing new any more.
    Left(&'static str),
    /// Nothing of it is there any more.
    Gone(&'static str),
}

/// The mode that serves, those before it that have connections left, and the one
/// that is wanted.
pub struct Succession {
    settings: ServiceSettings,
    anchor: Anchor<Nft>,
    wanted: &'static BackendSpec,
    current: Option<Serving>,
    leaving: Vec<Serving>,
    ports: NetlinkPorts,
    watch: Box<dyn FnMut(Step) + Send>,
}

/// The netlink ports of everything that a succession has open, as it is at each
/// moment.
pub type NetlinkPorts = Arc<Mutex<Vec<u32>>>;

struct Serving {
    spec: &'static BackendSpec,
    backend: Box<dyn ServiceBackend>,
}

impl Succession {
    /// One that wants a mode, in the calling thread's network namespace. The
    /// first sync makes it serve.
    ///
    /// # Errors
    /// Failures of netlink.
    pub fn open(wanted: &'static BackendSpec, settings: ServiceSettings) -> Result<Self, Error> {
        let anchor = Anchor::open()?;
        let ports = Arc::new(Mutex::new(vec![anchor.port()]));
        Ok(Self {
            settings,
            anchor,
            wanted,
            current: None,
            leaving: Vec::new(),
            ports,
            watch: Box::new(|_| {}),
        })
    }

    /// Tells each step before it is gone on from.
    pub fn watch(&mut self, watch: impl FnMut(Step) + Send + 'static) {
        self.watch = Box::new(watch);
    }

    /// The next sync makes this mode serve. Where it cannot, the one that serves
    /// goes on, and the sync says why.
    pub const fn want(&mut self, spec: &'static BackendSpec) {
        self.wanted = spec;
    }

    /// The mode that is wanted.
    #[must_use]
    pub const fn wanted(&self) -> &'static BackendSpec {
        self.wanted
    }

    /// The mode that serves.
    #[must_use]
    pub fn mode(&self) -> Option<&'static str> {
        self.current.as_ref().map(|serving| serving.spec.name)
    }

    /// Modes that take nothing new, and still have connections or rules.
    pub fn leaving(&self) -> impl Iterator<Item = &'static str> {
        self.leaving.iter().map(|serving| serving.spec.name)
    }

    /// By which the kernel's notifications name changes of this.
    #[must_use]
    pub fn ports(&self) -> NetlinkPorts {
        self.ports.clone()
    }

    fn tell(&mut self, step: Step) {
        tracing::debug!(?step, "succession of modes");
        (self.watch)(step);
    }

    /// Makes the wanted mode serve; `None` where it has to wait for the end of
    /// another, and the one that stands in for it does so already.
    fn succeed(&mut self, table: &ServiceTable) -> Result<Option<SyncReport>, Error> {
        let wanted = self.wanted;
        self.tell(Step::Begun);
        let mut obstacles = self.anchor.notes()?;
        obstacles.extend(self.mode());
        obstacles.retain(|mode| is_in_the_way(mode, wanted.name));
        if obstacles.is_empty() {
            return self.install(wanted, table).map(Some);
        }
        (wanted.probe)()?;
        let mut stands_in = None;
        if self.mode() != Some(nftables::SPEC.name) {
            stands_in = Some(self.install(&nftables::SPEC, table)?);
        }
        for mode in obstacles {
            self.end(mode)?;
        }
        let is_proxy = wanted.name == userspace::SPEC.name;
        if is_proxy && self.leaving().any(|mode| mode == ipvs::SPEC.name) {
            return Ok(stands_in);
        }
        self.install(wanted, table).map(Some)
    }

    fn install(
        &mut self,
        spec: &'static BackendSpec,
        table: &ServiceTable,
    ) -> Result<SyncReport, Error> {
        let others: Vec<&str> = self.others(spec)?;
        if !others.is_empty() {
            (spec.probe)()?;
        }
        self.anchor.note(spec)?;
        self.tell(Step::Noted(spec.name));
        let mut next = self.serving(spec)?;
        let report = match self.put_in_force(&mut next, table, !others.is_empty()) {
            Ok(report) => report,
            Err(error) => {
                self.undo(next);
                return Err(error);
            }
        };
        let before = self.current.replace(next);
        self.leaving.extend(before);
        self.leave(&others)?;
        Ok(report)
    }

    /// Modes that are noted, or serve, beside this one.
    fn others(&mut self, spec: &BackendSpec) -> Result<Vec<&'static str>, Error> {
        let mut noted = self.anchor.notes()?;
        noted.extend(self.mode());
        noted.remove(spec.name);
        Ok(noted.into_iter().collect())
    }

    /// The backend of a mode: the one that is leaving, with what it still relays,
    /// or a new one.
    fn serving(&mut self, spec: &'static BackendSpec) -> Result<Serving, Error> {
        let known = self
            .leaving
            .iter()
            .position(|one| one.spec.name == spec.name);
        let serving = match known {
            Some(index) => {
                let mut serving = self.leaving.swap_remove(index);
                serving.backend.configure(self.settings.clone());
                serving
            }
            None => Serving {
                spec,
                backend: spec.start(self.settings.clone())?,
            },
        };
        self.ports.lock().extend(serving.backend.netlink_ports());
        Ok(serving)
    }

    fn put_in_force(
        &mut self,
        next: &mut Serving,
        table: &ServiceTable,
        is_verified: bool,
    ) -> Result<SyncReport, Error> {
        let mut report = next.backend.sync(table, None)?;
        self.tell(Step::Written(next.spec.name));
        if !is_verified {
            return Ok(report);
        }
        for _ in 0..COMPARISONS {
            let compared = next.backend.sync(table, None)?;
            report += compared;
            if compared.written.messages == 0 {
                self.tell(Step::Verified(next.spec.name));
                return Ok(report);
            }
        }
        Err(Error::NotHeld {
            backend: next.spec.name,
        })
    }

    /// What was written of a mode that did not come into force.
    fn undo(&mut self, mut next: Serving) {
        let mode = next.spec.name;
        let removed = next.backend.cleanup();
        let removed = removed.and_then(|()| self.anchor.strike(mode));
        if let Err(error) = removed {
            // It is noted: the next succession looks for it.
            tracing::warn!(mode, %error, "what was written of a mode stays");
        }
        self.know_ports();
    }

    /// Those before the one that serves now take nothing new.
    fn leave(&mut self, others: &[&'static str]) -> Result<(), Error> {
        for mode in others {
            if !self.leaving().any(|leaving| leaving == *mode)
                && let Some(spec) = backend(mode)
            {
                // Of a process that ended before it was done.
                let left = self.serving(spec)?;
                self.leaving.push(left);
            }
        }
        if self.mode() == Some(userspace::SPEC.name) {
            // It serves loopback addresses itself.
            loopback::remove_table()?;
        }
        self.look_after_leaving()
    }

    fn look_after_leaving(&mut self) -> Result<(), Error> {
        let mut failed = None;
        let is_ipvs = self.mode() == Some(ipvs::SPEC.name);
        for mut serving in std::mem::take(&mut self.leaving) {
            let mode = serving.spec.name;
            let left = serving.backend.leave();
            if is_ipvs && mode == userspace::SPEC.name {
                // IPVS takes a proxied flow's next datagram, with a source that
                // was never translated: it begins anew.
                userspace::end_flows(&[podway_model::Protocol::Udp])?;
            }
            self.tell(Step::Left(mode));
            match left {
                Ok(true) => {
                    drop(serving);
                    self.anchor.strike(mode)?;
                    tracing::info!(mode, "nothing of the mode is left");
                    self.tell(Step::Gone(mode));
                }
                Ok(false) => self.leaving.push(serving),
                Err(error) => {
                    self.leaving.push(serving);
                    failed = Some(error);
                }
            }
        }
        self.know_ports();
        failed.map_or(Ok(()), Err)
    }

    /// Removes a mode that another one stands in for, at once but for what
    /// established connections need.
    fn end(&mut self, mode: &'static str) -> Result<(), Error> {
        let is_leaving = self.leaving().any(|leaving| leaving == mode);
        if !is_leaving && self.anchor.notes()?.contains(mode) {
            return self.leave(&[mode]);
        }
        Ok(())
    }

    fn know_ports(&self) {
        let serving = self.current.iter().chain(&self.leaving);
        let ports = serving.flat_map(|serving| serving.backend.netlink_ports());
        *self.ports.lock() = ports.chain([self.anchor.port()]).collect();
    }
}

/// Whether a mode cannot be written while another is there, so that one which can
/// stands in between: `iptables` and `ipvs` have chains of the same names, and a
/// virtual server that takes nothing new keeps it from the proxy, too.
fn is_in_the_way(mode: &str, wanted: &str) -> bool {
    [
        (iptables::SPEC.name, ipvs::SPEC.name),
        (ipvs::SPEC.name, iptables::SPEC.name),
        (ipvs::SPEC.name, userspace::SPEC.name),
    ]
    .contains(&(mode, wanted))
}

impl ServiceBackend for Succession {
    fn sync(
        &mut self,
        table: &ServiceTable,
        change: Option<&ServiceChange>,
    ) -> Result<SyncReport, Error> {
        if self.mode() != Some(self.wanted.name) {
            let succeeded = self.succeed(table);
            if let (Err(_), Some(current)) = (&succeeded, &mut self.current) {
                // What serves goes on, with everything as it is now.
                current.backend.sync(table, None)?;
            }
            if let Some(report) = succeeded? {
                return Ok(report);
            }
        }
        match &mut self.current {
            Some(current) => current.backend.sync(table, change),
            None => Ok(SyncReport::default()),
        }
    }

    fn follow_up(&mut self, table: &ServiceTable, now: Instant) -> Result<Option<Instant>, Error> {
        self.look_after_leaving()?;
        if self.mode().is_some_and(|mode| mode != self.wanted.name) {
            self.sync(table, None)?;
        }
        let current = self.current.as_mut();
        let next = current.map_or(Ok(None), |current| current.backend.follow_up(table, now))?;
        let next = next.into_iter();
        let looked_after = (!self.leaving.is_empty()).then(|| now + PACE);
        Ok(next.chain(looked_after).min())
    }

    fn configure(&mut self, settings: ServiceSettings) {
        if let Some(current) = &mut self.current {
            current.backend.configure(settings.clone());
        }
        self.settings = settings;
    }

    /// Everything of every mode that was ours, and the anchor.
    fn cleanup(&mut self) -> Result<(), Error> {
        let mut serving = std::mem::take(&mut self.leaving);
        serving.extend(self.current.take());
        for mode in self.anchor.notes()? {
            if !serving.iter().any(|one| one.spec.name == mode)
                && let Some(spec) = backend(mode)
            {
                serving.push(self.serving(spec)?);
            }
        }
        for mut one in serving {
            one.backend.cleanup()?;
            self.anchor.strike(one.spec.name)?;
        }
        self.anchor.remove()
    }

    fn retire(&mut self, patience: Duration) {
        let serving = self.current.iter_mut().chain(&mut self.leaving);
        for serving in serving {
            serving.backend.retire(patience);
        }
    }

    fn netlink_port(&self) -> Option<u32> {
        let current = self.current.as_ref();
        current.and_then(|current| current.backend.netlink_port())
    }

    fn netlink_ports(&self) -> Vec<u32> {
        self.ports.lock().clone()
    }
}
