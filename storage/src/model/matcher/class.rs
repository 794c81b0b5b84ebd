//! Character classes and escapes of RE2 syntax. Perl and POSIX classes are ASCII; `\p` knows general categories and
//! scripts. Classes neither nest nor subtract.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

use super::MatcherError;
use super::syntax::error;

/// Code points in ascending ranges.
pub(super) type Ranges = ClassUnicode;

/// The code points from `low` to `high`, without surrogates, which no text has.
pub(super) fn range(low: u32, high: u32) -> Ranges {
    let low = char::from_u32(low).unwrap_or('\u{e000}');
    let high = char::from_u32(high).unwrap_or('\u{d7ff}');
    ClassUnicode::new((low <= high).then(|| ClassUnicodeRange::new(low, high)))
}

/// The class with all code points that differ from its own in case alone.
pub(super) fn folded(mut class: Ranges) -> Ranges {
    class.case_fold_simple();
    class
}

/// A class in brackets at the start of `text`, and its length in bytes.
pub(super) fn bracketed(text: &str, fold_case: bool) -> Result<(Ranges, usize), MatcherError> {
    let negated = text[1..].starts_with('^');
    let first = 1 + usize::from(negated);
    let mut at = first;
    let mut ranges: Vec<ClassUnicodeRange> = Vec::new();
    // Single code points and ranges, whose case is folded all at once.
    let mut plain: Vec<ClassUnicodeRange> = Vec::new();
    while at == first || !text[at..].starts_with(']') {
        let rest = &text[at..];
        if let Some((class, length)) = posix(rest, fold_case)? {
            ranges.extend(class.iter().copied());
            at += length;
        } else if let Some((class, length)) = escaped(rest, fold_case)? {
            ranges.extend(class.iter().copied());
            at += length;
        } else {
            let (low, length) = code_point(rest, text)?;
            at += length;
            let mut high = low;
            let after = text[at..].strip_prefix('-').filter(|after| !after.is_empty() && !after.starts_with(']'));
            if let Some(after) = after {
                let (end, length) = code_point(after, text)?;
                at += 1 + length;
                if end < low {
                    return Err(error("invalid character class range", &rest[..at - (text.len() - rest.len())]));
                }
                high = end;
            }
            plain.extend(range(low, high).iter().copied());
        }
    }
    let plain = ClassUnicode::new(plain);
    let mut class = ClassUnicode::new(ranges);
    class.union(&if fold_case { folded(plain) } else { plain });
    if negated {
        class.negate();
    }
    Ok((class, at + 1))
}

/// One code point, plain or escaped, inside the class `whole`.
fn code_point(text: &str, whole: &str) -> Result<(u32, usize), MatcherError> {
    match text.chars().next() {
        None => Err(error("missing closing ]", whole)),
        Some('\\') => escaped_code_point(text),
        Some(c) => Ok((u32::from(c), c.len_utf8())),
    }
}

