//! Reads scripts: `clear`, `load` with series, and `eval` with what is expected of it.

use std::sync::OnceLock;

use regex::Regex;
use storage::model::{Labels, Timestamp};

use super::series::{Point, parse_labels, parse_number, parse_series, parse_string};

/// One command of a script.
pub enum Command {
    /// Forget all series.
    Clear,
    /// Add series.
    Load(Load),
    /// Evaluate a query.
    Eval(Box<Eval>),
}

/// Series to be added.
pub struct Load {
    /// Whether classic histograms are added as native ones with custom buckets, too.
    pub with_nhcb: bool,
    /// Milliseconds between points; the first is at 0.
    pub step_ms: i64,
    /// The series.
    pub series: Vec<LoadedSeries>,
}

/// One series of a load.
pub struct LoadedSeries {
    /// Its labels.
    pub labels: Labels,
    /// What it has at each step.
    pub points: Vec<Point>,
    /// Of each point; empty where none has one.
    pub starts: Vec<StartOffset>,
}

/// How far from a point's time its start timestamp lies in milliseconds, if it has one.
pub type StartOffset = Option<i64>;

/// When a query is evaluated.
#[derive(Clone, Copy)]
pub enum Times {
    /// Once.
    Instant(Timestamp),
    /// At every step.
    Range(Steps),
}

/// Evenly spaced instants.
#[derive(Clone, Copy)]
pub struct Steps {
    /// The first.
    pub start: Timestamp,
    /// None is later.
    pub end: Timestamp,
    /// Milliseconds between them.
    pub step_ms: i64,
}

/// What a text must be.
pub enum TextMatch {
    /// Exactly this.
    Exact(String),
    /// Something in which this is found.
    Pattern(Regex),
}

impl TextMatch {
    /// Any text.
    fn any() -> Self {
        Self::Pattern(Regex::new("").unwrap())
    }

    /// Whether `text` is as it must be.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Pattern(pattern) => pattern.is_match(text),
        }
    }

    /// How it was written.
    pub fn text(&self) -> &str {
        match self {
            Self::Exact(exact) => exact,
            Self::Pattern(pattern) => pattern.as_str(),
        }
    }
}

/// What is expected of warnings or of infos.
#[derive(Default)]
pub struct Annotations {
    /// Each must match one, and each that there is must match one of these, unless there are none.
    pub some: Vec<TextMatch>,
    /// There must be none.
    pub none: bool,
}

/// A query and what is expected of it.
pub struct Eval {
    /// Its line in the script, from 1.
    pub line: usize,
    /// Its text.
    pub query: String,
    /// When it is evaluated.
    pub times: Times,
    /// The error, where it must fail.
    pub fail: Option<TextMatch>,
    /// The warnings.
    pub warnings: Annotations,
    /// The infos.
    pub infos: Annotations,
    /// Whether the order of the series matters.
    pub ordered: bool,
    /// A scalar.
    pub scalar: Option<f64>,
    /// A text.
    pub string: Option<String>,
    /// The times of the samples where an instant query has a range vector as its result.
    pub range_vector: Option<Steps>,
    /// Series with a point a step.
    pub series: Vec<(Labels, Vec<Point>)>,
}

/// Reads a whole script.
pub fn parse(text: &str) -> Result<Vec<Command>, String> {
    let lines: Vec<&str> =
        text.lines().map(|line| line.trim()).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let word = line.split_whitespace().next().unwrap_or("");
        // a command goes on to the next empty line
        let body = lines[at + 1..].split(|line| line.is_empty()).next().unwrap_or(&[]);
        let command = match word {
            "" => {
                at += 1;
                continue;
            }
            "clear" => Ok((Command::Clear, 0)),
            word if word.starts_with("load") => parse_load(line, body),
            word if word.starts_with("eval") => parse_eval(at + 1, line, body),
            _ => Err(format!("no command {word:?}")),
        };
        let (command, used) = command.map_err(|e| format!("line {}: {e}", at + 1))?;
        commands.push(command);
        at += 1 + used;
    }
    Ok(commands)
}

