//! RE2 syntax as Go's `regexp/syntax` reads it, turned into the regex engine's own tree.
//!
//! The Rust regex syntax is close to it and not it: its classes are Unicode, nest and subtract, it has a verbose mode
//! and `\u`, and it takes repetition counts that Go refuses. So patterns are parsed here, over an explicit stack of open
//! groups, and what Go refuses is refused in the same words. Length, nesting and class size are bounded.

use regex_syntax::hir::{Capture, Class, Dot, Hir, Look, Repetition};

use super::MatcherError;
use super::class::{self, Ranges};

/// Longest pattern that is read.
const MAX_PATTERN_BYTES: usize = 1 << 20;
/// Most groups inside each other; Go refuses a tree higher than 1,000.
const MAX_NESTING: usize = 250;
/// Most copies that repetitions inside each other may ask for.
const MAX_REPEAT: u32 = 1000;
/// Most code point ranges in all classes together.
const MAX_CLASS_RANGES: usize = 1 << 20;

/// A parsed pattern.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) hir: Hir,
    /// Names of the capturing groups from 1 on; empty where captures were not asked for.
    pub(super) capture_names: Vec<Option<String>>,
}

/// Parses `pattern`. `dot_matches_newline` is the `s` flag; without `captures` all groups just group.
pub(super) fn parse(pattern: &str, dot_matches_newline: bool, captures: bool) -> Result<Parsed, MatcherError> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(error("expression too large", &pattern[..pattern.floor_char_boundary(64)]));
    }
    let flags = Flags { fold_case: false, multi_line: false, dot_matches_newline, swap_greed: false };
    let mut parser = Parser {
        pattern,
        at: 0,
        flags,
        groups: vec![Group::new(flags, None)],
        captures,
        capture_names: Vec::new(),
        class_ranges: 0,
    };
    parser.run()?;
    let Parser { mut groups, capture_names, .. } = parser;
    match (groups.pop(), groups.is_empty()) {
        (Some(outermost), true) => Ok(Parsed { hir: outermost.finish().hir, capture_names }),
        _ => Err(error("missing closing )", pattern)),
    }
}

/// A syntax error in Go's words.
pub(super) fn error(code: &str, expression: &str) -> MatcherError {
    MatcherError(format!("error parsing regexp: {code}: `{expression}`"))
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Flags {
    pub(super) fold_case: bool,
    multi_line: bool,
    dot_matches_newline: bool,
    swap_greed: bool,
}

/// A piece of the pattern, and how many copies of their innermost part its repetitions ask for at most.
#[derive(Debug)]
struct Piece {
    hir: Hir,
    copies: u32,
}

/// An open group.
#[derive(Debug)]
struct Group {
    /// What the flags go back to when it closes.
    outer_flags: Flags,
    capture: Option<u32>,
    /// Finished alternatives.
    alternatives: Vec<Piece>,
    /// The alternative being read.
    pieces: Vec<Piece>,
}

impl Group {
    fn new(outer_flags: Flags, capture: Option<u32>) -> Self {
        Self { outer_flags, capture, alternatives: Vec::new(), pieces: Vec::new() }
    }

    fn end_alternative(&mut self) {
        let pieces = std::mem::take(&mut self.pieces);
        let copies = pieces.iter().map(|piece| piece.copies).max().unwrap_or(1);
        self.alternatives.push(Piece { hir: Hir::concat(pieces.into_iter().map(|piece| piece.hir).collect()), copies });
    }

    fn finish(mut self) -> Piece {
        self.end_alternative();
        let copies = self.alternatives.iter().map(|piece| piece.copies).max().unwrap_or(1);
        let hir = Hir::alternation(self.alternatives.into_iter().map(|piece| piece.hir).collect());
        let hir = match self.capture {
            Some(index) => Hir::capture(Capture { index, name: None, sub: Box::new(hir) }),
            None => hir,
        };
        Piece { hir, copies }
    }
}

struct Parser<'a> {
    pattern: &'a str,
    at: usize,
    flags: Flags,
    groups: Vec<Group>,
    captures: bool,
    capture_names: Vec<Option<String>>,
    class_ranges: usize,
}

