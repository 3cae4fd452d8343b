//! Endpoints into slices of limited size with as few writes as possible: every
//! watcher of slices receives every slice that is written.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use sha2::{Digest, Sha256};

use super::{Write, encode, slice_kind};

/// The most endpoints that one slice holds (kube-controller-manager's default).
pub(super) const SLICE_MAX: usize = 100;

/// Endpoints that can share slices: one address type and one set of ports.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) address_type: String,
    pub(super) ports: Vec<EndpointPort>,
    pub(super) members: Vec<Member>,
}

/// One endpoint, with what makes it the same one when something else changes.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// The pod's uid, or an address.
    pub(super) key: String,
    pub(super) endpoint: Endpoint,
}

impl Group {
    /// A family that the service has, with or without endpoints.
    pub(super) fn empty(address_type: &str) -> Self {
        Self {
            address_type: address_type.to_owned(),
            ports: Vec::new(),
            members: Vec::new(),
        }
    }
}

/// What every slice of a service has.
#[derive(Debug, Clone)]
pub(super) struct Template {
    pub(super) namespace: String,
    pub(super) service: String,
    pub(super) owner: OwnerReference,
    pub(super) labels: BTreeMap<String, String>,
    /// `None` leaves the annotations of existing slices alone.
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

/// A slice in work: an existing one, or one to be made.
struct Draft {
    /// As it is stored, if it is.
    stored: Option<EndpointSlice>,
    slice: EndpointSlice,
}

impl Draft {
    fn is_changed(&self) -> bool {
        self.stored.as_ref() != Some(&self.slice)
    }

