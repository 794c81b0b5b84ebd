//! The samples that queries are asked of, drawn from a seed: some sixty series of every kind, and one metric of so many that
//! they are cut into partitions, written as three blocks.
//!
//! Values are multiples of a power of two, so that sums of them are exact in every order and answers can be compared closely.

mod histograms;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use storage::block::{BlockMeta, BlockWriter, BlockWriterSettings, ChunkPayload};
use storage::chunk::encode_series;
use storage::model::{FloatHistogram, Labels, SampleBuffer, TimeRange, is_stale_nan, stale_nan};

use super::random::Random;
use histograms::Shape;

/// Labels by name.
pub type LabelSet = BTreeMap<String, String>;

/// What a series has at one time.
#[derive(Debug, Clone)]
pub enum Value {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

impl Value {
    /// Whether it is a staleness marker.
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Float(value) if is_stale_nan(*value))
    }
}

/// Samples in ascending time.
pub type Samples = Vec<(i64, Value)>;

/// All series, sorted by labels, and between which times they lie.
pub struct Dataset {
    /// Labels and samples.
    pub series: Vec<(LabelSet, Samples)>,
    /// Since when samples count, by their time, of those that say so.
    pub starts: BTreeMap<LabelSet, BTreeMap<i64, i64>>,
    /// No sample is earlier.
    pub start: i64,
    /// No sample is later.
    pub end: i64,
}

/// Where the first block begins.
const START: i64 = 1_700_000_400_000;
/// How long a block is.
const BLOCK_MS: i64 = 1_200_000;
/// How many there are.
const BLOCKS: i64 = 3;
/// For each of six targets, series of `many`; together enough for three partitions.
const SHARDS: [&str; 33] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20",
    "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31", "32",
];
/// Few, so that windows cross the borders of chunks.
const SAMPLES_PER_CHUNK: usize = 40;

/// How the values of a series go.
#[derive(Clone, Copy)]
enum Course {
    Counter,
    Gauge,
    Constant,
    /// NaN, infinities, zeros of both signs, the largest numbers.
    Wild,
    One,
    Native(Shape),
    /// Now floats, now histograms.
    Mixed(Shape),
}

impl Dataset {
    /// The series that belong to `seed`.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut series: BTreeMap<LabelSet, Samples> = BTreeMap::new();
        let end = START + BLOCKS * BLOCK_MS - 1;
        for (labels, course) in kinds() {
            let pairs = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let (from, to) = lifetime(&mut random, &labels, end);
            let interval = match labels[0].1 {
                "many" => 60_000,
                _ => *random.pick(&[10_000, 15_000, 15_000, 15_000, 30_000, 60_000]),
            };
            series.insert(pairs.collect(), samples(&mut random, course, interval, from, to));
        }
        let mut all_starts = BTreeMap::new();
        for (labels, samples) in &series {
            let kind = random.below(4);
            if !labels["__name__"].starts_with("gauge") && random.percent(40) {
                all_starts.insert(labels.clone(), starts(&mut random, samples, kind));
            }
        }
        Self { series: series.into_iter().collect(), starts: all_starts, start: START, end }
    }

    /// Writes the blocks into an empty folder.
    pub fn write(&self, folder: &Path) {
        for block in 0..BLOCKS {
            let (mint, maxt) = (START + block * BLOCK_MS, START + (block + 1) * BLOCK_MS);
            let id = format!("01HF0000000000000000000{block:03}").parse().unwrap();
            let meta = BlockMeta::new(id, TimeRange { mint, maxt });
            let mut writer = BlockWriter::create(folder, meta, BlockWriterSettings::default()).unwrap();
            for (labels, samples) in &self.series {
                let mut buffer = SampleBuffer::new();
                for (t, value) in samples.iter().filter(|(t, _)| (mint..maxt).contains(t)) {
                    match value {
                        Value::Float(value) => buffer.push_float(*t, *value),
                        Value::Histogram(histogram) => buffer.push_shared_histogram(*t, histogram),
                    }
                    if let Some(start) = self.starts.get(labels).and_then(|starts| starts.get(t)) {
                        buffer.set_start_time(*start);
                    }
                }
                if buffer.is_empty() {
                    continue;
                }
                let chunks = encode_series(&buffer, SAMPLES_PER_CHUNK).unwrap();
                let payloads = chunks.iter().map(|chunk| ChunkPayload {
                    mint: chunk.mint,
                    maxt: chunk.maxt,
                    encoding: chunk.encoding as u8,
                    data: &chunk.data,
                });
                writer.push(&Labels::from_pairs(labels), payloads).unwrap();
            }
            writer.finish().unwrap();
        }
    }
}