impl<'a> Parser<'a> {
    fn run(&mut self) -> Result<(), MatcherError> {
        // Where the repetition just read begins, for one may not follow another.
        let mut last_repeat = None;
        while let Some(c) = self.rest().chars().next() {
            let start = self.at;
            let repeats = match c {
                '*' => Some((0, None, 1)),
                '+' => Some((1, None, 1)),
                '?' => Some((0, Some(1), 1)),
                '{' => self.counted(start)?,
                _ => None,
            };
            if let Some((min, max, length)) = repeats {
                self.at += length;
                self.repeat(min, max, c == '{', start, last_repeat)?;
                last_repeat = Some(start);
            } else {
                self.one(c)?;
                last_repeat = None;
            }
        }
        Ok(())
    }

    /// Reads what is not a repetition.
    fn one(&mut self, c: char) -> Result<(), MatcherError> {
        let start = self.at;
        self.at += c.len_utf8();
        match c {
            '(' if self.rest().starts_with('?') => self.flags_or_group(start),
            '(' => self.open(Some(None)),
            '|' => {
                if let Some(group) = self.groups.last_mut() {
                    group.end_alternative();
                }
                Ok(())
            }
            ')' => self.close(),
            '^' => self.push(Hir::look(if self.flags.multi_line { Look::StartLF } else { Look::Start })),
            '$' => self.push(Hir::look(if self.flags.multi_line { Look::EndLF } else { Look::End })),
            '.' => {
                self.push(Hir::dot(if self.flags.dot_matches_newline { Dot::AnyChar } else { Dot::AnyCharExceptLF }))
            }
            '[' => {
                let (ranges, length) = class::bracketed(&self.pattern[start..], self.flags.fold_case)?;
                self.at = start + length;
                self.push_class(ranges)
            }
            '\\' => self.escape(start),
            c => self.literal(u32::from(c)),
        }
    }

