//! What our objects in the kernel are called, and the bits of the packet mark
//! that we use: everything that a person or another program may meet.

/// nf_tables table (family inet) of the services.
pub const SERVICE_TABLE: &str = "podway-services";

/// nf_tables table (family inet) of the network policies.
pub const POLICY_TABLE: &str = "podway-policies";

/// nf_tables table (family inet) of the masquerade for pods that leave the
/// cluster.
pub const MASQUERADE_TABLE: &str = "podway-masquerade";

/// The bit of the packet mark that says: the source becomes the node's. The bit
/// that kube-proxy uses by default, so that what knows one knows the other.
pub const MASQUERADE_MARK: u32 = 0x4000;

/// nf_tables table (family inet) that keeps established connections going while
/// one proxy mode takes another's place.
pub const ANCHOR_TABLE: &str = "podway-anchor";

/// nf_tables table (family inet) by which connections come to the proxy of mode
/// `userspace`.
pub const PROXY_TABLE: &str = "podway-proxy";

/// The same for node ports at loopback addresses beside the other modes.
pub const LOOPBACK_TABLE: &str = "podway-loopback";

/// The bit of the packet mark, and of the connection mark, that says: the packet
/// is for the proxy, which is in this host. A rule of policy routing sends it to
/// [`PROXY_ROUTES`].
pub const STEERED_MARK: u32 = 0x400;

/// The bit of the packet mark, and of the connection mark, that says: the proxy
/// has sent the packet.
pub const PROXIED_MARK: u32 = 0x800;

/// The routing table whose one route takes every address for this host's.
pub const PROXY_ROUTES: u32 = 4242;

/// The priority of the rule of policy routing that leads to [`PROXY_ROUTES`].
pub const PROXY_RULE: u32 = 4242;
