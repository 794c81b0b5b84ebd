//! Float histogram chunks (encodings 3 and 6).
//!
//! After the header and the [layout](super::layout) come the samples. Time is as in [integer
//! histograms](super::histogram); count, zero count, sum and every bucket are whole floats in the first sample and
//! XOR-coded in the later ones, each with a window of its own. A staleness marker ends after its sum.

use super::bits::{BitReader, BitWriter};
use super::fit::Populations;
use super::histogram_encoder::{Encoder, SampleWriter};
use super::histogram_header::HistogramHeader;
use super::layout::{Layout, Reduction};
use super::xor::{XorWindow, XorWriter};
use super::{ChunkError, Encoding};
use crate::model::{FloatHistogram, SampleBuffer, TimeInterval, Timestamp, is_stale_nan};

/// Appends the samples in `interval`.
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
        if is_stale_nan(samples.sum.value) {
            out.push_float(t, samples.sum.value);
        } else {
            out.push_histogram(t, samples.histogram());
        }
        out.set_start_time(samples.start);
    }
    Ok(())
}

/// A float that is coded as the XOR with the one before.
#[derive(Debug, Clone, Copy, Default)]
struct XorFloat {
    value: f64,
    window: XorWindow,
}

impl XorFloat {
    fn read_first(&mut self, reader: &mut BitReader<'_>) -> Result<(), ChunkError> {
        self.value = reader.read_f64()?;
        Ok(())
    }

    fn read(&mut self, reader: &mut BitReader<'_>) -> Result<(), ChunkError> {
        self.window.read(reader, &mut self.value)
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
    t: Timestamp,
    step: i64,
    /// The last sample's start timestamp.
    start: Timestamp,
    count: XorFloat,
    zero_count: XorFloat,
    sum: XorFloat,
    positive: Vec<XorFloat>,
    negative: Vec<XorFloat>,
}

impl<'a> Samples<'a> {
    /// Reads header and layout; none where the chunk has no samples, and then no layout either.
    fn open(encoding: Encoding, data: &'a [u8]) -> Result<Option<Self>, ChunkError> {
        let (header, bits) = HistogramHeader::split(encoding, data)?;
        if header.samples == 0 {
            return Ok(None);
        }
        let mut reader = BitReader::new(bits);
        let layout = Layout::read(&mut reader, header.samples, 64)?;
        let (positive, negative) = layout.check()?;
        Ok(Some(Self {
            reader,
            header,
            read: 0,
            reduction: layout.reduction(),
            layout,
            t: 0,
            step: 0,
            start: 0,
            count: XorFloat::default(),
            zero_count: XorFloat::default(),
            sum: XorFloat::default(),
            positive: vec![XorFloat::default(); positive],
            negative: vec![XorFloat::default(); negative],
        }))
    }

    /// The next sample's time; the sample is in the fields.
    fn next(&mut self) -> Result<Option<Timestamp>, ChunkError> {
        if self.read == self.header.samples {
            return Ok(None);
        }
        let (reader, before) = (&mut self.reader, self.t);
        if self.read == 0 {
            self.t = reader.read_varbit_int()?;
            for field in [&mut self.count, &mut self.zero_count, &mut self.sum] {
                field.read_first(reader)?;
            }
            for bucket in self.positive.iter_mut().chain(&mut self.negative) {
                bucket.read_first(reader)?;
            }
        } else {
            self.step = self.step.wrapping_add(reader.read_varbit_int()?);
            let t = self.t.wrapping_add(self.step);
            if t < self.t {
                return Err(ChunkError::unsorted());
            }
            self.t = t;
            for field in [&mut self.count, &mut self.zero_count, &mut self.sum] {
                field.read(reader)?;
            }
            if !is_stale_nan(self.sum.value) {
                for bucket in self.positive.iter_mut().chain(&mut self.negative) {
                    bucket.read(reader)?;
                }
            }
        }
        self.start = self.header.start_times.read(&mut self.reader, self.read, self.t, before)?;
        self.read += 1;
        Ok(Some(self.t))
    }

