//! Regular expressions that do not parse, in the words of Go's `regexp`, which Prometheus shows to its users.

use regex_syntax::ast::{self, ErrorKind};
use storage::model::MatcherError;

/// Why `pattern` was refused. Where Go's words for it are not known, `refusal` tells.
pub(crate) fn message(pattern: &str, refusal: &MatcherError) -> String {
    match ast::parse::Parser::new().parse(pattern) {
        Ok(_) => format!("error parsing regexp: {refusal}"),
        Err(error) => go_message(pattern, &error),
    }
}

fn go_message(pattern: &str, error: &ast::Error) -> String {
    let span = error.span();
    let at = pattern.get(span.start.offset..span.end.offset).unwrap_or_default();
    let rest = pattern.get(span.start.offset..).unwrap_or_default();
    let (what, shown) = match error.kind() {
        ErrorKind::GroupUnclosed => ("missing closing )", pattern),
        ErrorKind::GroupUnopened => ("unexpected )", pattern),
        ErrorKind::RepetitionMissing => ("missing argument to repetition operator", rest.get(..1).unwrap_or(rest)),
        ErrorKind::RepetitionCountInvalid
        | ErrorKind::RepetitionCountUnclosed
        | ErrorKind::RepetitionCountDecimalEmpty
        | ErrorKind::DecimalEmpty
        | ErrorKind::DecimalInvalid => ("invalid repeat count", at),
        ErrorKind::ClassUnclosed => ("missing closing ]", rest),
        ErrorKind::ClassRangeInvalid | ErrorKind::ClassRangeLiteral | ErrorKind::ClassEscapeInvalid => {
            ("invalid character class range", at)
        }
        ErrorKind::EscapeUnexpectedEof => ("trailing backslash at end of expression", ""),
        ErrorKind::EscapeUnrecognized
        | ErrorKind::EscapeHexEmpty
        | ErrorKind::EscapeHexInvalid
        | ErrorKind::EscapeHexInvalidDigit
        | ErrorKind::UnsupportedBackreference => ("invalid escape sequence", at),
        ErrorKind::NestLimitExceeded(_) => ("expression nests too deeply", pattern),
        _ => ("invalid or unsupported Perl syntax", at),
    };
    format!("error parsing regexp: {what}: `{shown}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_as_go() {
        for (pattern, expected) in [
            ("(", "missing closing ): `(`"),
            ("a)", "unexpected ): `a)`"),
            ("*", "missing argument to repetition operator: `*`"),
            ("a[b", "missing closing ]: `[b`"),
            ("[z-a]", "invalid character class range: `z-a`"),
            ("a\\", "trailing backslash at end of expression: ``"),
            (r"\y", r"invalid escape sequence: `\y`"),
        ] {
            let found = message(pattern, &MatcherError("?".to_string()));
            assert_eq!(found, format!("error parsing regexp: {expected}"));
        }
    }
}
