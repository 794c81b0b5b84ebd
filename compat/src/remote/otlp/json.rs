//! OTLP's JSON as its protobuf, so that there is one translation.
//!
//! A table a message says which key is which field. Keys may be in camel case, as OTLP writes them, or as in the `.proto` files;
//! unknown ones are passed over. Integers of 64 bits come as strings or numbers, ids in hexadecimal, bytes in base 64.

use serde_json::Value;

use crate::remote::wire_writer::{push_bytes, push_present_double, push_present_uint, push_varint, zigzag};

/// What is not OTLP in JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not JSON.
    #[error(transparent)]
    Syntax(#[from] serde_json::Error),
    /// A value that its field cannot have.
    #[error("field {0} has a value of the wrong type")]
    Type(&'static str),
}

/// The type of a field.
#[derive(Clone, Copy)]
enum Type {
    Message(&'static [Field]),
    /// An `AnyValue`, which can hold others.
    Any,
    Text,
    Base64,
    Hex,
    Bool,
    /// A varint: `int64`, `uint32`, `uint64`.
    Int,
    /// A zigzag varint.
    Sint,
    Fixed64,
    Double,
    /// An enum by number or by name, of those that are counted from 0.
    Enum(&'static [&'static str]),
}

/// Key, number, type.
type Field = (&'static str, u32, Type);

const REQUEST: &[Field] = &[("resourceMetrics", 1, Type::Message(RESOURCE_METRICS))];
const RESOURCE_METRICS: &[Field] =
    &[("resource", 1, Type::Message(RESOURCE)), ("scopeMetrics", 2, Type::Message(SCOPE_METRICS))];
const RESOURCE: &[Field] = &[("attributes", 1, Type::Message(KEY_VALUE))];
const SCOPE_METRICS: &[Field] = &[("metrics", 2, Type::Message(METRIC))];
const METRIC: &[Field] = &[
    ("name", 1, Type::Text),
    ("description", 2, Type::Text),
    ("unit", 3, Type::Text),
    ("gauge", 5, Type::Message(GAUGE)),
    ("sum", 7, Type::Message(SUM)),
    ("histogram", 9, Type::Message(HISTOGRAM)),
    ("exponentialHistogram", 10, Type::Message(EXPONENTIAL)),
    ("summary", 11, Type::Message(SUMMARY)),
];
const TEMPORALITY: Type = Type::Enum(&[
    "AGGREGATION_TEMPORALITY_UNSPECIFIED",
    "AGGREGATION_TEMPORALITY_DELTA",
    "AGGREGATION_TEMPORALITY_CUMULATIVE",
]);
const GAUGE: &[Field] = &[("dataPoints", 1, Type::Message(NUMBER_POINT))];
const SUM: &[Field] = &[
    ("dataPoints", 1, Type::Message(NUMBER_POINT)),
    ("aggregationTemporality", 2, TEMPORALITY),
    ("isMonotonic", 3, Type::Bool),
];
const HISTOGRAM: &[Field] =
    &[("dataPoints", 1, Type::Message(HISTOGRAM_POINT)), ("aggregationTemporality", 2, TEMPORALITY)];
const EXPONENTIAL: &[Field] =
    &[("dataPoints", 1, Type::Message(EXPONENTIAL_POINT)), ("aggregationTemporality", 2, TEMPORALITY)];
const SUMMARY: &[Field] = &[("dataPoints", 1, Type::Message(SUMMARY_POINT))];
const NUMBER_POINT: &[Field] = &[
    ("startTimeUnixNano", 2, Type::Fixed64),
    ("timeUnixNano", 3, Type::Fixed64),
    ("asDouble", 4, Type::Double),
    ("exemplars", 5, Type::Message(EXEMPLAR)),
    ("asInt", 6, Type::Fixed64),
    ("attributes", 7, Type::Message(KEY_VALUE)),
    ("flags", 8, Type::Int),
];
const HISTOGRAM_POINT: &[Field] = &[
    ("startTimeUnixNano", 2, Type::Fixed64),
    ("timeUnixNano", 3, Type::Fixed64),
    ("count", 4, Type::Fixed64),
    ("sum", 5, Type::Double),
    ("bucketCounts", 6, Type::Fixed64),
    ("explicitBounds", 7, Type::Double),
    ("exemplars", 8, Type::Message(EXEMPLAR)),
    ("attributes", 9, Type::Message(KEY_VALUE)),
    ("flags", 10, Type::Int),
];
const EXPONENTIAL_POINT: &[Field] = &[
    ("attributes", 1, Type::Message(KEY_VALUE)),
    ("startTimeUnixNano", 2, Type::Fixed64),
    ("timeUnixNano", 3, Type::Fixed64),
    ("count", 4, Type::Fixed64),
    ("sum", 5, Type::Double),
    ("scale", 6, Type::Sint),
    ("zeroCount", 7, Type::Fixed64),
    ("positive", 8, Type::Message(BUCKETS)),
    ("negative", 9, Type::Message(BUCKETS)),
    ("flags", 10, Type::Int),
    ("exemplars", 11, Type::Message(EXEMPLAR)),
];
const BUCKETS: &[Field] = &[("offset", 1, Type::Sint), ("bucketCounts", 2, Type::Int)];
const SUMMARY_POINT: &[Field] = &[
    ("startTimeUnixNano", 2, Type::Fixed64),
    ("timeUnixNano", 3, Type::Fixed64),
    ("count", 4, Type::Fixed64),
    ("sum", 5, Type::Double),
    ("quantileValues", 6, Type::Message(QUANTILE)),
    ("attributes", 7, Type::Message(KEY_VALUE)),
    ("flags", 8, Type::Int),
];
const QUANTILE: &[Field] = &[("quantile", 1, Type::Double), ("value", 2, Type::Double)];
const EXEMPLAR: &[Field] = &[
    ("timeUnixNano", 2, Type::Fixed64),
    ("asDouble", 3, Type::Double),
    ("spanId", 4, Type::Hex),
    ("traceId", 5, Type::Hex),
    ("asInt", 6, Type::Fixed64),
    ("filteredAttributes", 7, Type::Message(KEY_VALUE)),
];
const KEY_VALUE: &[Field] = &[("key", 1, Type::Text), ("value", 2, Type::Any)];
const ANY: &[Field] = &[
    ("stringValue", 1, Type::Text),
    ("boolValue", 2, Type::Bool),
    ("intValue", 3, Type::Int),
    ("doubleValue", 4, Type::Double),
    ("arrayValue", 5, Type::Message(&[("values", 1, Type::Any)])),
    ("kvlistValue", 6, Type::Message(&[("values", 1, Type::Message(KEY_VALUE))])),
    ("bytesValue", 7, Type::Base64),
];

/// An `ExportMetricsServiceRequest` from JSON to protobuf. How deep JSON may be nested, its parser limits.
///
/// # Errors
/// Where it is not JSON, or a field has a value that it cannot have.
pub fn to_protobuf(json: &[u8]) -> Result<Vec<u8>, JsonError> {
    let value: Value = serde_json::from_slice(json)?;
    let mut message = Vec::new();
    push_message(&mut message, REQUEST, &value, "request")?;
    Ok(message)
}

fn push_message(
    out: &mut Vec<u8>,
    fields: &'static [Field],
    value: &Value,
    name: &'static str,
) -> Result<(), JsonError> {
    let object = value.as_object().ok_or(JsonError::Type(name))?;
    for (key, value) in object {
        let Some((name, number, kind)) = fields.iter().find(|(name, ..)| is_key(key, name)) else { continue };
        match value {
            Value::Null => {}
            Value::Array(values) => {
                values.iter().try_for_each(|value| push_field(out, name, *number, *kind, value))?;
            }
            value => push_field(out, name, *number, *kind, value)?,
        }
    }
    Ok(())
}

/// Whether `key` is `name` in camel case or with underscores.
fn is_key(key: &str, name: &str) -> bool {
    key == name || (key.contains('_') && key.replace('_', "").eq_ignore_ascii_case(name))
}

fn push_field(out: &mut Vec<u8>, name: &'static str, number: u32, kind: Type, value: &Value) -> Result<(), JsonError> {
    let wrong = || JsonError::Type(name);
    match kind {
        Type::Any => push_field(out, name, number, Type::Message(ANY), value)?,
        Type::Message(fields) => {
            let mut message = Vec::new();
            push_message(&mut message, fields, value, name)?;
            push_bytes(out, number, &message);
        }
        Type::Text => push_bytes(out, number, value.as_str().ok_or_else(wrong)?.as_bytes()),
        Type::Hex => push_bytes(out, number, &value.as_str().and_then(from_hex).ok_or_else(wrong)?),
        Type::Base64 => push_bytes(out, number, &value.as_str().and_then(from_base64).ok_or_else(wrong)?),
        Type::Bool => push_present_uint(out, number, u64::from(value.as_bool().ok_or_else(wrong)?)),
        Type::Int => push_present_uint(out, number, integer(value).ok_or_else(wrong)?),
        Type::Sint => push_present_uint(out, number, zigzag(integer(value).ok_or_else(wrong)?.cast_signed())),
        Type::Fixed64 => {
            push_varint(out, u64::from(number << 3 | 1));
            out.extend_from_slice(&integer(value).ok_or_else(wrong)?.to_le_bytes());
        }
        Type::Double => push_present_double(out, number, float(value).ok_or_else(wrong)?),
        Type::Enum(names) => {
            let by_name = |text| names.iter().position(|name| *name == text).map(|at| at as u64);
            let known = value.as_str().map_or_else(|| value.as_u64(), by_name);
            push_present_uint(out, number, known.ok_or_else(wrong)?);
        }
    }
    Ok(())
}

/// An integer of either sign, in two's complement.
fn integer(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_i64().map(i64::cast_unsigned)),
        Value::String(text) => text.parse::<u64>().ok().or_else(|| text.parse::<i64>().ok().map(i64::cast_unsigned)),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    rest.is_empty().then_some(())?;
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::with_capacity(text.len() / 4 * 3));
    for byte in text.trim_end_matches('=').bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count).to_le_bytes()[0]);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(from_hex("00ffA1"), Some(vec![0, 0xff, 0xa1]));
        assert_eq!((from_hex("0"), from_hex("zz")), (None, None));
        assert_eq!(from_base64("cXVpdmU="), Some(b"quive".to_vec()));
        assert_eq!(from_base64("?"), None);
        assert_eq!(integer(&Value::from("-5")), Some((-5_i64).cast_unsigned()));
        assert_eq!(integer(&Value::from(1.5)), None);
        assert!(float(&Value::from("NaN")).unwrap().is_nan());
        assert_eq!(float(&Value::from("-Infinity")), Some(f64::NEG_INFINITY));
    }

    #[test]
    fn what_is_not_otlp() {
        assert!(matches!(to_protobuf(b"{"), Err(JsonError::Syntax(_))));
        assert!(matches!(to_protobuf(b"[]"), Err(JsonError::Type("request"))));
        assert!(matches!(to_protobuf(br#"{"resource_metrics":[1]}"#), Err(JsonError::Type("resourceMetrics"))));
        assert_eq!(to_protobuf(br#"{"unknown":[1],"resourceMetrics":null}"#).unwrap(), Vec::<u8>::new());
        let deep = "[".repeat(100_000);
        assert!(matches!(to_protobuf(deep.as_bytes()), Err(JsonError::Syntax(_))));
    }
}