    /// The sample as it is stored, or in the finest schema there is.
    fn histogram(&self) -> FloatHistogram {
        let plain = |buckets: &[XorFloat]| buckets.iter().map(|bucket| bucket.value).collect();
        let (layout, positive_buckets, negative_buckets) = match &self.reduction {
            None => (&self.layout, plain(&self.positive), plain(&self.negative)),
            Some(to) => (&to.layout, reduced(&self.positive, &to.positive), reduced(&self.negative, &to.negative)),
        };
        let Layout { schema, zero_threshold, positive_spans, negative_spans, custom_values } = layout.clone();
        FloatHistogram {
            counter_reset_hint: self.header.hint(self.read - 1),
            schema,
            zero_threshold,
            zero_count: self.zero_count.value,
            count: self.count.value,
            sum: self.sum.value,
            positive_spans,
            negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values,
        }
    }
}

/// Populations of the merged buckets, where bucket i goes to `targets[i]`.
fn reduced(buckets: &[XorFloat], targets: &[usize]) -> Vec<f64> {
    let mut merged = vec![0.0; targets.last().map_or(0, |last| last + 1)];
    for (from, target) in buckets.iter().zip(targets) {
        if let Some(bucket) = merged.get_mut(*target) {
            *bucket += from.value;
        }
    }
    merged
}

/// Packs float histograms into one chunk (encoding 3).
pub type FloatHistogramEncoder = Encoder<FloatSamples>;

/// Writes samples with float counts.
#[derive(Debug)]
pub struct FloatSamples {
    t: Timestamp,
    step: i64,
    /// Of count, zero count and sum.
    totals: [XorWriter; 3],
    positive: Vec<XorWriter>,
    negative: Vec<XorWriter>,
}

/// Count, zero count and sum, in the order in which they are written.
fn totals(populations: &Populations<f64, f64>) -> [f64; 3] {
    [populations.count, populations.zero_count, populations.sum]
}

impl SampleWriter for FloatSamples {
    type Histogram = FloatHistogram;
    type Count = f64;
    type Population = f64;

    fn populations(histogram: &FloatHistogram) -> Populations<f64, f64> {
        if is_stale_nan(histogram.sum) {
            return Populations::stale(histogram.counter_reset_hint);
        }
        Populations {
            hint: histogram.counter_reset_hint,
            sum: histogram.sum,
            count: histogram.count,
            zero_count: histogram.zero_count,
            layout: Layout::of_float(histogram),
            positive: histogram.positive_buckets.clone(),
            negative: histogram.negative_buckets.clone(),
        }
    }

    fn first(writer: &mut BitWriter, t: Timestamp, first: &Populations<f64, f64>) -> Self {
        writer.write_varbit_int(t);
        for value in totals(first).iter().chain(&first.positive).chain(&first.negative) {
            writer.write_f64(*value);
        }
        Self {
            t,
            step: 0,
            totals: Default::default(),
            positive: vec![XorWriter::default(); first.positive.len()],
            negative: vec![XorWriter::default(); first.negative.len()],
        }
    }

    fn write(
        &mut self,
        writer: &mut BitWriter,
        t: Timestamp,
        last: &Populations<f64, f64>,
        next: &Populations<f64, f64>,
    ) {
        let step = t.wrapping_sub(self.t);
        writer.write_varbit_int(step.wrapping_sub(self.step));
        (self.t, self.step) = (t, step);
        let mut write = |xors: &mut [XorWriter], last: &[f64], next: &[f64]| {
            for ((xor, last), next) in xors.iter_mut().zip(last).zip(next) {
                xor.write(writer, *last, *next);
            }
        };
        write(&mut self.totals, &totals(last), &totals(next));
        write(&mut self.positive, &last.positive, &next.positive);
        write(&mut self.negative, &last.negative, &next.negative);
    }
}

#[cfg(test)]
mod tests;
