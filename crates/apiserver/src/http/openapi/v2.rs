//! OpenAPI v2 in protobuf (gnostic's `openapi.v2.Document`), which is the only
//! thing that kubectl up to 1.28 asks before it writes: does the server
//! validate fields of this kind itself? Nothing else is in it.

use bytes::Bytes;

use super::{collection_url, group_version_kind};
use crate::kinds::{Kind, Kinds};

/// What clients ask for.
pub(in crate::http) const ASKED: &str =
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// What they are answered: `@` is not allowed in a media type, and they parse
/// this one strictly.
pub(in crate::http) const ANSWERED: &str =
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Field numbers of the messages, as in gnostic's OpenAPIv2.proto.
mod field {
    pub(super) const DOCUMENT_SWAGGER: u8 = 1;
    pub(super) const DOCUMENT_INFO: u8 = 2;
    pub(super) const DOCUMENT_PATHS: u8 = 8;
    pub(super) const INFO_TITLE: u8 = 1;
    pub(super) const INFO_VERSION: u8 = 2;
    pub(super) const PATHS_PATH: u8 = 2;
    pub(super) const NAMED_NAME: u8 = 1;
    pub(super) const NAMED_VALUE: u8 = 2;
    pub(super) const PATH_ITEM_POST: u8 = 4;
    pub(super) const PATH_ITEM_PATCH: u8 = 8;
    pub(super) const OPERATION_PARAMETERS: u8 = 8;
    pub(super) const OPERATION_EXTENSION: u8 = 13;
    pub(super) const PARAMETERS_ITEM_PARAMETER: u8 = 1;
    pub(super) const PARAMETER_NON_BODY: u8 = 2;
    pub(super) const NON_BODY_QUERY: u8 = 3;
    pub(super) const QUERY_IN: u8 = 2;
    pub(super) const QUERY_NAME: u8 = 4;
    pub(super) const QUERY_TYPE: u8 = 6;
    pub(super) const ANY_YAML: u8 = 2;
}

/// A protobuf message under construction: all its fields are length-delimited.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn bytes(mut self, field: u8, content: &[u8]) -> Message {
        const LENGTH_DELIMITED: u8 = 2;
        self.0.push(field << 3 | LENGTH_DELIMITED);
        let mut length = content.len();
        while length >= 0x80 {
            // The low seven bits and a mark that more follow.
            self.0.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        self.0.push(length as u8);
        self.0.extend_from_slice(content);
        self
    }

    fn text(self, field: u8, content: &str) -> Message {
        self.bytes(field, content.as_bytes())
    }

    fn message(self, field: u8, content: &Message) -> Message {
        self.bytes(field, &content.0)
    }
}

/// The whole document.
pub(in crate::http) fn document(kinds: &Kinds) -> Bytes {
    let info = Message::default()
        .text(field::INFO_TITLE, "Podway")
        .text(field::INFO_VERSION, "v1.33.0");
    let paths = kinds.iter().fold(Message::default(), |paths, kind| {
        let collection = collection_url(kind);
        let object = format!("{collection}/{{name}}");
        paths
            .message(
                field::PATHS_PATH,
                &path(&collection, field::PATH_ITEM_POST, kind),
            )
            .message(
                field::PATHS_PATH,
                &path(&object, field::PATH_ITEM_PATCH, kind),
            )
    });
    let document = Message::default()
        .text(field::DOCUMENT_SWAGGER, "2.0")
        .message(field::DOCUMENT_INFO, &info)
        .message(field::DOCUMENT_PATHS, &paths);
    Bytes::from(document.0)
}

fn path(url: &str, method: u8, kind: &Kind) -> Message {
    let item = Message::default().message(method, &operation(kind));
    named(url, &item)
}

fn named(name: &str, value: &Message) -> Message {
    Message::default()
        .text(field::NAMED_NAME, name)
        .message(field::NAMED_VALUE, value)
}

fn operation(kind: &Kind) -> Message {
    // JSON is YAML.
    let yaml = group_version_kind(kind).to_string();
    let extension = Message::default().text(field::ANY_YAML, &yaml);
    let parameters = ["dryRun", "fieldManager", "fieldValidation"];
    let operation = parameters
        .into_iter()
        .fold(Message::default(), |operation, name| {
            operation.message(field::OPERATION_PARAMETERS, &query_parameter(name))
        });
    operation.message(
        field::OPERATION_EXTENSION,
        &named("x-kubernetes-group-version-kind", &extension),
    )
}

fn query_parameter(name: &str) -> Message {
    let query = Message::default()
        .text(field::QUERY_IN, "query")
        .text(field::QUERY_NAME, name)
        .text(field::QUERY_TYPE, "string");
    let non_body = Message::default().message(field::NON_BODY_QUERY, &query);
    let parameter = Message::default().message(field::PARAMETER_NON_BODY, &non_body);
    Message::default().message(field::PARAMETERS_ITEM_PARAMETER, &parameter)
}