    fn rest(&self) -> &'a str {
        &self.pattern[self.at..]
    }

    fn push(&mut self, hir: Hir) -> Result<(), MatcherError> {
        self.push_piece(Piece { hir, copies: 1 });
        Ok(())
    }

    fn push_piece(&mut self, piece: Piece) {
        if let Some(group) = self.groups.last_mut() {
            group.pieces.push(piece);
        }
    }

    fn push_class(&mut self, ranges: Ranges) -> Result<(), MatcherError> {
        self.class_ranges += ranges.ranges().len();
        if self.class_ranges > MAX_CLASS_RANGES {
            return Err(error("expression too large", self.pattern));
        }
        self.push(Hir::class(Class::Unicode(ranges)))
    }

    /// One code point; a surrogate is in no text.
    fn literal(&mut self, code_point: u32) -> Result<(), MatcherError> {
        let Some(c) = char::from_u32(code_point) else { return self.push(Hir::fail()) };
        if self.flags.fold_case {
            return self.push_class(class::folded(class::range(code_point, code_point)));
        }
        self.push(Hir::literal(c.to_string().into_bytes()))
    }

    fn escape(&mut self, start: usize) -> Result<(), MatcherError> {
        let text = &self.pattern[start..];
        let look = match text.as_bytes().get(1) {
            Some(b'A') => Some(Look::Start),
            Some(b'z') => Some(Look::End),
            Some(b'b') => Some(Look::WordAscii),
            Some(b'B') => Some(Look::WordAsciiNegate),
            Some(b'C') => return Err(error("invalid escape sequence", &text[..2])),
            Some(b'Q') => {
                let quoted = &text[2..];
                let (literal, length) =
                    quoted.find(r"\E").map_or((quoted, quoted.len()), |end| (&quoted[..end], end + 2));
                self.at = start + 2 + length;
                return literal.chars().try_for_each(|c| self.literal(u32::from(c)));
            }
            _ => None,
        };
        if let Some(look) = look {
            self.at = start + 2;
            return self.push(Hir::look(look));
        }
        if let Some((ranges, length)) = class::escaped(text, self.flags.fold_case)? {
            self.at = start + length;
            return self.push_class(ranges);
        }
        let (code_point, length) = class::escaped_code_point(text)?;
        self.at = start + length;
        self.literal(code_point)
    }

    /// `{n}`, `{n,}` or `{n,m}` at `start` as (min, max, length); `None` where the brace is a literal one.
    fn counted(&self, start: usize) -> Result<Option<(u32, Option<u32>, usize)>, MatcherError> {
        let text = &self.pattern[start..];
        let Some(end) = text.find('}') else { return Ok(None) };
        let number = |digits: &str| {
            let well_formed = digits == "0"
                || (!digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
            well_formed.then(|| digits.parse().unwrap_or(u32::MAX))
        };
        let (min, max) = match text[1..end].split_once(',') {
            None => (number(&text[1..end]), Some(number(&text[1..end]))),
            Some((min, "")) => (number(min), None),
            Some((min, max)) => (number(min), Some(number(max))),
        };
        let (Some(min), max) = (min, max) else { return Ok(None) };
        let max = match max {
            Some(None) => return Ok(None),
            Some(max) => max,
            None => None,
        };
        if min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT || min > max) {
            return Err(error("invalid repeat count", &text[..=end]));
        }
        Ok(Some((min, max, end + 1)))
    }

    fn repeat(
        &mut self,
        min: u32,
        max: Option<u32>,
        counted: bool,
        start: usize,
        last_repeat: Option<usize>,
    ) -> Result<(), MatcherError> {
        let lazy = self.rest().starts_with('?');
        self.at += usize::from(lazy);
        if let Some(last) = last_repeat {
            return Err(error("invalid nested repetition operator", &self.pattern[last..self.at]));
        }
        let operator = &self.pattern[start..self.at];
        let Some(piece) = self.groups.last_mut().and_then(|group| group.pieces.pop()) else {
            return Err(error("missing argument to repetition operator", operator));
        };
        let times = if counted { max.unwrap_or(min) } else { 1 };
        let copies = if times == 0 { 1 } else { times.saturating_mul(piece.copies) };
        if counted && times >= 2 && copies > MAX_REPEAT {
            return Err(error("invalid repeat count", operator));
        }
        let greedy = lazy == self.flags.swap_greed;
        let hir = Hir::repetition(Repetition { min, max, greedy, sub: Box::new(piece.hir) });
        self.push_piece(Piece { hir, copies });
        Ok(())
    }

    /// Opens a group; `capture` is the name of a capturing one, if it has one.
    fn open(&mut self, capture: Option<Option<String>>) -> Result<(), MatcherError> {
        if self.groups.len() > MAX_NESTING {
            return Err(error("expression nests too deeply", self.pattern));
        }
        let index = match capture {
            Some(name) if self.captures => {
                self.capture_names.push(name);
                u32::try_from(self.capture_names.len()).ok()
            }
            _ => None,
        };
        self.groups.push(Group::new(self.flags, index));
        Ok(())
    }

    fn close(&mut self) -> Result<(), MatcherError> {
        if self.groups.len() < 2 {
            return Err(error("unexpected )", self.pattern));
        }
        if let Some(group) = self.groups.pop() {
            self.flags = group.outer_flags;
            let piece = group.finish();
            self.push_piece(piece);
        }
        Ok(())
    }

    /// What begins with `(?` at `start`: a named group, flags, or both flags and a group.
    fn flags_or_group(&mut self, start: usize) -> Result<(), MatcherError> {
        let text = &self.pattern[start..];
        let name_start = if text.starts_with("(?P<") && text.len() > 4 {
            Some(4)
        } else {
            (text.starts_with("(?<") && text.len() > 3).then_some(3)
        };
        if let Some(name_start) = name_start {
            let Some(end) = text.find('>') else { return Err(error("invalid named capture", text)) };
            let name = text.get(name_start..end).unwrap_or_default();
            if name.is_empty() || !name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
                return Err(error("invalid named capture", &text[..=end]));
            }
            self.at = start + end + 1;
            return self.open(Some(Some(name.to_owned())));
        }
        let (mut flags, mut set, mut saw_flag) = (self.flags, true, false);
        let mut length = text.len();
        for (i, c) in text.char_indices().skip(2) {
            length = i + c.len_utf8();
            match c {
                'i' => flags.fold_case = set,
                'm' => flags.multi_line = set,
                's' => flags.dot_matches_newline = set,
                'U' => flags.swap_greed = set,
                '-' if set => {
                    (set, saw_flag) = (false, false);
                    continue;
                }
                ':' | ')' if set || saw_flag => {
                    self.at = start + length;
                    if c == ':' {
                        self.open(None)?;
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => break,
            }
            saw_flag = true;
        }
        Err(error("invalid or unsupported Perl syntax", &text[..length]))
    }
}
