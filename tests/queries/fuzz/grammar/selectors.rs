//! Selectors, ranges and subqueries.

use super::{Grammar, Taste};

/// Names of several metrics, whose series collide when the name goes.
const SEVERAL: [&str; 7] = [
    ".+",
    "requests_total|errors_total",
    "temperature|load",
    "native|gauge_native",
    "temperature|native",
    ".*_info",
    "wild|constant",
];

/// Matchers that many series pass.
const MATCHERS: [&str; 10] = [
    "job=\"api\"",
    "job=\"db\"",
    "job!=\"api\"",
    "instance!=\"h2\"",
    "instance=~\"h1.*\"",
    "instance!~\"h10|h2\"",
    "instance=~\"h(1|2)\"",
    "job=~\".+\"",
    "missing=\"\"",
    "missing=~\".*\"",
];

/// Matchers that few series pass.
const RARE_MATCHERS: [&str; 9] = [
    "shard=~\"[0-3].*\"",
    "instance=\"h1\"",
    "code=\"500\"",
    "code!=\"500\"",
    "code=\"\"",
    "le=~\"1|5|.Inf\"",
    "\"région\"!=\"\"",
    "instance=~\"(?i)H2\"",
    "instance=\"h3\"",
];

const LENGTHS: [&str; 16] = [
    "30s",
    "1m",
    "1m",
    "2m",
    "3m",
    "5m",
    "5m",
    "7m30s",
    "10m",
    "20m",
    "95",
    "90s",
    "30s1ms",
    "61s1ms",
    "(2m + 30s)",
    "max_of(1m, step())",
];

impl Grammar<'_> {
    /// An instant vector selector.
    pub(super) fn selector(&mut self, taste: Taste) -> String {
        let selector = self.bare_selector(taste);
        selector + &self.shift(12)
    }

    /// A selector without `offset` or `@`.
    pub(super) fn bare_selector(&mut self, taste: Taste) -> String {
        let floats = ["requests_total", "requests_total", "errors_total", "temperature", "load", "constant", "wild"];
        let natives = ["native", "native", "gauge_native", "custom", "custom", "mixed"];
        let any = ["latency_bucket", "target_info", "build_info", "mixed", "nothing", "many", "many"];
        let taste = match taste {
            Taste::Any if self.random.percent(60) => Taste::Floats,
            Taste::Any if self.random.percent(50) => Taste::Natives,
            taste => taste,
        };
        let name = match taste {
            Taste::Floats => *self.random.pick(&floats),
            Taste::Natives => *self.random.pick(&natives),
            Taste::Classic => "latency_bucket",
            Taste::Any => *self.random.pick(&any),
        };
        let mut matchers: Vec<String> = Vec::new();
        for percent in [35, 8] {
            if self.random.percent(percent) {
                let from: &[&str] = if self.random.percent(75) { &MATCHERS } else { &RARE_MATCHERS };
                matchers.push((*self.random.pick(from)).to_owned());
            }
        }
        if self.random.percent(8) {
            matchers.insert(0, format!("__name__=~\"{}\"", self.random.pick(&SEVERAL)));
            return format!("{{{}}}", matchers.join(","));
        }
        if matchers.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", matchers.join(",")) }
    }

    /// `offset` and `@`, each in so many of a hundred cases.
    fn shift(&mut self, percent: usize) -> String {
        let mut shift = String::new();
        if self.random.percent(percent) {
            shift.push_str(&self.offset());
        }
        if self.random.percent(percent / 2) {
            let at = self.at();
            shift = if self.random.percent(50) { shift + &at } else { at + &shift };
        }
        shift
    }

    pub(super) fn offset(&mut self) -> String {
        let offsets = ["30s", "1m", "7m", "-45s", "-3m", "12s345ms", "90", "-1.5", "(30s + 15)", "(-2 * 20s)"];
        format!(" offset {}", self.random.pick(&offsets))
    }

    pub(super) fn at(&mut self) -> String {
        match self.random.below(4) {
            0 => " @ start()".to_owned(),
            1 => " @ end()".to_owned(),
            _ => {
                let millis = self.when.start + self.random.between(-900_000, 900_000);
                format!(" @ {}.{:03}", millis / 1000, millis % 1000)
            }
        }
    }

    /// A range vector.
    pub(super) fn range(&mut self, depth: usize, taste: Taste) -> String {
        if depth > 0 && self.random.percent(25) {
            let inner = self.vector(depth - 1, taste);
            return self.subquery_of(&inner);
        }
        let range = format!("{}[{}]", self.bare_selector(taste), self.random.pick(&LENGTHS));
        range + &self.shift(12)
    }

    /// A subquery of a vector.
    pub(super) fn subquery_of(&mut self, inner: &str) -> String {
        let range = *self.random.pick(&["1m", "2m", "5m", "5m", "10m", "3m7s", "45s"]);
        let step = *self.random.pick(&["", "10s", "15s", "30s", "1m", "47s", "20s500ms", "(10s * 2)"]);
        let shift = self.shift(12);
        format!("({inner})[{range}:{step}]{shift}")
    }
}