type Pairs = Vec<(&'static str, &'static str)>;

/// Which series there are. Several names share their other labels, so that operations that drop the name collide.
fn kinds() -> Vec<(Pairs, Course)> {
    let mut kinds: Vec<(Pairs, Course)> = Vec::new();
    let mut add = |name: &'static str, labels: &[(&'static str, &'static str)], course| {
        kinds.push(([("__name__", name)].into_iter().chain(labels.iter().copied()).collect(), course));
    };
    for job in ["api", "db"] {
        for instance in ["h1", "h2", "h10"] {
            let target = [("job", job), ("instance", instance)];
            for code in ["200", "500"] {
                add("requests_total", &[target[0], target[1], ("code", code)], Course::Counter);
            }
            for shard in SHARDS {
                let course = if shard.ends_with('5') { Course::Native(Shape::Exponential) } else { Course::Counter };
                add("many", &[target[0], target[1], ("shard", shard)], course);
            }
            add("temperature", &target, Course::Gauge);
            add("load", &target, Course::Gauge);
        }
        let target = [("job", job), ("instance", "h1")];
        add("errors_total", &[target[0], target[1], ("code", "500")], Course::Counter);
        add("wild", &target, Course::Wild);
        add("constant", &[("job", job)], Course::Constant);
        for le in ["0.1", "0.5", "1", "5", "+Inf"] {
            add("latency_bucket", &[target[0], target[1], ("le", le)], Course::Counter);
        }
        add("native", &target, Course::Native(Shape::Exponential));
        add("native", &[("job", job), ("instance", "h2")], Course::Native(Shape::Coarse));
        add("gauge_native", &target, Course::Native(Shape::Gauge));
        add("custom", &target, Course::Native(Shape::Custom));
        add("mixed", &target, Course::Mixed(Shape::Exponential));
        add("target_info", &[target[0], target[1], ("version", "1.2"), ("data.center", "a")], Course::One);
        add("target_info", &[("job", job), ("instance", "h2"), ("version", "1.3")], Course::One);
    }
    add("wild", &[("job", "api"), ("instance", "h2"), ("région", "île")], Course::Wild);
    add("latency_bucket", &[("job", "db"), ("instance", "h2"), ("le", "1")], Course::Counter);
    add("latency_bucket", &[("job", "db"), ("instance", "h2"), ("le", "x")], Course::Counter);
    // a native histogram among the buckets of a classic one
    add("latency_bucket", &[("job", "api"), ("instance", "h1")], Course::Native(Shape::Exponential));
    add("custom", &[("job", "api"), ("instance", "h2")], Course::Native(Shape::OtherCustom));
    add("native", &[("job", "api"), ("instance", "h10")], Course::Native(Shape::WithNan));
    add("target_info", &[("job", "api"), ("instance", "h1"), ("version", "1.4")], Course::One);
    add("build_info", &[("job", "api"), ("instance", "h1"), ("revision", "abc"), ("version", "1.2")], Course::One);
    kinds
}

/// When a series begins and ends. Of the three `target_info` of h1 only one lives at a time.
fn lifetime(random: &mut Random, labels: &Pairs, end: i64) -> (i64, i64) {
    let middle = START + BLOCK_MS * 3 / 2;
    match (labels[0].1, labels.iter().find(|(name, _)| *name == "version").map(|(_, version)| *version)) {
        ("target_info", Some("1.2")) => return (START, middle),
        ("target_info", Some("1.4")) => return (middle + 20_000, end),
        _ => {}
    }
    let early = if random.percent(15) { random.between(START, middle) } else { START };
    let late = if random.percent(15) { random.between(early + 60_000, end) } else { end };
    (early, late)
}

