//! Histogram chunks (encodings 2 and 5): integer counts.
//!
//! After the header and the [layout](super::layout) come the samples. Time, count, zero count and every bucket (itself
//! a delta to the bucket before) are whole in the first sample, and in each later one the change of the difference to
//! the sample before; all in varbit codes. The sum is XOR-coded. A staleness marker ends after its sum.
//!
//! Queries compute on float histograms, so [`decode`] converts; [`decode_integer`] keeps the integers for remote read
//! and for writing blocks anew.

use super::bits::{BitReader, BitWriter};
use super::fit::Populations;
use super::histogram_encoder::{Encoder, SampleWriter};
use super::histogram_header::HistogramHeader;
use super::layout::{Layout, Reduction};
use super::xor::{XorWindow, XorWriter};
use super::{ChunkError, Encoding};
use crate::model::{CounterResetHint, FloatHistogram, Histogram, SampleBuffer, TimeInterval, Timestamp, is_stale_nan};

/// Appends the samples in `interval` as float histograms.
pub(super) fn decode(
    encoding: Encoding,
    data: &[u8],
    interval: TimeInterval,
    out: &mut SampleBuffer,
) -> Result<(), ChunkError> {
    let Some(mut samples) = Samples::open(encoding, data)? else { return Ok(()) };
    while let Some(t) = samples.next()? {
        if t > interval.maxt {
            break;
        }
        if t < interval.mint {
            continue;
        }
        if is_stale_nan(samples.sum) {
            out.push_float(t, samples.sum);
        } else {
            out.push_histogram(t, samples.float_histogram());
        }
        out.set_start_time(samples.start);
    }
    Ok(())
}

/// Appends the samples of an integer histogram chunk (encoding 2 or 5) that lie in `interval`, as integers. A staleness
/// marker is an empty histogram whose sum is one.
///
/// # Errors
/// As [`decode`](super::decode), and for other encodings.
pub fn decode_integer(
    encoding: u8,
    data: &[u8],
    interval: TimeInterval,
    out: &mut Vec<(Timestamp, Histogram)>,
) -> Result<(), ChunkError> {
    let encoding = Encoding::try_from(encoding)?;
    if !matches!(encoding, Encoding::Histogram | Encoding::HistogramSt) {
        return Err(ChunkError::new(format!("chunk encoding {encoding:?} has no integer histograms")));
    }
    let Some(mut samples) = Samples::open(encoding, data)? else { return Ok(()) };
    while let Some(t) = samples.next()? {
        if t > interval.maxt {
            break;
        }
        if t >= interval.mint {
            out.push((t, samples.histogram()));
        }
    }
    Ok(())
}

/// A number that is coded as the change of its difference.
#[derive(Debug, Clone, Copy, Default)]
struct Stepping {
    value: i64,
    step: i64,
}

impl Stepping {
    fn read(&mut self, reader: &mut BitReader<'_>) -> Result<(), ChunkError> {
        self.step = self.step.wrapping_add(reader.read_varbit_int()?);
        self.value = self.value.wrapping_add(self.step);
        Ok(())
    }

    fn write(&mut self, writer: &mut BitWriter, value: i64) {
        let step = value.wrapping_sub(self.value);
        writer.write_varbit_int(step.wrapping_sub(self.step));
        (self.value, self.step) = (value, step);
    }

    fn starting_at(value: i64) -> Self {
        Self { value, step: 0 }
    }
}

/// Reads samples one by one.
struct Samples<'a> {
    reader: BitReader<'a>,
    header: HistogramHeader,
    /// Samples read.
    read: usize,
    layout: Layout,
    /// Where the layout is finer than queries work with.
    reduction: Option<Reduction>,
    t: Stepping,
    /// The last sample's start timestamp.
    start: Timestamp,
    count: Stepping,
    zero_count: Stepping,
    sum: f64,
    xor: XorWindow,
    positive: Vec<Stepping>,
    negative: Vec<Stepping>,
}

