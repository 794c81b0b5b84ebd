//! Request parameters: the form body's first, then the URL's, as Go merges them.

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{Method, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use storage::model::Timestamp;

use super::error::{ApiError, ErrorKind};
use crate::instant::{parse_span_ns, parse_time};

/// Largest form body that is read, in bytes: as much as Go reads.
pub const FORM_BYTES_MAX: usize = 10 << 20;

/// The parameters of one request in order of precedence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Parameters from a form body and a URL's query.
    #[must_use]
    pub fn new(body: &[u8], query: &str) -> Self {
        let pairs = form_urlencoded::parse(body).chain(form_urlencoded::parse(query.as_bytes()));
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The first value of `name`, or an empty string.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// The first value of `name`, unless it is missing or empty.
    #[must_use]
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|value| !value.is_empty())
    }

    /// Every value of `name`.
    pub fn all<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A time that must be there.
    ///
    /// # Errors
    /// Where it is no time.
    pub fn required_time(&self, name: &str) -> Result<Timestamp, ApiError> {
        parse_time(self.get(name)).map_err(|e| ApiError::parameter(name, e))
    }

    /// A time, or `default` where there is none.
    ///
    /// # Errors
    /// Where it is no time.
    pub fn time_or(&self, name: &str, default: Timestamp) -> Result<Timestamp, ApiError> {
        let Some(text) = self.non_empty(name) else { return Ok(default) };
        parse_time(text).map_err(|e| ApiError::parameter(name, format_args!("invalid time value for '{name}': {e}")))
    }

    /// A duration in nanoseconds.
    ///
    /// # Errors
    /// Where it is none.
    pub fn span_ns(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.non_empty(name).map(parse_span_ns).transpose().map_err(|e| ApiError::parameter(name, e))
    }

    /// How many results are wanted; `None` is all of them.
    ///
    /// # Errors
    /// Where it is no number or negative.
    pub fn limit(&self) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.non_empty("limit") else { return Ok(None) };
        let limit = parse_integer(text).map_err(|e| ApiError::parameter("limit", e))?;
        let limit = usize::try_from(limit).map_err(|_| ApiError::parameter("limit", "limit must be non-negative"))?;
        Ok((limit > 0).then_some(limit))
    }

    /// A flag in any of Go's spellings.
    ///
    /// # Errors
    /// Where it is none of them, in Thanos's words.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, ApiError> {
        match self.get(name) {
            "" => Ok(default),
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            other => Err(ApiError::bad_data(format!(
                "'{name}' parameter: strconv.ParseBool: parsing {other:?}: invalid syntax"
            ))),
        }
    }
}

/// An integer with Go's error text.
///
/// # Errors
/// Where it is none.
pub fn parse_integer(text: &str) -> Result<i64, String> {
    text.parse::<i64>().map_err(|error| {
        let out_of_range =
            matches!(error.kind(), std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow);
        let reason = if out_of_range { "value out of range" } else { "invalid syntax" };
        format!("strconv.Atoi: parsing {text:?}: {reason}")
    })
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let query = request.uri().query().unwrap_or("").to_owned();
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let essence = content_type.split(';').next().unwrap_or("").trim();
        let is_form =
            request.method() == Method::POST && essence.eq_ignore_ascii_case("application/x-www-form-urlencoded");
        let body = if is_form { read_body(request).await? } else { Bytes::new() };
        Ok(Self::new(&body, &query))
    }
}

async fn read_body(request: Request) -> Result<Bytes, ApiError> {
    match Limited::new(request.into_body(), FORM_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(ApiError::new(ErrorKind::TooLarge, format!("the body is larger than {FORM_BYTES_MAX} bytes")))
        }
        Err(error) => Err(ApiError::bad_data(format!("error parsing form values: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_comes_before_the_url() {
        let params = Params::new(b"query=a%2Bb&match[]=x", "query=c&match%5B%5D=y&time=1");
        assert_eq!(params.get("query"), "a+b");
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(params.get("time"), "1");
        assert_eq!(params.non_empty("none"), None);
    }

    #[test]
    fn wrong_parameters_are_told_as_prometheus_does() {
        let params = Params::new(b"", "limit=x&start=y&step=z&dedup=maybe&huge=1");
        let text = |error: ApiError| error.message.into_owned();
        assert_eq!(
            text(params.limit().unwrap_err()),
            "invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax"
        );
        assert_eq!(
            text(params.required_time("start").unwrap_err()),
            "invalid parameter \"start\": cannot parse \"y\" to a valid timestamp"
        );
        assert_eq!(
            text(params.time_or("start", 0).unwrap_err()),
            "invalid parameter \"start\": invalid time value for 'start': cannot parse \"y\" to a valid timestamp"
        );
        assert_eq!(
            text(params.span_ns("step").unwrap_err()),
            "invalid parameter \"step\": cannot parse \"z\" to a valid duration"
        );
        assert_eq!(
            text(params.flag("dedup", true).unwrap_err()),
            "'dedup' parameter: strconv.ParseBool: parsing \"maybe\": invalid syntax"
        );
        let negative = Params::new(b"", "limit=-1").limit().unwrap_err();
        assert_eq!(text(negative), "invalid parameter \"limit\": limit must be non-negative");
        assert_eq!(Params::new(b"", "limit=0").limit(), Ok(None));
        assert_eq!(Params::new(b"", "limit=7").limit(), Ok(Some(7)));
    }
}
