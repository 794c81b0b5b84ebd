//! The regular expression of a matcher: anchored at both ends, `.` matches newlines.
//!
//! Most expressions in queries are lists of values, prefixes or `.*`, so the parsed tree is looked at first, and only
//! what is none of those is compiled. All forms are linear in the value.

use regex_automata::meta::{Config, Regex};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use super::{MatcherError, syntax};

/// Most bytes that a compiled expression may take.
const MAX_COMPILED_BYTES: usize = 10 << 20;
/// Most values that products of alternatives are written out to.
const MAX_PRODUCT: usize = 1024;
/// Most bytes that a list of values may take, each value's own string counted too.
const MAX_SET_BYTES: usize = 8 << 20;

/// What a value has to be.
#[derive(Debug)]
enum Form {
    /// `.*`
    Anything,
    /// `.+`
    NotEmpty,
    /// One of these, ascending.
    Set(Vec<String>),
    /// `foo.*`
    Prefix,
    /// `.*foo`
    Suffix(String),
    /// `.*foo.*`
    Contains(String),
    /// Anything else.
    General(Regex),
}

/// An expression over whole values.
#[derive(Debug)]
pub(super) struct ValueRegex {
    form: Form,
    /// What every value begins with; may be empty.
    prefix: String,
}

impl ValueRegex {
    pub(super) fn try_new(pattern: &str) -> Result<Self, MatcherError> {
        if let Some(values) = plain_alternatives(pattern) {
            return Ok(Self { form: Form::Set(values), prefix: String::new() });
        }
        let hir = syntax::parse(pattern, true, false)?.hir;
        if let Some(values) = values(&hir) {
            return Ok(Self { form: Form::Set(sorted(values)), prefix: String::new() });
        }
        let prefix = leading_literal(&hir).unwrap_or_default().to_owned();
        let form = match simple_form(&hir) {
            Some(form) => form,
            None => Form::General(compile(&anchored(hir), WhichCaptures::None, pattern)?),
        };
        Ok(Self { form, prefix })
    }

    pub(super) fn is_match(&self, value: &str) -> bool {
        match &self.form {
            Form::Anything => true,
            Form::NotEmpty => !value.is_empty(),
            Form::Set(values) => values.binary_search_by(|v| v.as_str().cmp(value)).is_ok(),
            Form::Prefix => value.starts_with(&self.prefix),
            Form::Suffix(suffix) => value.ends_with(suffix),
            Form::Contains(text) => value.contains(text),
            Form::General(regex) => value.starts_with(&self.prefix) && regex.is_match(value),
        }
    }

    /// All values that match, ascending, where they are few.
    pub(super) fn set(&self) -> Option<&[String]> {
        match &self.form {
            Form::Set(values) => Some(values),
            _ => None,
        }
    }

    /// What every value that matches begins with.
    pub(super) fn prefix(&self) -> Option<&str> {
        (!self.prefix.is_empty()).then_some(self.prefix.as_str())
    }
}

/// Compiles with bounded size. `pattern` is for the error.
pub(super) fn compile(hir: &Hir, captures: WhichCaptures, pattern: &str) -> Result<Regex, MatcherError> {
    let config = Config::new().nfa_size_limit(Some(MAX_COMPILED_BYTES)).which_captures(captures);
    Regex::builder().configure(config).build_from_hir(hir).map_err(|_| syntax::error("expression too large", pattern))
}

fn anchored(hir: Hir) -> Hir {
    Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)])
}

fn sorted(mut values: Vec<String>) -> Vec<String> {
    values.sort_unstable();
    values.dedup();
    values
}

/// `a|b|c` without any other operator, which need not be parsed.
fn plain_alternatives(pattern: &str) -> Option<Vec<String>> {
    if pattern.bytes().any(|b| br"\.+*?()[]{}^$".contains(&b)) {
        return None;
    }
    Some(sorted(pattern.split('|').map(str::to_owned).collect()))
}

/// All texts that `hir` matches, where they are few: lists of literals of any length, small classes, and products of
/// these. Depth is bounded by the parser.
fn values(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![std::str::from_utf8(&literal.0).ok()?.to_owned()]),
        HirKind::Class(Class::Unicode(class)) => {
            let size: usize = class.ranges().iter().map(|r| r.end() as usize - r.start() as usize + 1).sum();
            (size <= 256).then(|| {
                let chars = class.ranges().iter().flat_map(|range| range.start()..=range.end());
                chars.map(String::from).collect()
            })
        }
        HirKind::Alternation(alternatives) => {
            let (mut all, mut bytes) = (Vec::new(), 0);
            for alternative in alternatives {
                let more = values(alternative)?;
                bytes += bytes_of(&more);
                if bytes > MAX_SET_BYTES {
                    return None;
                }
                all.extend(more);
            }
            Some(all)
        }
        HirKind::Concat(pieces) => {
            let mut products = vec![String::new()];
            for piece in pieces {
                let ends = values(piece)?;
                // Factoring out what alternatives begin with does not make their list longer.
                let grows = products.len() > 1 && ends.len() > 1;
                let bytes =
                    bytes_of(&products).saturating_mul(ends.len()) + bytes_of(&ends).saturating_mul(products.len());
                if bytes > MAX_SET_BYTES || (grows && products.len().saturating_mul(ends.len()) > MAX_PRODUCT) {
                    return None;
                }
                products =
                    products.iter().flat_map(|start| ends.iter().map(move |end| format!("{start}{end}"))).collect();
            }
            Some(products)
        }
        HirKind::Repetition(repetition) if (repetition.min, repetition.max) == (0, Some(1)) => {
            let mut all = values(&repetition.sub)?;
            all.push(String::new());
            Some(all)
        }
        HirKind::Class(Class::Bytes(_)) | HirKind::Repetition(_) | HirKind::Capture(_) | HirKind::Look(_) => None,
    }
}

fn bytes_of(values: &[String]) -> usize {
    values.iter().map(|value| value.len() + size_of::<String>()).sum()
}

fn leading_literal(hir: &Hir) -> Option<&str> {
    match hir.kind() {
        HirKind::Concat(pieces) => literal(pieces.first()?),
        _ => None,
    }
}

fn literal(hir: &Hir) -> Option<&str> {
    match hir.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok(),
        _ => None,
    }
}

/// The least number of characters of a `.*` or `.+`.
fn any_characters(hir: &Hir) -> Option<u32> {
    let HirKind::Repetition(repetition) = hir.kind() else { return None };
    let HirKind::Class(Class::Unicode(class)) = repetition.sub.kind() else { return None };
    let [all] = class.ranges() else { return None };
    let any = all.start() == '\0' && all.end() == char::MAX && repetition.max.is_none() && repetition.min <= 1;
    any.then_some(repetition.min)
}

fn simple_form(hir: &Hir) -> Option<Form> {
    match any_characters(hir) {
        Some(0) => return Some(Form::Anything),
        Some(_) => return Some(Form::NotEmpty),
        None => {}
    }
    let HirKind::Concat(pieces) = hir.kind() else { return None };
    match pieces.as_slice() {
        [start, rest] if literal(start).is_some() && any_characters(rest) == Some(0) => Some(Form::Prefix),
        [rest, end] if any_characters(rest) == Some(0) => Some(Form::Suffix(literal(end)?.to_owned())),
        [before, middle, after] if any_characters(before) == Some(0) && any_characters(after) == Some(0) => {
            Some(Form::Contains(literal(middle)?.to_owned()))
        }
        _ => None,
    }
}