impl<'a> Samples<'a> {
    /// Reads header and layout; none where the chunk has no samples, and then no layout either.
    fn open(encoding: Encoding, data: &'a [u8]) -> Result<Option<Self>, ChunkError> {
        let (header, bits) = HistogramHeader::split(encoding, data)?;
        if header.samples == 0 {
            return Ok(None);
        }
        let mut reader = BitReader::new(bits);
        let layout = Layout::read(&mut reader, header.samples, 1)?;
        let (positive, negative) = layout.check()?;
        Ok(Some(Self {
            reader,
            header,
            read: 0,
            reduction: layout.reduction(),
            layout,
            t: Stepping::default(),
            start: 0,
            count: Stepping::default(),
            zero_count: Stepping::default(),
            sum: 0.0,
            xor: XorWindow::default(),
            positive: vec![Stepping::default(); positive],
            negative: vec![Stepping::default(); negative],
        }))
    }

    /// The next sample's time; the sample is in the fields.
    fn next(&mut self) -> Result<Option<Timestamp>, ChunkError> {
        if self.read == self.header.samples {
            return Ok(None);
        }
        let (reader, before) = (&mut self.reader, self.t.value);
        if self.read == 0 {
            self.t = Stepping::starting_at(reader.read_varbit_int()?);
            self.count = Stepping::starting_at(reader.read_varbit_uint()?.cast_signed());
            self.zero_count = Stepping::starting_at(reader.read_varbit_uint()?.cast_signed());
            self.sum = reader.read_f64()?;
            for bucket in self.positive.iter_mut().chain(&mut self.negative) {
                *bucket = Stepping::starting_at(reader.read_varbit_int()?);
            }
        } else {
            self.t.read(reader)?;
            if self.t.value < before {
                return Err(ChunkError::unsorted());
            }
            self.count.read(reader)?;
            self.zero_count.read(reader)?;
            self.xor.read(reader, &mut self.sum)?;
            if !is_stale_nan(self.sum) {
                for bucket in self.positive.iter_mut().chain(&mut self.negative) {
                    bucket.read(reader)?;
                }
            }
        }
        self.start = self.header.start_times.read(&mut self.reader, self.read, self.t.value, before)?;
        self.read += 1;
        Ok(Some(self.t.value))
    }

    fn hint(&self) -> CounterResetHint {
        self.header.hint(self.read - 1)
    }

    /// The sample as it is stored, or in the finest schema there is.
    fn histogram(&self) -> Histogram {
        if is_stale_nan(self.sum) {
            return Histogram { sum: self.sum, ..Histogram::default() };
        }
        let deltas = |buckets: &[Stepping]| buckets.iter().map(|bucket| bucket.value).collect();
        let (layout, positive_deltas, negative_deltas) = match &self.reduction {
            None => (&self.layout, deltas(&self.positive), deltas(&self.negative)),
            Some(to) => (&to.layout, reduced(&self.positive, &to.positive), reduced(&self.negative, &to.negative)),
        };
        let Layout { schema, zero_threshold, positive_spans, negative_spans, custom_values } = layout.clone();
        Histogram {
            counter_reset_hint: self.hint(),
            schema,
            zero_threshold,
            zero_count: self.zero_count.value.cast_unsigned(),
            count: self.count.value.cast_unsigned(),
            sum: self.sum,
            positive_spans,
            negative_spans,
            positive_deltas,
            negative_deltas,
            custom_values,
        }
    }

    /// The sample with float counts and absolute populations.
    fn float_histogram(&self) -> FloatHistogram {
        if self.reduction.is_some() {
            return self.histogram().to_float();
        }
        let absolute = |buckets: &[Stepping]| absolute(buckets.iter().map(|b| b.value)).map(|p| p as f64).collect();
        let Layout { schema, zero_threshold, positive_spans, negative_spans, custom_values } = self.layout.clone();
        FloatHistogram {
            counter_reset_hint: self.hint(),
            schema,
            zero_threshold,
            zero_count: self.zero_count.value.cast_unsigned() as f64,
            count: self.count.value.cast_unsigned() as f64,
            sum: self.sum,
            positive_spans,
            negative_spans,
            positive_buckets: absolute(&self.positive),
            negative_buckets: absolute(&self.negative),
            custom_values,
        }
    }
}

