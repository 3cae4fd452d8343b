//! Kernel parameters that the overlays need.

use podway_kernel::sysctl;
use podway_model::IpFamily;

use super::Error;

/// Sets parameters where they differ, and counts.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    writes: u64,
}

impl Parameters {
    /// How many were written.
    pub(super) const fn writes(&self) -> u64 {
        self.writes
    }

    /// Lets the node route.
    pub(super) fn forward(&mut self, family: IpFamily) -> Result<(), Error> {
        match family {
            IpFamily::V4 => self.set("net/ipv4/ip_forward", "1"),
            IpFamily::V6 => self.set("net/ipv6/conf/all/forwarding", "1"),
        }
    }

    /// Prepares a device of ours before it comes up: it has no router and no
    /// address to contest; packets may come in by it that answers do not leave
    /// by, while a cluster moves to or from another overlay, or where only one
    /// of two nodes routes directly.
    pub(super) fn prepare(&mut self, device: &str) -> Result<(), Error> {
        for key in [
            format!("net/ipv4/conf/{device}/rp_filter=2"),
            format!("net/ipv6/conf/{device}/accept_ra=0"),
            format!("net/ipv6/conf/{device}/accept_dad=0"),
        ] {
            let Some((key, value)) = key.split_once('=') else {
                continue;
            };
            match self.set(key, value) {
                // A kernel without IPv6 has nothing to switch off on a device.
                Err(Error::Sysctl(sysctl::Error::Unknown { .. })) if key.contains("ipv6") => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Lets packets of pods in by an interface that answers do not leave by, or
    /// not yet. What is effective is the larger of the interface's and the
    /// node's value, and 2 (loose) is larger than 1 (strict).
    pub(super) fn loosen(&mut self, interface: &str) -> Result<(), Error> {
        let own = format!("net/ipv4/conf/{interface}/rp_filter");
        let values = [
            sysctl::read(&own)?,
            sysctl::read("net/ipv4/conf/all/rp_filter")?,
        ];
        if values.iter().max().is_some_and(|largest| largest == "1") {
            self.set(&own, "2")?;
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        self.writes += u64::from(sysctl::ensure(key, value)?);
        Ok(())
    }
}
