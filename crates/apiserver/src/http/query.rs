//! Query parameters, and what lists, watches and writes read from them.

use axum::extract::Query as Pairs;

use crate::kinds::Kind;
use crate::selector::{FieldSelector, LabelSelector};
use crate::status::Status;
use crate::store::Object;

/// The parameters of one request.
#[derive(Debug, Default)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

/// Which objects of a collection are meant.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    /// Whether nothing is left out.
    pub(super) everything: bool,
}

/// What a write does with fields that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl Query {
    /// Parses the text after `?`. Clients send a leading `&` (kube-rs does).
    pub(super) fn parse(text: &str) -> Result<Query, Status> {
        let uri = format!("/?{text}")
            .parse()
            .map_err(|_| Status::bad_request("the query is not valid"))?;
        let pairs: Pairs<Vec<(String, String)>> = Pairs::try_from_uri(&uri)
            .map_err(|error| Status::bad_request(format!("the query is not valid: {error}")))?;
        Ok(Query { pairs: pairs.0 })
    }

    /// The first value of a parameter; an empty one counts as absent.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// A truth value as Go reads them; absent is false.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Status> {
        Ok(self.optional_flag(name)?.unwrap_or(false))
    }

    pub(super) fn optional_flag(&self, name: &str) -> Result<Option<bool>, Status> {
        match self.text(name) {
            None => Ok(None),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
            Some(other) => Err(invalid(name, other, "a boolean")),
        }
    }

    pub(super) fn number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>, Status> {
        self.text(name)
            .map(|text| text.parse().map_err(|_| invalid(name, text, "a number")))
            .transpose()
    }

    /// `dryRun=All`.
    pub(super) fn dry_run(&self) -> Result<bool, Status> {
        match self.text("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => Err(invalid("dryRun", other, "\"All\"")),
        }
    }

    pub(super) fn field_validation(&self) -> Result<FieldValidation, Status> {
        match self.text("fieldValidation") {
            None | Some("Warn") => Ok(FieldValidation::Warn),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some(other) => Err(invalid(
                "fieldValidation",
                other,
                "\"Ignore\", \"Warn\" or \"Strict\"",
            )),
        }
    }

    /// `labelSelector` and `fieldSelector`.
    pub(super) fn selection(&self, kind: &Kind) -> Result<Selection, Status> {
        let refused =
            |error: crate::selector::SelectorError| Status::bad_request(error.to_string());
        let labels = self.text("labelSelector").unwrap_or_default();
        let fields = self.text("fieldSelector").unwrap_or_default();
        Ok(Selection {
            labels: LabelSelector::parse(labels).map_err(refused)?,
            fields: FieldSelector::parse(kind, fields).map_err(refused)?,
            everything: labels.is_empty() && fields.is_empty(),
        })
    }
}

impl Selection {
    pub(super) fn matches(&self, object: &Object) -> bool {
        self.everything
            || (self.labels.matches(object.value()) && self.fields.matches(object.value()))
    }
}

fn invalid(name: &str, value: &str, wanted: &str) -> Status {
    Status::bad_request(format!(
        "invalid query parameter {name}: {value:?} is not {wanted}"
    ))
}
