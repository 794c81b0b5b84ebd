//! What is checked of a statement before it is parsed.
//!
//! A parsed expression is a tree, and a tree that is deep overflows the stack of whoever walks or drops it. Parentheses are
//! counted by the parser itself; a chain of operators, `1 + 1 + 1 …`, is not, and is as deep as it is long. So the tokens
//! are counted first, which needs no stack.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::{Error, Result};

/// Longest statement, in bytes; as long as a PromQL query may be.
pub const TEXT_BYTES_MAX: usize = 64 << 10;

/// Most operators of a statement. Each may be a level of a tree, and a level costs up to some kilobytes of stack, of which threads that run
/// queries have 8 MiB.
pub const OPERATORS_MAX: usize = 500;

/// Checks length and number of operators. In what comes back, parameters written `?` are numbered, `$1` and on.
///
/// # Errors
/// [`Error::BadQuery`] where there is too much of either, or a token that is none.
pub(crate) fn check_text(text: &str) -> Result<String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::BadQuery(format!(
            "the statement has {} bytes, more than the {TEXT_BYTES_MAX} that are read",
            text.len()
        )));
    }
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize();
    let mut tokens = tokens.map_err(|error| Error::BadQuery(format!("sql parser error: {error}")))?;
    let operators = tokens.iter().filter(|token| is_operator(token)).count();
    if operators > OPERATORS_MAX {
        return Err(Error::BadQuery(format!(
            "the statement has {operators} operators, more than the {OPERATORS_MAX} that are read; a list is written as x IN (…)"
        )));
    }
    let mut parameters = 0;
    for token in &mut tokens {
        let unnumbered = matches!(token, Token::Question) || matches!(token, Token::Placeholder(name) if name == "?");
        if unnumbered {
            parameters += 1;
            *token = Token::Placeholder(format!("${parameters}"));
        }
    }
    let quoted = quote_labels(&mut tokens);
    // as it was written, where it can be: errors of the parser tell lines and columns of it
    if parameters == 0 && !quoted { Ok(text.to_owned()) } else { Ok(tokens.iter().map(ToString::to_string).collect()) }
}

/// Quotes words that are names of labels more often than Hive's clauses, which they are only before BY: a column after a comma would be taken
/// for the end of the list. Whether there were some.
fn quote_labels(tokens: &mut [Token]) -> bool {
    let mut quoted = false;
    for at in 0..tokens.len() {
        let next = tokens[at + 1..].iter().find(|token| !matches!(token, Token::Whitespace(_)));
        let before_by = matches!(next, Some(Token::Word(word)) if word.keyword == Keyword::BY);
        if let Token::Word(word) = &mut tokens[at]
            && matches!(word.keyword, Keyword::CLUSTER | Keyword::DISTRIBUTE | Keyword::SORT)
            && word.quote_style.is_none()
            && !before_by
        {
            word.value = word.value.to_lowercase();
            word.quote_style = Some('"');
            quoted = true;
        }
    }
    quoted
}

/// Whether a token may make the tree deeper. Lists, names and literals do not.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::EOF
        | Token::Number(..)
        | Token::Char(_)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::Whitespace(_)
        | Token::Comma
        | Token::Period
        | Token::SemiColon
        | Token::RParen
        | Token::RBracket
        | Token::RBrace
        | Token::Placeholder(_) => false,
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::XOR
                | Keyword::UNION
                | Keyword::INTERSECT
                | Keyword::EXCEPT
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::IS
                | Keyword::BETWEEN
                | Keyword::CASE
                | Keyword::JOIN
                | Keyword::COLLATE
                | Keyword::AT
        ),
        // parentheses are among them: a list of calls is no deeper for being long, but few are that long
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        match (check_text(text), expected) {
            (Ok(_), None) => {}
            (Err(Error::BadQuery(message)), Some(part)) => assert!(message.contains(part), "{message}"),
            (got, expected) => panic!("{got:?} where {expected:?} was expected"),
        }
    }

    #[test]
    fn long_lists_pass_and_long_chains_do_not() {
        check(&format!("SELECT * FROM up WHERE job IN ({})", vec!["'a'"; 10_000].join(", ")), None);
        check(&format!("SELECT {}", vec!["1"; OPERATORS_MAX].join(" + ")), None);
        check(&format!("SELECT {}", vec!["1"; OPERATORS_MAX + 2].join(" + ")), Some("501 operators"));
        check(&format!("SELECT {}1", "NOT ".repeat(2_000)), Some("operators"));
        check(&format!("SELECT {}", "(".repeat(2_000)), Some("operators"));
        check(&vec!["SELECT 1"; 2_000].join(" UNION "), Some("operators"));
        check(&"x".repeat(TEXT_BYTES_MAX + 1), Some("65537 bytes"));
        check("SELECT 'open", Some("sql parser error"));
    }

    #[test]
    fn parameters_are_numbered() {
        let text = check_text("SELECT ?, '?', \"a?\" FROM t WHERE a = ? -- ?").unwrap();
        assert_eq!(text, "SELECT $1, '?', \"a?\" FROM t WHERE a = $2 -- ?");
        assert_eq!(check_text("SELECT $2 +  $1").unwrap(), "SELECT $2 +  $1");
    }

    #[test]
    fn a_label_is_no_clause() {
        let text = check_text("SELECT job, Cluster FROM t ORDER BY cluster").unwrap();
        assert_eq!(text, "SELECT job, \"cluster\" FROM t ORDER BY \"cluster\"");
        assert_eq!(check_text("SELECT a FROM t CLUSTER BY a").unwrap(), "SELECT a FROM t CLUSTER BY a");
    }
}
