//! Answers that are what was asked for.

use std::marker::PhantomData;

use poem::http::{HeaderName, HeaderValue, StatusCode, header};
use poem::{Body, IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::Type;
use serde::Serialize;

use crate::wire::to_json;

const JSON: &str = "application/json";

/// A JSON answer that the document describes as `T`.
pub(crate) struct Answer<T, const STATUS: u16 = 200> {
    body: Vec<u8>,
    headers: Vec<(HeaderName, HeaderValue)>,
    described: PhantomData<fn() -> T>,
}

impl<T: Type, const STATUS: u16> Answer<T, STATUS> {
    /// Writes an answer. `shape` is `T` itself, or something that is written as `T` is described.
    pub(crate) fn new(shape: &impl Serialize) -> Self {
        Self {
            body: to_json(shape).into_bytes(),
            headers: Vec::new(),
            described: PhantomData,
        }
    }

    /// Returns what is in it.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Puts the same into it in another coding.
    pub(crate) fn recoded(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    /// Adds a header.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl<T: Type, const STATUS: u16> IntoResponse for Answer<T, STATUS> {
    fn into_response(self) -> Response {
        let mut response = Response::builder()
            .status(StatusCode::from_u16(STATUS).unwrap_or_default())
            .content_type(JSON)
            .body(Body::from_vec(self.body));
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}

impl<T: Type, const STATUS: u16> ApiResponse for Answer<T, STATUS> {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![json_response::<T>(STATUS, "What was asked for.")],
        }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// Describes a JSON answer.
pub(crate) fn json_response<T: Type>(status: u16, description: &'static str) -> MetaResponse {
    MetaResponse {
        description,
        status: Some(status),
        status_range: None,
        content: vec![MetaMediaType {
            content_type: JSON,
            schema: T::schema_ref(),
        }],
        headers: Vec::new(),
    }
}

/// Describes an answer of another media type.
pub(crate) fn text_response(content_type: &'static str, description: &'static str) -> MetaResponse {
    MetaResponse {
        description,
        status: Some(200),
        status_range: None,
        content: vec![MetaMediaType {
            content_type,
            schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new("string"))),
        }],
        headers: Vec::new(),
    }
}

/// Describes an answer without a body.
pub(crate) fn empty_response(status: u16, description: &'static str) -> MetaResponse {
    MetaResponse {
        description,
        status: Some(status),
        status_range: None,
        content: Vec::new(),
        headers: Vec::new(),
    }
}

/// Describes each status once: what was asked for and a problem can share one, and a header that only one of them
/// always has is one that may be there.
pub(crate) fn merge_statuses(responses: &mut MetaResponses) {
    let mut merged: Vec<MetaResponse> = Vec::new();
    for mut response in responses.responses.drain(..) {
        let Some(known) = merged.iter_mut().find(|known| known.status == response.status) else {
            merged.push(response);
            continue;
        };
        known.description = format!("{}\n\n{}", known.description, response.description).leak();
        known.content.append(&mut response.content);
        known.headers.append(&mut response.headers);
        known
            .headers
            .iter_mut()
            .for_each(|header| header.required = false);
    }
    responses.responses = merged;
}

/// Describes a header of an answer.
pub(crate) fn header_of(name: &HeaderName, description: &str, always: bool) -> MetaHeader {
    MetaHeader {
        name: name.as_str().to_owned(),
        description: Some(description.to_owned()),
        required: always,
        deprecated: false,
        schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new("string"))),
    }
}

/// 204: done, and there is nothing to say.
pub(crate) struct Done;

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into()
    }
}

impl ApiResponse for Done {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![empty_response(204, "Done.")],
        }
    }

    fn register(_: &mut Registry) {}
}

/// Text that is made for a machine or a person to read as it is.
pub(crate) fn text(content_type: &'static str, body: impl Into<Body>) -> Response {
    Response::builder()
        .header(header::CONTENT_TYPE, content_type)
        .body(body.into())
}
