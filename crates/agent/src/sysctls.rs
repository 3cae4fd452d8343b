//! Kernel parameters of the connection table.
//!
//! What an operator has raised is never lowered. kube-proxy writes its own value
//! whenever the kernel's differs, and so undoes what was set before it started.

use podway_kernel::sysctl;

use crate::config::{Configuration, Conntrack};
use crate::feature::chain;

/// No more flows than this for the number of processors alone: each takes some
/// 300 bytes. Who asks for more with `min` gets it.
const MOST_BY_CORES: u64 = 1_048_576;

/// What there is to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    key: &'static str,
    value: u64,
    /// The kernel's own default, where ours may be less than it.
    default: Option<u64>,
}

/// Sets the parameters that a configuration asks for.
pub fn set(config: &Configuration) {
    apply(&config.services.conntrack);
}

/// Sets what the configuration asks for. What cannot be set is logged: in a
/// container `/proc/sys` may be read-only, and in a network namespace some of
/// these are not its own.
pub(crate) fn apply(config: &Conntrack) {
    for wanted in wanted(config, processors()) {
        let outcome = write(wanted);
        let Wanted { key, value, .. } = wanted;
        match outcome {
            Ok(true) => tracing::info!(key, value, "kernel parameter set"),
            Ok(false) => {}
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(key, value, error, "kernel parameter not set");
            }
        }
    }
    if let Some(most) = most_flows(config, processors())
        && let Err(error) = grow_buckets(most / 4)
    {
        tracing::warn!(%error, "the connection table's hash stays as small as it is");
    }
}

fn most_flows(config: &Conntrack, processors: u64) -> Option<u64> {
    if config.max_per_core == 0 {
        return None;
    }
    let by_cores = u64::from(config.max_per_core).saturating_mul(processors);
    Some(by_cores.min(MOST_BY_CORES).max(config.min.into()))
}

fn wanted(config: &Conntrack, processors: u64) -> Vec<Wanted> {
    let timeout = |key, seconds: u32, default| Wanted {
        key,
        value: seconds.into(),
        default: Some(default),
    };
    let mut all = vec![
        timeout(
            "net/netfilter/nf_conntrack_tcp_timeout_established",
            config.tcp_established_seconds,
            432_000,
        ),
        timeout(
            "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
            config.tcp_close_wait_seconds,
            60,
        ),
        timeout(
            "net/netfilter/nf_conntrack_udp_timeout",
            config.udp_seconds,
            30,
        ),
        timeout(
            "net/netfilter/nf_conntrack_udp_timeout_stream",
            config.udp_stream_seconds,
            120,
        ),
        Wanted {
            key: "net/netfilter/nf_conntrack_tcp_be_liberal",
            value: config.tcp_be_liberal.into(),
            default: None,
        },
        Wanted {
            key: "net/netfilter/nf_conntrack_max",
            value: most_flows(config, processors).unwrap_or(0),
            default: None,
        },
    ];
    all.retain(|wanted| wanted.value > 0);
    all
}

/// Raises it; or lowers it, where it is as the kernel comes with.
fn write(wanted: Wanted) -> Result<bool, sysctl::Error> {
    let is_default = match wanted.default {
        Some(default) => sysctl::read(wanted.key)? == default.to_string(),
        None => false,
    };
    if is_default {
        sysctl::ensure(wanted.key, &wanted.value.to_string())
    } else {
        sysctl::raise(wanted.key, wanted.value)
    }
}

/// A table of more than four flows to a bucket is slow to search.
fn grow_buckets(wanted: u64) -> std::io::Result<()> {
    const BUCKETS: &str = "/sys/module/nf_conntrack/parameters/hashsize";
    let text = std::fs::read_to_string(BUCKETS)?;
    if text.trim().parse().is_ok_and(|held: u64| held < wanted) {
        std::fs::write(BUCKETS, wanted.to_string())?;
    }
    Ok(())
}

/// Of the machine, whatever this process may use.
fn processors() -> u64 {
    let online = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN);
    let online = online.ok().flatten();
    online
        .and_then(|count| u64::try_from(count).ok())
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use podway_kernel::netns::NetNs;

    use super::*;

    #[test]
    fn room_for_flows_follows_processors_and_the_least() {
        for (per_core, min, processors, expected) in [
            (32_768, 131_072, 2, Some(131_072)),
            (32_768, 131_072, 8, Some(262_144)),
            (32_768, 131_072, 64, Some(1_048_576)),
            (32_768, 2_000_000, 64, Some(2_000_000)),
            (0, 131_072, 8, None),
        ] {
            let config = Conntrack {
                max_per_core: per_core,
                min,
                ..Conntrack::default()
            };
            assert_eq!(most_flows(&config, processors), expected, "{config:?}");
        }
    }

    #[test]
    fn nothing_is_asked_for_by_default() {
        assert_eq!(wanted(&Conntrack::default(), 8), []);
    }

    #[test]
    fn what_an_operator_raised_is_not_lowered() {
        const KEY: &str = "net/netfilter/nf_conntrack_tcp_timeout_established";
        let config = Conntrack {
            tcp_established_seconds: 86_400,
            ..Conntrack::default()
        };
        let namespace = NetNs::anonymous().expect("run as root");
        let after = |before: &'static str| {
            let ran = namespace.run(|| {
                sysctl::write(KEY, before).unwrap();
                apply(&config);
                sysctl::read(KEY).unwrap()
            });
            ran.unwrap()
        };
        assert_eq!(after("432000"), "86400", "the kernel's default");
        assert_eq!(after("600"), "86400", "less");
        assert_eq!(after("500000"), "500000", "more");
    }
}
