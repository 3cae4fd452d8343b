//! One route, pool or address as elements of maps.

use std::iter;
use std::net::IpAddr;

use ipnet::IpNet;
use podway_kernel::nft::{Data, Element, Part, Value};
use podway_model::IpFamily;
use podway_plan::service::{Frontend, Pool, PoolId, Reach, Route};

use super::flavour::{endpoint_ids, offset, slots};
use super::skeleton::{Kind, SetId};
use crate::service::parts::{Place, Scope, disjoint, endpoint_data, frontend_key};

/// Everything that one frontend has in the kernel.
pub(super) fn of_route<'t>(
    frontend: &Frontend,
    route: &Route,
    class: u32,
    pool: impl Fn(&PoolId) -> Option<&'t Pool>,
) -> Vec<(SetId, Element)> {
    let Scope { family, place } = Scope::of(frontend);
    let key = frontend_key(frontend);
    let set = |kind| SetId { family, kind };
    let frontend = Element::new(&key)
        .to(Data::values(&[Value::Class(class)]))
        .comment(&route.service.to_string());
    let mut elements = vec![(set(Kind::Frontends(place)), frontend)];
    for id in route.pools() {
        let Some(pool) = pool(id) else { continue };
        let put = |kind: Kind, element| elements.push((set(kind), element));
        if pool.affinity.is_some() {
            sticky(&key, id.reach, pool, place, put);
        } else {
            plain(&key, id.reach, pool, |element| {
                elements.push((set(Kind::Endpoints(place)), element));
            });
        }
    }
    let same_family = |prefix: &&IpNet| IpFamily::of(&prefix.addr()) == family;
    let allowed = route.allow_from.iter().flatten().filter(same_family);
    for prefix in disjoint(&allowed.copied().collect()) {
        let mut parts: Vec<Part> = key.iter().cloned().map(Part::Value).collect();
        parts.push(Part::Prefix(prefix));
        elements.push((set(Kind::Allowed(place)), Element::interval(&parts)));
    }
    elements
}

fn with(key: &[Value], last: Value) -> Vec<Value> {
    let mut values = key.to_vec();
    values.push(last);
    values
}

/// Index to endpoint.
fn plain(key: &[Value], reach: Reach, pool: &Pool, mut put: impl FnMut(Element)) {
    let slots = slots(pool);
    let endpoints = slots
        .iter()
        .flat_map(|(endpoint, count)| iter::repeat_n(*endpoint, *count));
    for (index, endpoint) in (offset(reach)..).zip(endpoints) {
        put(Element::new(&with(key, Value::Index(index))).to(endpoint_data(endpoint)));
    }
}

/// Index to id, and id to endpoint.
fn sticky(
    key: &[Value],
    reach: Reach,
    pool: &Pool,
    place: Place,
    mut put: impl FnMut(Kind, Element),
) {
    let slots = slots(pool);
    let ids = endpoint_ids(reach, &slots);
    let mut indexes = offset(reach)..;
    for ((endpoint, count), id) in slots.iter().zip(ids) {
        let id = Value::Class(id);
        for index in indexes.by_ref().take(*count) {
            let slot = Element::new(&with(key, Value::Index(index)));
            let data = Data::values(std::slice::from_ref(&id));
            put(Kind::Slots(place), slot.to(data));
        }
        put(
            Kind::StickyEndpoints(place),
            Element::new(&with(key, id)).to(endpoint_data(*endpoint)),
        );
    }
}

pub(super) fn of_cluster_ip(address: IpAddr) -> (SetId, Element) {
    let set = SetId {
        family: IpFamily::of(&address),
        kind: Kind::ClusterIps,
    };
    (set, Element::new(&[address.into()]))
}

pub(super) fn of_service_prefix(prefix: IpNet) -> (SetId, Element) {
    let set = SetId {
        family: IpFamily::of(&prefix.addr()),
        kind: Kind::ServicePrefixes,
    };
    (set, Element::interval(&[Part::Prefix(prefix)]))
}

/// An endpoint of this node may connect to itself.
pub(super) fn of_hairpin(address: IpAddr) -> (SetId, Element) {
    let set = SetId {
        family: IpFamily::of(&address),
        kind: Kind::Hairpin,
    };
    (set, Element::new(&[address.into(), address.into()]))
}