    fn room(&self) -> usize {
        SLICE_MAX.saturating_sub(self.slice.endpoints.len())
    }
}

/// The writes that make `existing` hold the groups.
///
/// Endpoints stay in the slice they are in. New ones go to slices that change
/// anyway, then to one with room for all, then to new slices; a slice that is
/// not needed any more is refilled before another is made.
pub(super) fn pack(
    template: &Template,
    groups: Vec<Group>,
    mut existing: Vec<EndpointSlice>,
) -> Vec<Write> {
    let families: BTreeSet<String> = groups.iter().map(|g| g.address_type.clone()).collect();
    let names = existing
        .iter()
        .filter_map(|slice| slice.metadata.name.clone());
    let mut used: BTreeSet<String> = names.collect();
    let (mut kept, mut spare): (Vec<Draft>, Vec<EndpointSlice>) = (Vec::new(), Vec::new());
    let mut unplaced = Vec::new();
    for mut group in groups {
        let is_of_group = |slice: &mut EndpointSlice| {
            slice.address_type == group.address_type
                && slice.ports.as_deref().unwrap_or_default() == group.ports
        };
        let slices: Vec<EndpointSlice> = existing.extract_if(.., is_of_group).collect();
        let members = std::mem::take(&mut group.members);
        let (mut drafts, new) = retain(members, slices, template);
        let emptied = drafts.extract_if(.., |draft| draft.slice.endpoints.is_empty());
        spare.extend(emptied.filter_map(|draft| draft.stored));
        unplaced.push((group, place(new, &mut drafts)));
        kept.extend(drafts);
    }
    spare.append(&mut existing);
    for (group, endpoints) in unplaced {
        for chunk in endpoints.chunks(SLICE_MAX) {
            let draft = draft(template, &group.address_type, &mut spare, &mut used);
            kept.push(filled(draft, group.ports.clone(), chunk.to_vec()));
        }
    }
    // A family without endpoints still has a slice, so that consumers can tell
    // "none" from "not yet known".
    for family in families {
        if !kept.iter().any(|draft| draft.slice.address_type == family) {
            let draft = draft(template, &family, &mut spare, &mut used);
            kept.push(filled(draft, Vec::new(), Vec::new()));
        }
    }
    writes(kept, spare)
}

/// The slices with those of their endpoints that are still wanted, brought up
/// to date, and the members that are in none of them.
fn retain(
    members: Vec<Member>,
    slices: Vec<EndpointSlice>,
    template: &Template,
) -> (Vec<Draft>, Vec<Endpoint>) {
    let mut order: Vec<String> = members.iter().map(|member| member.key.clone()).collect();
    let mut wanted: BTreeMap<String, Endpoint> = members
        .into_iter()
        .map(|member| (member.key, member.endpoint))
        .collect();
    let mut drafts = Vec::new();
    for stored in slices {
        let mut slice = stored.clone();
        dress(&mut slice, template);
        let endpoints = stored.endpoints.iter();
        slice.endpoints = endpoints
            .filter_map(|e| keys(e).find_map(|key| wanted.remove(key)))
            .collect();
        // A slice may be longer than the limit when somebody else wrote it.
        for surplus in slice
            .endpoints
            .split_off(slice.endpoints.len().min(SLICE_MAX))
        {
            let key = keys(&surplus).next().map(str::to_owned).unwrap_or_default();
            order.push(key.clone());
            wanted.insert(key, surplus);
        }
        drafts.push(Draft {
            stored: Some(stored),
            slice,
        });
    }
    let new = order.iter().filter_map(|key| wanted.remove(key)).collect();
    (drafts, new)
}

/// What a stored endpoint may be known as.
fn keys(endpoint: &Endpoint) -> impl Iterator<Item = &str> {
    let uid = endpoint
        .target_ref
        .as_ref()
        .and_then(|reference| reference.uid.as_deref());
    uid.into_iter()
        .chain(endpoint.addresses.first().map(String::as_str))
}

/// New endpoints into slices that change anyway, and the rest, if it is less
/// than a slice, into the fullest one with room for it. Returns what is left.
fn place(mut new: Vec<Endpoint>, drafts: &mut [Draft]) -> Vec<Endpoint> {
    for draft in drafts.iter_mut().filter(|draft| draft.is_changed()) {
        let count = draft.room().min(new.len());
        draft.slice.endpoints.extend(new.drain(..count));
    }
    let rest = new.len() % SLICE_MAX;
    let fits = drafts
        .iter_mut()
        .filter(|draft| rest > 0 && draft.room() >= rest);
    if let Some(draft) = fits.min_by_key(|draft| draft.room()) {
        draft.slice.endpoints.extend(new.drain(..rest));
    }
    new
}

/// A slice of the family that nobody needs, or a new one.
fn draft(
    template: &Template,
    family: &str,
    spare: &mut Vec<EndpointSlice>,
    used: &mut BTreeSet<String>,
) -> Draft {
    let reusable = spare.iter().position(|slice| slice.address_type == family);
    let stored = reusable.map(|index| spare.remove(index));
    let mut slice = stored.clone().unwrap_or_else(|| EndpointSlice {
        address_type: family.to_owned(),
        metadata: ObjectMeta {
            name: Some(free_name(template, family, used)),
            namespace: Some(template.namespace.clone()),
            ..ObjectMeta::default()
        },
        ..EndpointSlice::default()
    });
    dress(&mut slice, template);
    Draft { stored, slice }
}

fn filled(mut draft: Draft, ports: Vec<EndpointPort>, endpoints: Vec<Endpoint>) -> Draft {
    draft.slice.endpoints = endpoints;
    draft.slice.ports = (!ports.is_empty()).then_some(ports);
    draft
}

fn dress(slice: &mut EndpointSlice, template: &Template) {
    slice.metadata.labels = Some(template.labels.clone());
    slice.metadata.owner_references = Some(vec![template.owner.clone()]);
    if let Some(annotations) = &template.annotations {
        slice.metadata.annotations = (!annotations.is_empty()).then(|| annotations.clone());
    }
}

/// `service-` and five letters, as generateName would make it, but from a hash:
/// the same state gives the same writes.
fn free_name(template: &Template, family: &str, used: &mut BTreeSet<String>) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut attempt = 0_u32;
    loop {
        let seed = format!("{}/{family}/{attempt}", template.owner.uid);
        let digest = Sha256::digest(seed.as_bytes());
        let suffix = digest
            .iter()
            .take(5)
            .map(|b| LETTERS[usize::from(*b) % LETTERS.len()]);
        let suffix: String = suffix.map(char::from).collect();
        let name = format!("{}-{suffix}", template.service);
        if used.insert(name.clone()) {
            return name;
        }
        attempt += 1;
    }
}

fn writes(drafts: Vec<Draft>, spare: Vec<EndpointSlice>) -> Vec<Write> {
    let written = drafts.into_iter().filter(Draft::is_changed).map(|draft| {
        let value = encode(&draft.slice);
        match draft.stored {
            Some(_) => Write::Update(slice_kind(), value),
            None => Write::Create(slice_kind(), value),
        }
    });
    let deleted = spare.into_iter().filter_map(|slice| slice.metadata.name);
    written
        .chain(deleted.map(|name| Write::Delete(slice_kind(), name)))
        .collect()
}