/// `[:name:]` or `[:^name:]` at the start of `text`.
fn posix(text: &str, fold_case: bool) -> Result<Option<(Ranges, usize)>, MatcherError> {
    if !text.starts_with("[:") {
        return Ok(None);
    }
    let Some(end) = text[2..].find(":]") else { return Ok(None) };
    let name = &text[2..2 + end];
    let length = end + 4;
    let (negated, plain) = name.strip_prefix('^').map_or((false, name), |plain| (true, plain));
    let ranges: &[(u8, u8)] = match plain {
        "alnum" => &[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')],
        "alpha" => &[(b'A', b'Z'), (b'a', b'z')],
        "ascii" => &[(0, 0x7f)],
        "blank" => &[(b'\t', b'\t'), (b' ', b' ')],
        "cntrl" => &[(0, 0x1f), (0x7f, 0x7f)],
        "digit" => &[(b'0', b'9')],
        "graph" => &[(b'!', b'~')],
        "lower" => &[(b'a', b'z')],
        "print" => &[(b' ', b'~')],
        "punct" => &[(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')],
        "space" => &[(b'\t', b'\r'), (b' ', b' ')],
        "upper" => &[(b'A', b'Z')],
        "word" => &[(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')],
        "xdigit" => &[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')],
        _ => return Err(error("invalid character class range", &text[..length])),
    };
    Ok(Some((group(ranges, negated, fold_case), length)))
}

fn group(ranges: &[(u8, u8)], negated: bool, fold_case: bool) -> Ranges {
    let ranges = ranges.iter().map(|&(low, high)| ClassUnicodeRange::new(char::from(low), char::from(high)));
    let mut class = ClassUnicode::new(ranges);
    if fold_case {
        class.case_fold_simple();
    }
    if negated {
        class.negate();
    }
    class
}

/// `\d`, `\pN`, `\p{Greek}` and the like at the start of `text`.
pub(super) fn escaped(text: &str, fold_case: bool) -> Result<Option<(Ranges, usize)>, MatcherError> {
    let &[b'\\', letter, ..] = text.as_bytes() else { return Ok(None) };
    let ranges: &[(u8, u8)] = match letter.to_ascii_lowercase() {
        b'd' => &[(b'0', b'9')],
        b's' => &[(b'\t', b'\n'), (0x0c, b'\r'), (b' ', b' ')],
        b'w' => &[(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')],
        b'p' => return unicode(text, fold_case).map(Some),
        _ => return Ok(None),
    };
    Ok(Some((group(ranges, letter.is_ascii_uppercase(), fold_case), 2)))
}

/// `\pN`, `\p{Name}`, `\p{^Name}` or their negations with `\P`.
fn unicode(text: &str, fold_case: bool) -> Result<(Ranges, usize), MatcherError> {
    let invalid = |expression| error("invalid character class range", expression);
    let (name, length) = match text[2..].chars().next() {
        None => return Err(invalid(text)),
        Some('{') => {
            let end = text.find('}').ok_or_else(|| invalid(text))?;
            (&text[3..end], end + 1)
        }
        Some(c) => (&text[2..2 + c.len_utf8()], 2 + c.len_utf8()),
    };
    let (mut negated, name) = name.strip_prefix('^').map_or((false, name), |name| (true, name));
    negated ^= text.starts_with(r"\P");
    let mut class = category_or_script(name).ok_or_else(|| invalid(&text[..length]))?;
    if fold_case {
        class.case_fold_simple();
    }
    if negated {
        class.negate();
    }
    Ok((class, length))
}

/// The general category or script of this name; case, spaces, `_` and `-` do not matter.
fn category_or_script(name: &str) -> Option<Ranges> {
    let canonical: String =
        name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).map(|c| c.to_ascii_lowercase()).collect();
    if canonical.is_empty() || !canonical.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let property =
        |kind: &str, name: &str| match regex_syntax::parse(&format!(r"\p{{{kind}={name}}}")).ok()?.into_kind() {
            HirKind::Class(Class::Unicode(class)) => Some(class),
            HirKind::Literal(literal) => {
                let c = std::str::from_utf8(&literal.0).ok()?.chars().next()?;
                Some(range(u32::from(c), u32::from(c)))
            }
            _ => None,
        };
    if matches!(canonical.as_str(), "c" | "other") {
        // Go's category C leaves out what is unassigned.
        let mut class = property("gc", "cc")?;
        class.union(&property("gc", "cf")?);
        class.union(&property("gc", "co")?);
        return Some(class);
    }
    // Codes of scripts, which have four letters, are not names to Go.
    const NAMES_OF_FOUR: [&str; 9] = ["ahom", "cham", "kawi", "lisu", "miao", "modi", "newa", "thai", "toto"];
    let is_code = canonical.len() == 4 && !NAMES_OF_FOUR.contains(&canonical.as_str());
    property("gc", &canonical).or_else(|| if is_code { None } else { property("sc", &canonical) })
}

/// An escape that stands for one code point at the start of `text`, and its length.
pub(super) fn escaped_code_point(text: &str) -> Result<(u32, usize), MatcherError> {
    let mut chars = text.char_indices().skip(1);
    let Some((_, c)) = chars.next() else {
        return Err(error("trailing backslash at end of expression", ""));
    };
    let invalid = |length: usize| error("invalid escape sequence", &text[..length]);
    let after = 1 + c.len_utf8();
    let simple = match c {
        'a' => 0x07,
        'f' => 0x0c,
        'n' => 0x0a,
        'r' => 0x0d,
        't' => 0x09,
        'v' => 0x0b,
        'x' => return hexadecimal(text),
        '0'..='7' => {
            let digits = text[1..].bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
            // One digit other than 0 is a reference to a group.
            if digits == 1 && c != '0' {
                return Err(invalid(after));
            }
            let value = text[1..=digits].bytes().fold(0, |value, b| value * 8 + u32::from(b - b'0'));
            return Ok((value, 1 + digits));
        }
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => u32::from(c),
        _ => return Err(invalid(after)),
    };
    Ok((simple, after))
}

/// `\x7F` or `\x{10FFFF}`.
fn hexadecimal(text: &str) -> Result<(u32, usize), MatcherError> {
    let invalid = |length: usize| error("invalid escape sequence", &text[..length]);
    let mut chars = text.char_indices().skip(2);
    let (mut value, mut digits) = (0_u32, 0);
    let braced = text[2..].starts_with('{');
    if braced {
        chars.next();
    }
    for (i, c) in chars {
        let end = i + c.len_utf8();
        if braced && c == '}' && digits > 0 {
            return Ok((value, end));
        }
        digits += 1;
        match c.to_digit(16) {
            Some(digit) => value = value * 16 + digit,
            // Two digits are read before either is judged.
            None if !braced && digits == 1 => {
                return Err(invalid(text[end..].chars().next().map_or(end, |next| end + next.len_utf8())));
            }
            None => return Err(invalid(end)),
        }
        if value > 0x10_ffff {
            return Err(invalid(end));
        }
        if !braced && digits == 2 {
            return Ok((value, end));
        }
    }
    Err(invalid(text.len()))
}
