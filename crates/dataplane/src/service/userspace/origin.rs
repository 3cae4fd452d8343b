//! Who a connection of the proxy seems to come from.

use std::net::SocketAddr;

use podway_kernel::socket::Origin;
use podway_plan::service::{Destination, Source};

use crate::names::{MASQUERADE_MARK, PROXIED_MARK};

/// How the proxy connects to an endpoint for a client, so that the endpoint sees
/// what it would see without a proxy.
///
/// Also where the source becomes the node's, the proxy sends as the client, and
/// the kernel masquerades: so policies judge whom the connection is really from.
/// Not where the client is the node itself (its port is taken, by itself, and
/// loopback addresses must not leave the host): then the node connects.
pub(super) fn origin(source: Source, client: SocketAddr, to: &Destination<'_>) -> Origin {
    let node_itself = Origin {
        source: None,
        mark: PROXIED_MARK,
    };
    let masquerade = to.masquerade || is_lost(source, to);
    match source {
        Source::Node if masquerade || client.ip().is_loopback() => node_itself,
        _ => Origin {
            source: Some(client),
            mark: if masquerade {
                PROXIED_MARK | MASQUERADE_MARK
            } else {
                PROXIED_MARK
            },
        },
    }
}

/// Whether replies to the client's own address would not pass this node: neither
/// end is on it. The kernel's modes keep the source all the same, and rely on
/// who sent the packet here; a proxy needs the replies.
fn is_lost(source: Source, to: &Destination<'_>) -> bool {
    source == Source::Outside && !to.endpoint.local
}

#[cfg(test)]
mod tests {
    use podway_plan::service::PoolEndpoint;

    use super::*;

    #[test]
    fn the_source_is_kept_where_replies_come_back() {
        let client: SocketAddr = "10.244.1.20:40000".parse().unwrap();
        let loopback: SocketAddr = "127.0.0.1:40000".parse().unwrap();
        let kept = (true, PROXIED_MARK);
        let hidden = (true, PROXIED_MARK | MASQUERADE_MARK);
        let own = (false, PROXIED_MARK);
        // Who from, masquerade, endpoint on this node: as whom, with which mark.
        for (source, client, masquerade, local, expected) in [
            (Source::Pod, client, false, true, kept),
            (Source::Pod, client, false, false, kept),
            (Source::Pod, client, true, false, hidden),
            (Source::Outside, client, false, true, kept),
            (Source::Outside, client, false, false, hidden),
            (Source::Outside, client, true, true, hidden),
            (Source::Node, client, false, false, kept),
            (Source::Node, client, true, true, own),
            (Source::Node, loopback, false, true, own),
        ] {
            let endpoint = PoolEndpoint {
                pod: None,
                local,
                weight: PoolEndpoint::FULL_WEIGHT,
            };
            let to = Destination {
                address: "10.244.1.10:80".parse().unwrap(),
                endpoint: &endpoint,
                masquerade,
            };
            let origin = origin(source, client, &to);
            let (is_client, mark) = expected;
            let expected = Origin {
                source: is_client.then_some(client),
                mark,
            };
            assert_eq!(origin, expected, "{source:?} {masquerade} {local}");
        }
    }
}