/// `load <step>` or `load_with_nhcb <step>`; a line `m@st …` has the start timestamps of the series in the
/// line below.
fn parse_load(line: &str, body: &[&str]) -> Result<(Command, usize), String> {
    let (word, step) = line.split_once(char::is_whitespace).ok_or("load wants a step")?;
    let with_nhcb = match word {
        "load" => false,
        "load_with_nhcb" => true,
        _ => return Err(format!("no command {word:?}")),
    };
    let mut series = Vec::new();
    let mut starts_above: Option<(Labels, Vec<StartOffset>)> = None;
    for line in body {
        let wrong = |e: String| format!("{line}: {e}");
        if let Some(starts) = parse_starts(line).map_err(wrong)? {
            starts_above = Some(starts);
            continue;
        }
        let (labels, points) = parse_series(line).map_err(wrong)?;
        let starts = match starts_above.take() {
            Some((of, starts)) if of == labels && starts.len() == points.len() => starts,
            Some(_) => return Err(wrong("the start timestamps above are of another series".to_owned())),
            None => Vec::new(),
        };
        series.push(LoadedSeries { labels, points, starts });
    }
    Ok((Command::Load(Load { with_nhcb, step_ms: parse_duration(step.trim())?, series }), body.len()))
}

/// A line of start timestamps, if it is one: `m{a="b"}@st _ -30s -1m+1sx3`.
fn parse_starts(line: &str) -> Result<Option<(Labels, Vec<StartOffset>)>, String> {
    let Some((series, starts)) = line.split_once("@st ") else { return Ok(None) };
    let mut offsets = Vec::new();
    for item in starts.split_whitespace() {
        let (value, repeat) = match item.rsplit_once('x') {
            Some((value, count)) => (value, count.parse::<usize>().map_err(|e| format!("{item:?}: {e}"))?),
            None => (item, 0),
        };
        if value == "_" {
            offsets.extend(vec![None; repeat.max(1)]);
            continue;
        }
        let sign = value.char_indices().skip(1).find(|&(_, c)| c == '+' || c == '-').map(|(at, _)| at);
        let (offset, increment) = value.split_at(sign.unwrap_or(value.len()));
        let (mut offset, increment) =
            (parse_offset(offset)?, if sign.is_some() { parse_offset(increment)? } else { 0 });
        for _ in 0..=repeat {
            offsets.push(Some(offset));
            offset += increment;
        }
    }
    Ok(Some((parse_labels(series)?.0, offsets)))
}

/// A duration with a sign perhaps, in milliseconds.
fn parse_offset(text: &str) -> Result<i64, String> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let ms = if unsigned == "0" { 0 } else { parse_duration(unsigned)? };
    Ok(if text.starts_with('-') { -ms } else { ms })
}

/// `eval instant at <time> <query>` or `eval range from <time> to <time> step <step> <query>`, and the lines below.
fn parse_eval(number: usize, line: &str, body: &[&str]) -> Result<(Command, usize), String> {
    static INSTANT: OnceLock<Regex> = OnceLock::new();
    static RANGE: OnceLock<Regex> = OnceLock::new();
    let instant = INSTANT
        .get_or_init(|| Regex::new(r"^eval(?:_(fail|warn|ordered|info))?\s+instant\s+at\s+(.+?)\s+(.+)$").unwrap());
    let range = RANGE.get_or_init(|| {
        Regex::new(r"^eval(?:_(fail|warn|info))?\s+range\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+?)\s+(.+)$").unwrap()
    });
    let (mode, times, query) = if let Some(parts) = instant.captures(line) {
        (parts.get(1), Times::Instant(parse_duration(&parts[2])?), parts[3].to_owned())
    } else if let Some(parts) = range.captures(line) {
        (parts.get(1), Times::Range(parse_steps(&parts[2], &parts[3], &parts[4])?), parts[5].to_owned())
    } else {
        return Err("eval wants instant at or range from".to_owned());
    };
    let mode = mode.map_or("", |mode| mode.as_str());
    let annotated =
        |kind| Annotations { some: if mode == kind { vec![TextMatch::any()] } else { vec![] }, none: false };
    let mut eval = Eval {
        line: number,
        query,
        times,
        fail: (mode == "fail").then(TextMatch::any),
        warnings: annotated("warn"),
        infos: annotated("info"),
        ordered: mode == "ordered",
        scalar: None,
        string: None,
        range_vector: None,
        series: Vec::new(),
    };
    let mut used = 0;
    for line in body {
        used += 1;
        let goes_on = parse_expected(&mut eval, line).map_err(|e| format!("{line}: {e}"))?;
        if !goes_on {
            break;
        }
    }
    Ok((Command::Eval(Box::new(eval)), used))
}