/// Running totals of deltas.
fn absolute(deltas: impl Iterator<Item = i64>) -> impl Iterator<Item = i64> {
    deltas.scan(0_i64, |population, delta| {
        *population = population.wrapping_add(delta);
        Some(*population)
    })
}

/// The inverse of [`absolute`].
fn to_deltas(populations: &[i64]) -> Vec<i64> {
    let mut before = 0_i64;
    populations.iter().map(|p| p.wrapping_sub(std::mem::replace(&mut before, *p))).collect()
}

/// Deltas of the merged buckets, where bucket i goes to `targets[i]`.
fn reduced(buckets: &[Stepping], targets: &[usize]) -> Vec<i64> {
    let mut merged = vec![0_i64; targets.last().map_or(0, |last| last + 1)];
    for (population, target) in absolute(buckets.iter().map(|b| b.value)).zip(targets) {
        if let Some(bucket) = merged.get_mut(*target) {
            *bucket = bucket.wrapping_add(population);
        }
    }
    to_deltas(&merged)
}

/// Packs integer histograms into one chunk (encoding 2).
pub type HistogramEncoder = Encoder<IntegerSamples>;

/// Writes samples with integer counts.
#[derive(Debug)]
pub struct IntegerSamples {
    t: Stepping,
    count: Stepping,
    zero_count: Stepping,
    xor: XorWriter,
    positive: Vec<Stepping>,
    negative: Vec<Stepping>,
}

impl SampleWriter for IntegerSamples {
    type Histogram = Histogram;
    type Count = u64;
    type Population = i64;

    fn populations(histogram: &Histogram) -> Populations<u64, i64> {
        if is_stale_nan(histogram.sum) {
            return Populations::stale(histogram.counter_reset_hint);
        }
        Populations {
            hint: histogram.counter_reset_hint,
            sum: histogram.sum,
            count: histogram.count,
            zero_count: histogram.zero_count,
            layout: Layout::of_integer(histogram),
            positive: absolute(histogram.positive_deltas.iter().copied()).collect(),
            negative: absolute(histogram.negative_deltas.iter().copied()).collect(),
        }
    }

    fn first(writer: &mut BitWriter, t: Timestamp, first: &Populations<u64, i64>) -> Self {
        writer.write_varbit_int(t);
        writer.write_varbit_uint(first.count);
        writer.write_varbit_uint(first.zero_count);
        writer.write_f64(first.sum);
        let start = |writer: &mut BitWriter, populations: &[i64]| -> Vec<Stepping> {
            let deltas = to_deltas(populations);
            deltas.iter().for_each(|delta| writer.write_varbit_int(*delta));
            deltas.into_iter().map(Stepping::starting_at).collect()
        };
        Self {
            t: Stepping::starting_at(t),
            count: Stepping::starting_at(first.count.cast_signed()),
            zero_count: Stepping::starting_at(first.zero_count.cast_signed()),
            xor: XorWriter::default(),
            positive: start(writer, &first.positive),
            negative: start(writer, &first.negative),
        }
    }

    fn write(
        &mut self,
        writer: &mut BitWriter,
        t: Timestamp,
        last: &Populations<u64, i64>,
        next: &Populations<u64, i64>,
    ) {
        self.t.write(writer, t);
        if is_stale_nan(next.sum) {
            writer.write_varbit_int(0);
            writer.write_varbit_int(0);
        } else {
            self.count.write(writer, next.count.cast_signed());
            self.zero_count.write(writer, next.zero_count.cast_signed());
        }
        self.xor.write(writer, last.sum, next.sum);
        for (buckets, now) in [(&mut self.positive, &next.positive), (&mut self.negative, &next.negative)] {
            for (bucket, delta) in buckets.iter_mut().zip(to_deltas(now)) {
                bucket.write(writer, delta);
            }
        }
    }
}

#[cfg(test)]
mod tests;
