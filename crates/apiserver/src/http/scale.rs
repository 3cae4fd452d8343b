//! `/scale` of an object.

use hyper::Method;

use super::body::{self, media_type};
use super::{Answer, Api, Call, respond};
use crate::kinds::{self, Part};
use crate::patch::PatchType;
use crate::rest::{Change, Content, scale_of};
use crate::status::Status;

impl Api {
    pub(super) async fn scale(&self, call: Call) -> Answer {
        if call.parts.method == Method::GET {
            let target = &call.path.target;
            let scale = scale_of(target, &*self.find(target)?)?;
            return Ok(respond::json(200, &scale));
        }
        let validation = call.query.field_validation()?;
        let (author, dry_run) = (Some(call.author()?), call.query.dry_run()?);
        let (content, mut heard) = match call.parts.method {
            Method::PUT => {
                let headers = &call.parts.headers;
                let read = body::object(kinds::scale(), headers, call.body, validation).await?;
                (Content::Object(read.0), read.1)
            }
            Method::PATCH => {
                let format = PatchType::from_content_type(media_type(&call.parts.headers));
                let format = format.ok_or_else(|| {
                    Status::unsupported_media_type(format!(
                        "the media types of patches to a scale are: {}",
                        PatchType::CONTENT_TYPES.join(", ")
                    ))
                })?;
                (
                    Content::Patch(format, body::read(call.body).await?),
                    Vec::new(),
                )
            }
            _ => return Err(Status::method_not_allowed()),
        };
        let change = Change {
            content,
            part: Part::Object,
            strict: false,
            author,
        };
        let scaled = self
            .registry
            .scale(call.path.target, change, dry_run)
            .await?;
        heard.extend(body::warnings(scaled.1, validation));
        let mut response = respond::json(200, &scaled.0);
        respond::warn(&mut response, &heard);
        Ok(response)
    }
}
