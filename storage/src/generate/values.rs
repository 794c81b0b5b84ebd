//! The samples of one series in one block, packed.

use super::busy::BusyClock;
use super::families::{CODES, Family, Population, Series};
use super::latency::{CLASSIC_BOUNDS, Latency};
use super::node_metrics::NODE_METRICS;
use super::scrapes::Scrapes;
use super::seed::Seed;
use super::targets::Target;
use crate::chunk::{EncodedChunk, Encoding, HistogramEncoder, PushOutcome, SAMPLES_PER_CHUNK, encode_series};
use crate::error::{Error, Result};
use crate::model::{Histogram, SampleBuffer, Timestamp, stale_nan};

/// What part of the requests ends with each of [`CODES`].
const CODE_PARTS: [f64; CODES.len()] = [1.0, 0.125, 0.03125, 0.007_812_5, 0.001_953_125];
/// Requests a second of the quietest path, and how often that is doubled at most.
const RATE_MIN: f64 = 0.007_812_5;
const RATE_DOUBLINGS: u64 = 14;

/// Draws samples; reused from series to series.
#[derive(Debug)]
pub(super) struct Sampler<'a> {
    pub population: &'a Population<'a>,
    pub scrapes: Scrapes,
    pub root: Seed,
    times: Vec<Timestamp>,
    samples: SampleBuffer,
}

impl<'a> Sampler<'a> {
    pub fn new(population: &'a Population<'a>, scrapes: Scrapes, root: Seed) -> Self {
        Self { population, scrapes, root, times: Vec::new(), samples: SampleBuffer::new() }
    }

    /// The chunks of a series; none where it has no sample in the block.
    ///
    /// # Errors
    /// [`Error::Internal`] where a codec refuses what was drawn.
    pub fn chunks(&mut self, family: Family, series: Series, path: &str) -> Result<Vec<EncodedChunk>> {
        let targets = if let Family::Node(_) = family { &self.population.nodes } else { &self.population.containers };
        let target = &targets[series.target as usize];
        let gone = self.scrapes.of(target, &mut self.times);
        let variant = usize::from(series.variant);
        let place = self.root.named("job").named(&target.names.job);
        let seed = target.seed.named(path);
        let chunks = match family {
            Family::Native => {
                let latency = Latency::native(seed.named("native"), place, rate_per_ms(place, seed, path));
                return native_chunks(&latency, target, &self.times, gone);
            }
            Family::Bucket | Family::Count | Family::Sum => {
                let latency = Latency::classic(seed.named("classic"), place, rate_per_ms(place, seed, path));
                let buckets = CLASSIC_BOUNDS[variant].1 + 1;
                self.encode(gone, |t| match family {
                    Family::Bucket => latency.cumulative(target.counts_from(t), t, buckets),
                    Family::Count => latency.count(target.counts_from(t), t),
                    _ => latency.sum(target.counts_from(t), t),
                })
            }
            Family::Requests => {
                let clock = BusyClock::new(seed.child(u64::from(series.variant)), place);
                let rate = rate_per_ms(place, seed, path) * CODE_PARTS[variant];
                self.encode(gone, |t| (clock.passed(target.counts_from(t), t) * rate).floor())
            }
            Family::PodInfo => self.encode(gone, |_| 1.0),
            Family::Node(metric) => {
                let metric = &NODE_METRICS[metric];
                let own = target.seed.named(metric.name).child(u64::from(series.variant));
                self.encode(gone, |t| metric.course.at(target.seed, own, t))
            }
        };
        chunks.map_err(|error| Error::Internal(format!("generating {}: {error}", family.name())))
    }

    fn encode(
        &mut self,
        gone: Option<Timestamp>,
        value: impl Fn(Timestamp) -> f64,
    ) -> Result<Vec<EncodedChunk>, crate::chunk::ChunkError> {
        self.samples.clear();
        self.times.iter().for_each(|t| self.samples.push_float(*t, value(*t)));
        // who was never seen does not go
        if let Some(t) = gone.filter(|_| !self.times.is_empty()) {
            self.samples.push_float(t, stale_nan());
        }
        encode_series(&self.samples, SAMPLES_PER_CHUNK)
    }
}

/// Requests a millisecond on a path: its share of its job's, a little different from pod to pod.
fn rate_per_ms(job: Seed, target_path: Seed, path: &str) -> f64 {
    let of_path = job.named("rate").named(path);
    let doubled = (0..of_path.below(RATE_DOUBLINGS)).fold(RATE_MIN, |rate, _| rate * 2.0);
    doubled * (1.0 + of_path.child(0).fraction()) * (0.8 + 0.4 * target_path.named("share").fraction()) / 1000.0
}

/// As [`encode_series`], but with integer counts, as clients have them.
fn native_chunks(
    latency: &Latency,
    target: &Target,
    times: &[Timestamp],
    gone: Option<Timestamp>,
) -> Result<Vec<EncodedChunk>> {
    let internal = |error: crate::chunk::ChunkError| Error::Internal(format!("generating a native histogram: {error}"));
    let mut chunks: Vec<EncodedChunk> = Vec::new();
    let mut encoder = HistogramEncoder::new();
    let (mut mint, mut maxt) = (0, 0);
    let observed = times.iter().map(|t| (*t, latency.histogram(target.counts_from(*t), *t)));
    let stale = gone.filter(|_| !times.is_empty());
    let stale = stale.map(|t| (t, Histogram { sum: stale_nan(), ..Histogram::default() }));
    let mut cut = |encoder: HistogramEncoder, mint, maxt| {
        let samples = encoder.len();
        if samples > 0 {
            chunks.push(EncodedChunk { mint, maxt, encoding: Encoding::Histogram, data: encoder.finish(), samples });
        }
    };
    for (t, histogram) in observed.chain(stale) {
        if encoder.len() >= SAMPLES_PER_CHUNK || encoder.push(t, &histogram).map_err(internal)? == PushOutcome::NewChunk
        {
            let mut next = encoder.successor(&histogram);
            if next.push(t, &histogram).map_err(internal)? == PushOutcome::NewChunk {
                return Err(Error::Internal("an empty chunk refuses a histogram".to_owned()));
            }
            cut(std::mem::replace(&mut encoder, next), mint, maxt);
            mint = t;
        } else if encoder.len() == 1 {
            mint = t;
        }
        maxt = t;
    }
    cut(encoder, mint, maxt);
    Ok(chunks)
}