/// Draws the samples of a series: a jittering interval, gaps, staleness markers, resets.
fn samples(random: &mut Random, course: Course, interval: i64, from: i64, to: i64) -> Samples {
    let jitter = if random.percent(50) { 0 } else { interval / 20 };
    let base = random.between(0, interval);
    let mut values = Values { course, counter: 0.0, shape: None, floats: random.percent(50) };
    let mut samples = Samples::new();
    let mut tick = from + base;
    while tick <= to {
        let t = (tick + random.between(-jitter, jitter)).clamp(from, to);
        if samples.last().is_none_or(|(last, _)| *last < t) {
            if random.percent(2) {
                samples.push((t, Value::Float(stale_nan())));
                tick += interval * random.between(1, 8);
            } else {
                samples.push((t, values.next(random)));
            }
        }
        tick += interval * if random.percent(2) { random.between(2, 20) } else { 1 };
    }
    samples
}

/// Draws since when samples count: since the last reset, mostly; or each since the one before it; or nonsense now and then.
fn starts(random: &mut Random, samples: &Samples, kind: usize) -> BTreeMap<i64, i64> {
    let mut starts = BTreeMap::new();
    let mut start = samples.first().map_or(0, |(t, _)| t - random.between(1, 60_000));
    for pair in samples.windows(2) {
        let ((before, old), (t, new)) = (&pair[0], &pair[1]);
        let reset = match (old, new) {
            (Value::Float(old), Value::Float(new)) => new < old || new.is_nan() || old.is_nan(),
            (Value::Histogram(old), Value::Histogram(new)) => new.detect_reset(old),
            _ => true,
        };
        if kind == 0 {
            start = *before;
        } else if reset || random.percent(2) {
            start = random.between(*before, *t);
        }
        let nonsense = kind == 1 && random.percent(10);
        match random.below(20) {
            0 => {}
            1 if nonsense => drop(starts.insert(*t, t + 5_000)),
            2 if nonsense => drop(starts.insert(*t, before - 2_000)),
            _ => drop(starts.insert(*t, start)),
        }
    }
    starts
}

/// Draws one value after another.
struct Values {
    course: Course,
    counter: f64,
    shape: Option<histograms::Growing>,
    floats: bool,
}

impl Values {
    fn next(&mut self, random: &mut Random) -> Value {
        let quarter = |n: i64| f64::from(i32::try_from(n).unwrap()) / 4.0;
        Value::Float(match self.course {
            Course::Counter => {
                let reset = random.percent(4);
                let step = if random.percent(30) { 0.0 } else { quarter(random.between(0, 160)) };
                self.counter = if reset { step } else { self.counter + step };
                self.counter
            }
            Course::Gauge => quarter(random.between(-200, 200)),
            Course::Constant => 3.0,
            Course::One => 1.0,
            Course::Wild => match random.below(12) {
                0 => f64::NAN,
                1 => f64::INFINITY,
                2 => f64::NEG_INFINITY,
                3 => -0.0,
                4 => 0.0,
                5 => 1e308,
                6 => 1e-5,
                _ => quarter(random.between(-8, 8)),
            },
            Course::Native(shape) => return self.histogram(random, shape),
            Course::Mixed(shape) => {
                if random.percent(8) {
                    self.floats = !self.floats;
                }
                if !self.floats {
                    return self.histogram(random, shape);
                }
                quarter(random.between(0, 100))
            }
        })
    }

    fn histogram(&mut self, random: &mut Random, shape: Shape) -> Value {
        let growing = self.shape.get_or_insert_with(|| histograms::Growing::new(shape));
        Value::Histogram(Arc::new(growing.next(random)))
    }
}
