//! Which form of an answer the client takes.

use hyper::HeaderMap;
use hyper::header::ACCEPT;

use crate::status::Status;
use crate::table::{Rows, Style};

/// A form of objects and lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are.
    Object,
    /// `Table`: rows for people.
    Table(Style),
    /// `PartialObjectMetadata` of this version: without spec and status.
    Metadata(&'static str),
}

/// One entry of an Accept header.
pub(super) struct Offer<'h> {
    pub(super) media: &'h str,
    parameters: Vec<(&'h str, &'h str)>,
}

impl Offer<'_> {
    /// The value of a parameter (`as`, `v`, `g`), empty if absent.
    pub(super) fn parameter(&self, name: &str) -> &str {
        let found = self.parameters.iter().find(|(key, _)| *key == name);
        found.map_or("", |(_, value)| value)
    }

    /// Whether JSON satisfies it.
    pub(super) fn takes_json(&self) -> bool {
        matches!(self.media, "application/json" | "application/*" | "*/*")
    }
}

/// The entries of the Accept header in the client's order; none if there is no
/// header.
pub(super) fn offers(headers: &HeaderMap) -> Vec<Offer<'_>> {
    let text = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let entries = text
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let mut parts = entry.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parameters = parts.filter_map(|part| part.split_once('=')).collect();
            Offer { media, parameters }
        })
        .collect()
}

/// The first form that the client offers and the server has.
///
/// `include_object` is the query's `includeObject`: what comes with a row.
pub(super) fn form(headers: &HeaderMap, include_object: Option<&str>) -> Result<Form, Status> {
    let rows = match include_object {
        None | Some("" | "Metadata") => Rows::Metadata,
        Some("Object") => Rows::Object,
        Some("None") => Rows::Bare,
        Some(other) => {
            let text =
                format!("includeObject: {other:?} is not \"None\", \"Metadata\" or \"Object\"");
            return Err(Status::bad_request(text));
        }
    };
    let offers = offers(headers);
    if offers.is_empty() {
        return Ok(Form::Object);
    }
    offers
        .iter()
        .filter(|offer| offer.takes_json())
        .find_map(|offer| known_form(offer, rows))
        .ok_or_else(|| {
            let message = "only the following media types are accepted: application/json, \
                       application/json;as=Table;v=v1;g=meta.k8s.io, \
                       application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
            Status::new(406, "NotAcceptable", message)
        })
}

fn known_form(offer: &Offer<'_>, rows: Rows) -> Option<Form> {
    let version = match offer.parameter("v") {
        "v1beta1" => "v1beta1",
        "v1" | "" => "v1",
        _ => return None,
    };
    match (offer.parameter("as"), offer.parameter("g")) {
        ("", _) => Some(Form::Object),
        ("Table", "meta.k8s.io") => Some(Form::Table(Style { version, rows })),
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io") => {
            Some(Form::Metadata(version))
        }
        _ => None,
    }
}
