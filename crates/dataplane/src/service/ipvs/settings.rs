use std::time::Duration;

use ipnet::IpNet;

/// What only mode `ipvs` wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpvsSettings {
    /// The scheduler of virtual servers whose endpoints weigh the same; where
    /// they do not, `rr` becomes `wrr` and `lc` becomes `wlc`.
    pub scheduler: Box<str>,
    /// Virtual servers at addresses in these prefixes are not ours, whatever
    /// else speaks for it.
    pub exclude: Vec<IpNet>,
    /// Whether the node answers ARP only for addresses of the interface that
    /// was asked: needed beside an announcer of load balancer addresses.
    pub strict_arp: bool,
    /// How long an established TCP connection is remembered, where not as the
    /// kernel has it.
    pub tcp_timeout: Option<Duration>,
    /// The same for a TCP connection after a FIN.
    pub tcp_fin_timeout: Option<Duration>,
    /// The same for UDP.
    pub udp_timeout: Option<Duration>,
}

impl Default for IpvsSettings {
    /// As kube-proxy's.
    fn default() -> Self {
        Self {
            scheduler: "rr".into(),
            exclude: Vec::new(),
            strict_arp: false,
            tcp_timeout: None,
            tcp_fin_timeout: None,
            udp_timeout: None,
        }
    }
}
