//! Parameters in the query, in the path and in headers.

use std::fmt::Display;

use domain::channel::Channel;
use domain::cursor::Cursor;
use domain::ids::UserId;
use domain::notification::{FieldError, NotificationType, Priority};
use poem::http::HeaderValue;
use poem::{Request, RequestBody, Result};
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::http::problem::Problem;
use crate::http::schema;

/// What a parameter's texts can be read as.
pub(crate) trait FromTexts: Sized + Send {
    /// Describes what is taken.
    fn schema() -> MetaSchema;

    /// Reads the texts under the parameter's name, at least one; the error says what is taken instead.
    fn from_texts(texts: &[String]) -> Result<Self, String>;
}

/// Reads a parameter that is given once.
pub(crate) fn once<T, E: Display>(
    texts: &[String],
    read: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, String> {
    match texts {
        [only] => read(only).map_err(|error| error.to_string()),
        several => Err(format!("must be given once, got it {} times", several.len())),
    }
}

/// A parameter of the query, read but not yet accepted: [`Faults`] collects what is wrong with all of them.
pub(crate) struct Asked<T, const REQUIRED: bool = false>(Reading<T>);

/// A header, read but not yet accepted.
pub(crate) struct Sent<T>(Reading<T>);

struct Reading<T> {
    name: &'static str,
    value: Result<Option<T>, String>,
}

impl<T: FromTexts> Reading<T> {
    fn of(name: &'static str, texts: &[String]) -> Self {
        let value = if texts.is_empty() {
            Ok(None)
        } else {
            T::from_texts(texts).map(Some)
        };
        Self { name, value }
    }
}

/// What is wrong with the parameters of a request, all at once.
#[derive(Default)]
pub(crate) struct Faults(Vec<FieldError>);

impl Faults {
    /// Takes a parameter's value, or notes what is wrong with it.
    pub(crate) fn take<T>(&mut self, parameter: impl Into<Parameter<T>>) -> Option<T> {
        let Parameter(Reading { name, value }) = parameter.into();
        value.unwrap_or_else(|detail| {
            self.0.push(FieldError::new(name, detail));
            None
        })
    }

    /// Takes a value that was checked elsewhere, or notes what is wrong with it.
    pub(crate) fn absorb<T>(&mut self, checked: Result<T, Vec<FieldError>>) -> Option<T> {
        checked.map_err(|errors| self.0.extend(errors)).ok()
    }

    /// Takes the value of a parameter that must be there.
    pub(crate) fn require<T>(&mut self, parameter: Asked<T, true>) -> Option<T> {
        if matches!(parameter.0.value, Ok(None)) {
            self.0.push(FieldError::new(parameter.0.name, "is required"));
        }
        self.take(parameter)
    }

    /// Ends in a problem if anything was wrong.
    pub(crate) fn check(self) -> Result<(), Problem> {
        self.check_with(Some(()))
    }

    /// Returns a value that was taken, or the problem if anything was wrong.
    pub(crate) fn check_with<T>(self, taken: Option<T>) -> Result<T, Problem> {
        taken
            .filter(|_| self.0.is_empty())
            .ok_or_else(|| Problem::fields(self.0))
    }
}

/// A parameter wherever it came from.
pub(crate) struct Parameter<T>(Reading<T>);

impl<T, const REQUIRED: bool> From<Asked<T, REQUIRED>> for Parameter<T> {
    fn from(asked: Asked<T, REQUIRED>) -> Self {
        Self(asked.0)
    }
}

impl<T> From<Sent<T>> for Parameter<T> {
    fn from(sent: Sent<T>) -> Self {
        Self(sent.0)
    }
}

macro_rules! parameter {
    ([$($generics:tt)*] $type:ty, $place:ident, $required:expr, |$request:ident, $name:ident| $texts:expr) => {
        impl<'a, T: FromTexts, $($generics)*> ApiExtractor<'a> for $type {
            const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
            const PARAM_IS_REQUIRED: bool = $required;
            type ParamType = ();
            type ParamRawType = ();

            fn param_in() -> Option<MetaParamIn> {
                Some(MetaParamIn::$place)
            }

            fn param_schema_ref() -> Option<MetaSchemaRef> {
                Some(MetaSchemaRef::Inline(Box::new(T::schema())))
            }

            async fn from_request(
                $request: &'a Request,
                _body: &mut RequestBody,
                options: ExtractParamOptions<()>,
            ) -> Result<Self> {
                let $name = options.name;
                let texts: Vec<String> = $texts;
                Ok(Self(Reading::of($name, &texts)))
            }
        }
    };
}

parameter!([const REQUIRED: bool] Asked<T, REQUIRED>, Query, REQUIRED, |request, name| {
    let pairs: Vec<(String, String)> = request.params().unwrap_or_default();
    pairs.into_iter().filter(|(key, _)| key == name).map(|(_, text)| text).collect()
});

parameter!([] Sent<T>, Header, false, |request, name| {
    // A byte that is no text stays visible as one that no value may hold.
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    request.headers().get_all(name).iter().map(text).collect()
});

/// Something that the path names. What cannot be a name names nothing: it is answered as unknown.
pub(crate) struct Named<T>(Option<T>);

impl<T> Named<T> {
    /// Returns it, or the problem that there is no such thing.
    pub(crate) fn known(self, what: &str) -> Result<T, Problem> {
        self.0.ok_or_else(|| Problem::not_found(what))
    }
}

impl<'a, T: FromTexts> ApiExtractor<'a> for Named<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = true;
    type ParamType = ();
    type ParamRawType = ();

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Path)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(MetaSchemaRef::Inline(Box::new(T::schema())))
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        // No address here names more than one thing.
        let text = request.path_params::<String>().ok();
        Ok(Self(text.and_then(|text| T::from_texts(&[text]).ok())))
    }
}

impl FromTexts for UserId {
    fn schema() -> MetaSchema {
        schema::id()
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        once(texts, str::parse)
    }
}

impl FromTexts for Cursor {
    fn schema() -> MetaSchema {
        schema::cursor()
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        once(texts, str::parse)
    }
}

impl FromTexts for Channel {
    fn schema() -> MetaSchema {
        schema::channel()
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        once(texts, str::parse)
    }
}

impl FromTexts for NotificationType {
    fn schema() -> MetaSchema {
        schema::notification_type()
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        once(texts, |text| {
            Self::parse(text).ok_or("must be 1 to 64 of a-z 0-9 _ . -")
        })
    }
}

impl FromTexts for Priority {
    fn schema() -> MetaSchema {
        schema::priority()
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        once(texts, |text| {
            Self::parse(text).ok_or("must be low, normal, high or urgent")
        })
    }
}

impl FromTexts for domain::ids::NotificationId {
    fn schema() -> MetaSchema {
        schema::notification_id()
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        once(texts, str::parse)
    }
}

impl FromTexts for domain::ids::ConnectionId {
    fn schema() -> MetaSchema {
        schema::connection_id()
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        once(texts, str::parse)
    }
}