/// A line below `eval`; whether another one may follow.
fn parse_expected(eval: &mut Eval, line: &str) -> Result<bool, String> {
    static RANGE_VECTOR: OnceLock<Regex> = OnceLock::new();
    static EXPECT: OnceLock<Regex> = OnceLock::new();
    let range_vector = RANGE_VECTOR
        .get_or_init(|| Regex::new(r"^expect range vector\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+)$").unwrap());
    let expect = EXPECT.get_or_init(|| {
        Regex::new(r"^expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):(.+))?$").unwrap()
    });
    if let Some(message) = line.strip_prefix("expected_fail_message") {
        eval.fail = Some(TextMatch::Exact(message.trim().to_owned()));
        return Ok(false);
    }
    if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
        eval.fail = Some(TextMatch::Pattern(Regex::new(pattern.trim()).map_err(|e| e.to_string())?));
        return Ok(false);
    }
    if let Some(parts) = range_vector.captures(line) {
        eval.range_vector = Some(parse_steps(&parts[1], &parts[2], &parts[3])?);
        return Ok(true);
    }
    if let Some(string) = line.strip_prefix("expect string ") {
        eval.string = Some(parse_string(string.trim())?);
        return Ok(true);
    }
    if line.split(' ').next() == Some("expect") {
        let parts = expect.captures(line).ok_or("expect of nothing known")?;
        let text = parts.get(3).map_or("", |text| text.as_str().trim());
        let matched = match parts.get(2).map(|kind| kind.as_str()) {
            Some("msg") => TextMatch::Exact(text.to_owned()),
            Some(_) => TextMatch::Pattern(Regex::new(text).map_err(|e| e.to_string())?),
            None => TextMatch::any(),
        };
        match &parts[1] {
            "ordered" => eval.ordered = true,
            "fail" => eval.fail = Some(matched),
            "warn" => eval.warnings.some.push(matched),
            "no_warn" => eval.warnings.none = true,
            "info" => eval.infos.some.push(matched),
            _ => eval.infos.none = true,
        }
        return Ok(true);
    }
    if let Ok(number) = parse_number(line) {
        eval.scalar = Some(number);
        return Ok(false);
    }
    let (labels, _) = parse_labels(line)?;
    let (_, points) = parse_series(line)?;
    if points.len() > 1 && matches!(eval.times, Times::Instant(_)) && eval.range_vector.is_none() {
        return Err("several points at one instant".to_owned());
    }
    eval.series.push((labels, points));
    Ok(true)
}

fn parse_steps(start: &str, end: &str, step: &str) -> Result<Steps, String> {
    Ok(Steps { start: parse_duration(start)?, end: parse_duration(end)?, step_ms: parse_duration(step)? })
}

/// A time or a duration such as `1h30m`, in milliseconds.
fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no duration");
    if text == "0" {
        return Ok(0);
    }
    let mut total = 0_i64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let units = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |len| digits + len);
        let number: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit_ms = match &rest[digits..units] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return Err(wrong()),
        };
        total = number.checked_mul(unit_ms).and_then(|ms| total.checked_add(ms)).ok_or_else(wrong)?;
        rest = &rest[units..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}
