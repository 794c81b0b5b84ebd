//! Which message a body is: content negotiation of remote write.

use http::{HeaderMap, header};

/// The version of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteVersion {
    /// `prometheus.WriteRequest`
    V1,
    /// `io.prometheus.write.v2.Request`
    V2,
}

const PROTOBUF: &str = "application/x-protobuf";

/// Reads `Content-Type` and `Content-Encoding`. Without the first, a body is of version 1.0, and without the second, it is a snappy
/// block, as old senders left them out. The version header says nothing that the content type does not.
///
/// # Errors
/// What is not accepted, for an answer with status 415.
pub fn negotiate(headers: &HeaderMap) -> Result<WriteVersion, String> {
    let text =
        |name| headers.get(name).map(|value| value.to_str().unwrap_or("?").trim()).filter(|text| !text.is_empty());
    if let Some(encoding) = text(header::CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("snappy")) {
        return Err(format!(
            "{encoding} encoding (compression) is not accepted by this server; only snappy is acceptable"
        ));
    }
    let Some(content_type) = text(header::CONTENT_TYPE) else { return Ok(WriteVersion::V1) };
    let (media_type, parameters) = parse(content_type)
        .ok_or_else(|| format!("expected parameters to be key-values, got {content_type} content-type"))?;
    if !media_type.eq_ignore_ascii_case(PROTOBUF) {
        return Err(format!("expected {PROTOBUF} as the first (media) part, got {content_type} content-type"));
    }
    let message = parameters.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("proto")).map(|(_, value)| value);
    match message.as_deref() {
        None | Some("prometheus.WriteRequest") => Ok(WriteVersion::V1),
        Some("io.prometheus.write.v2.Request") => Ok(WriteVersion::V2),
        Some(other) => Err(format!(
            "{other} protobuf message is not accepted by this server; only accepts prometheus.WriteRequest and \
             io.prometheus.write.v2.Request"
        )),
    }
}

/// A media type and its parameters (RFC 9110, 5.6.6 and 8.3.1): white space around `;`, values quoted or not.
pub fn parse(text: &str) -> Option<(&str, Vec<(&str, String)>)> {
    let (media_type, mut rest) = text.split_once(';').unwrap_or((text, ""));
    let mut parameters = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        if rest.is_empty() {
            return Some((media_type.trim(), parameters));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim_end().to_owned(), &after[end..])
            }
        };
        let name = name.trim();
        if name.is_empty()
            || name.contains([';', ' ', '"'])
            || !(after.is_empty() || after.trim_start().starts_with(';'))
        {
            return None;
        }
        parameters.push((name, value));
        rest = after;
    }
}

/// The text up to the closing quote, and what comes after it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, quoted[at + 1..].trim_start())),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content_type: &str, encoding: &str, expected: Option<WriteVersion>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        assert_eq!(negotiate(&headers).ok(), expected, "{content_type} {encoding}");
    }

    #[test]
    fn what_is_accepted() {
        use WriteVersion::{V1, V2};
        assert_eq!(negotiate(&HeaderMap::new()), Ok(V1));
        check("application/x-protobuf", "snappy", Some(V1));
        check("", "", Some(V1));
        check("application/x-protobuf;proto=prometheus.WriteRequest", "snappy", Some(V1));
        check("application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy", Some(V2));
        check(
            "Application/X-Protobuf ; charset=utf-8 ; Proto=\"io.prometheus.write.v2.Request\" ;",
            "Snappy",
            Some(V2),
        );
        check("application/x-protobuf;proto=io.prometheus.write.v3.Request", "snappy", None);
        check("application/x-protobuf;proto", "snappy", None);
        check("application/x-protobuf;proto=\"a", "snappy", None);
        check("application/x-protobuf;proto=\"a\" b", "snappy", None);
        check("application/json", "snappy", None);
        check("application/x-protobuf", "gzip", None);
        check("application/x-protobuf", "zstd", None);
    }
}
