//! Which scheduler a pool has.

use std::time::Duration;

use podway_kernel::ipvs::Scheduling;

/// Schedulers that do not know weights, each with the one that does the same and
/// knows them.
const WEIGHTED: [(&str, &str); 2] = [("rr", "wrr"), ("lc", "wlc")];

/// How a virtual server chooses among endpoints, which weigh the same or not.
pub(super) fn scheduling(default: &str, is_even: bool, affinity: Option<Duration>) -> Scheduling {
    let weighted = WEIGHTED.iter().find(|(plain, _)| *plain == default);
    let scheduler = match weighted {
        Some((_, weighted)) if !is_even => weighted,
        _ => default,
    };
    Scheduling {
        persistence: affinity,
        // Connections of one client are spread as well.
        flag_2: scheduler == "mh",
        ..Scheduling::by(scheduler)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_counted_where_they_differ() {
        for (default, is_even, name) in [
            ("rr", true, "rr"),
            ("rr", false, "wrr"),
            ("lc", false, "wlc"),
            ("sh", false, "sh"),
            ("mh", true, "mh"),
        ] {
            let scheduling = scheduling(default, is_even, None);
            assert_eq!(&*scheduling.scheduler, name);
            assert_eq!(scheduling.flag_2, name == "mh");
        }
    }
}
