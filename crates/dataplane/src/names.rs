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
