//! Function calls.

use promql::Function;
use promql::tree::ValueType;

use super::{Grammar, Taste};

const REPLACEMENTS: [&str; 7] = [
    "\"new\", \"$1\", \"instance\", \"h(.+)\"",
    "\"job\", \"all\", \"job\", \".*\"",
    "\"__name__\", \"renamed\", \"job\", \"api\"",
    "\"instance\", \"\", \"instance\", \"h1.*\"",
    "\"new\", \"${1}-$2\", \"instance\", \"(h)(.*)\"",
    "\"code\", \"$1\", \"missing\", \"(.*)\"",
    "\"__name__\", \"$1_x\", \"__name__\", \"(.*)_total\"",
];

const INFO_SELECTORS: [&str; 9] = [
    "",
    "",
    ", {version=~\".+\"}",
    ", {version=\"1.2\"}",
    ", {__name__=\"build_info\"}",
    ", {__name__=~\".*_info\", revision=~\".*\"}",
    ", {__name__!=\"target_info\"}",
    ", {missing=\"\"}",
    ", {\"data.center\"=~\".+\"}",
];

const ABSENT: [&str; 5] = [
    "job=\"none\"",
    "job=\"api\",instance=\"h9\"",
    "job=\"a\",job=\"b\",x=\"y\"",
    "x=~\"y\",z=\"\"",
    "z=\"1\",z=~\".+\"",
];

impl Grammar<'_> {
    /// A call of a function.
    pub(super) fn call(&mut self, function: Function, depth: usize) -> String {
        let args = match function {
            Function::HistogramQuantile | Function::HistogramFraction | Function::HistogramQuantiles => {
                self.histogram_args(function, depth)
            }
            Function::LabelReplace => {
                format!("{}, {}", self.vector(depth, Taste::Any), self.random.pick(&REPLACEMENTS))
            }
            Function::LabelJoin => {
                let sources = ["", ", \"job\"", ", \"job\", \"instance\"", ", \"missing\", \"code\""];
                let (vector, sources) = (self.vector(depth, Taste::Any), *self.random.pick(&sources));
                let target = *self.random.pick(&["new", "job", "instance", "__name__"]);
                format!("{vector}, \"{target}\", \"{}\"{sources}", self.random.pick(&["-", "", ", "]))
            }
            Function::SortByLabel | Function::SortByLabelDesc => {
                let labels = ["\"instance\"", "\"job\", \"instance\"", "\"code\", \"job\"", "\"missing\""];
                format!("{}, {}", self.vector(depth, Taste::Any), self.random.pick(&labels))
            }
            Function::Info => format!("{}{}", self.vector(depth, Taste::Any), self.random.pick(&INFO_SELECTORS)),
            Function::DoubleExponentialSmoothing => {
                let factor = |grammar: &mut Self| match grammar.random.percent(4) {
                    true => grammar.scalar(0),
                    false => (*grammar.random.pick(&["0.1", "0.5", "0.9"])).to_owned(),
                };
                let (a, b) = (factor(self), factor(self));
                format!("{}, {a}, {b}", self.range(depth, Taste::Floats))
            }
            Function::QuantileOverTime => format!("{}, {}", self.quantile(), self.range(depth, Taste::Floats)),
            Function::Absent | Function::AbsentOverTime if self.random.percent(60) => {
                let window = if function == Function::Absent { "" } else { "[5m]" };
                format!("nothing{{{}}}{window}", self.random.pick(&ABSENT))
            }
            Function::Timestamp | Function::StartTimestamp if self.random.percent(60) => self.selector(Taste::Any),
            _ => self.plain_args(function, depth),
        };
        format!("{}({args})", function.name())
    }

    /// Arguments whose types say all.
    fn plain_args(&mut self, function: Function, depth: usize) -> String {
        let signature = function.signature();
        let left_out = signature.variadic == 1 && self.random.percent(40);
        let count = signature.args.len() - usize::from(left_out);
        let of_histograms = function.name().starts_with("histogram");
        let mut args: Vec<String> = Vec::new();
        for arg in &signature.args[..count] {
            let taste = match self.random.below(10) {
                0..9 if of_histograms => Taste::Natives,
                0 => Taste::Natives,
                1 | 2 => Taste::Any,
                _ => Taste::Floats,
            };
            args.push(match arg {
                ValueType::Vector => self.vector(depth, taste),
                ValueType::Matrix => self.range(depth, taste),
                _ => self.scalar(depth.min(1)),
            });
        }
        args.join(", ")
    }

    /// A quantile, sometimes none that makes sense.
    pub(super) fn quantile(&mut self) -> String {
        if self.random.percent(15) {
            return self.moving(1);
        }
        let quantiles = ["0", "0.1", "0.5", "0.9", "0.99", "1", "0.25", "-0.5", "1.5", "NaN"];
        (*self.random.pick(&quantiles)).to_owned()
    }

    fn histogram_args(&mut self, function: Function, depth: usize) -> String {
        let vector = match self.random.below(6) {
            0 | 1 => self.vector(depth, Taste::Natives),
            2 => self.selector(Taste::Classic),
            3 => format!("sum by (le) ({})", self.vector(depth.min(1), Taste::Classic)),
            4 => format!("rate({})", self.range(0, Taste::Classic)),
            _ => self.vector(depth, Taste::Any),
        };
        match function {
            Function::HistogramQuantile => format!("{}, {vector}", self.quantile()),
            Function::HistogramFraction => {
                let bounds = ["-Inf", "-1", "0", "0.1", "0.3", "1", "2.5", "5", "Inf", "NaN"];
                format!("{}, {}, {vector}", self.random.pick(&bounds), self.random.pick(&bounds))
            }
            _ => {
                let quantiles: Vec<String> = (0..=self.random.below(3)).map(|_| self.quantile()).collect();
                format!("{vector}, \"{}\", {}", self.random.pick(&["q", "job"]), quantiles.join(", "))
            }
        }
    }
}
