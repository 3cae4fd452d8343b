//! Effects: netlink, nftables, namespaces, sysctls. The only crate with unsafe.
