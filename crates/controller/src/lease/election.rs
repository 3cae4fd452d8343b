use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};

/// What a replica has seen of the Lease.
pub(super) struct Election {
    identity: String,
    seen: Option<(LeaseSpec, Instant)>,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is nobody's, or has run out.
    Take,
    /// It is ours.
    Renew,
    /// It is somebody else's.
    Wait,
}

/// A Lease without a duration, which none of ours is.
const DEFAULT: Duration = Duration::from_secs(15);

impl Election {
    pub(super) fn new(identity: &str) -> Self {
        Self {
            identity: identity.to_owned(),
            seen: None,
        }
    }

    pub(super) fn turn(&mut self, lease: Option<&Lease>, now: Instant) -> Turn {
        let spec = lease.and_then(|lease| lease.spec.as_ref());
        let held = spec.and_then(|spec| Some((spec, spec.holder_identity.as_deref()?)));
        let Some((spec, holder)) = held.filter(|(_, holder)| !holder.is_empty()) else {
            return Turn::Take;
        };
        if holder == self.identity {
            return Turn::Renew;
        }
        match &self.seen {
            Some((seen, since)) if seen == spec => {
                let seconds = spec
                    .lease_duration_seconds
                    .and_then(|s| u64::try_from(s).ok());
                let duration = seconds.map_or(DEFAULT, Duration::from_secs);
                if now.duration_since(*since) > duration {
                    return Turn::Take;
                }
            }
            _ => self.seen = Some((spec.clone(), now)),
        }
        Turn::Wait
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn lease(holder: Option<&str>, renewed: i64) -> Lease {
        let time = Timestamp::from_second(renewed).unwrap();
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                lease_duration_seconds: Some(15),
                renew_time: Some(MicroTime(time)),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    #[test]
    fn a_lease_runs_out_when_it_has_not_changed_for_its_duration() {
        let start = Instant::now();
        let mut election = Election::new("b");
        for (seconds, lease, expected) in [
            (0, None, Turn::Take),
            (0, Some(lease(None, 0)), Turn::Take),
            (0, Some(lease(Some(""), 0)), Turn::Take),
            (0, Some(lease(Some("b"), 0)), Turn::Renew),
            // Whatever the other's clock says.
            (0, Some(lease(Some("a"), -9999)), Turn::Wait),
            (15, Some(lease(Some("a"), -9999)), Turn::Wait),
            (15, Some(lease(Some("a"), -9998)), Turn::Wait),
            (30, Some(lease(Some("a"), -9998)), Turn::Wait),
            (31, Some(lease(Some("a"), -9998)), Turn::Take),
            // A third replica took it.
            (32, Some(lease(Some("c"), 5)), Turn::Wait),
            (47, Some(lease(Some("c"), 5)), Turn::Wait),
            (48, Some(lease(Some("c"), 5)), Turn::Take),
        ] {
            let now = start + Duration::from_secs(seconds);
            let turn = election.turn(lease.as_ref(), now);
            assert_eq!(turn, expected, "{seconds}: {lease:?}");
        }
    }
}
