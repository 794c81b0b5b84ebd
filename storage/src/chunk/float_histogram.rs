//! Float histogram chunks (encodings 3 and 6).
//!
//! After the header and the [layout](super::layout) come the samples. Time is as in [integer
//! histograms](super::histogram); count, zero count, sum and every bucket are whole floats in the first sample and
//! XOR-coded in the later ones, each with a window of its own. A staleness marker ends after its sum.

use super::bits::{BitReader, BitWriter};
use super::fit::{Fit, Populations, PushOutcome};
use super::histogram_header::{HEADER_BYTES, HistogramHeader, bits_of_hint};
use super::layout::{Layout, Reduction};
use super::xor::{XorWindow, XorWriter};
use super::{ChunkError, Encoding};
use crate::model::{CounterResetHint, FloatHistogram, SampleBuffer, TimeInterval, Timestamp, is_stale_nan, stale_nan};

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
        let reader = &mut self.reader;
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
        self.header.start_timestamps.skip(&mut self.reader, self.read)?;
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
#[derive(Debug, Default)]
pub struct FloatHistogramEncoder {
    writer: BitWriter,
    samples: u16,
    /// What the first sample's header will say unless the sample itself knows better.
    header: CounterResetHint,
    last: Option<Last>,
}

/// The last sample.
#[derive(Debug)]
struct Last {
    populations: Populations<f64, f64>,
    t: Timestamp,
    step: i64,
    /// Of count, zero count and sum.
    totals: [XorWriter; 3],
    positive: Vec<XorWriter>,
    negative: Vec<XorWriter>,
}

impl FloatHistogramEncoder {
    /// An empty chunk of whose predecessor nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self { writer: BitWriter::after(&[0; HEADER_BYTES]), ..Self::default() }
    }

    /// An empty chunk whose header says `header` of a reset before it.
    #[must_use]
    pub fn with_header(header: CounterResetHint) -> Self {
        Self { header, ..Self::new() }
    }

    /// An empty chunk that will begin with `next` and follow this one: its header says whether there was a reset.
    #[must_use]
    pub fn successor(&self, next: &FloatHistogram) -> Self {
        let header = self.last.as_ref().map_or(self.header, |last| last.populations.fit(&populations(next)).1);
        Self::with_header(header)
    }

    /// Samples so far.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.samples)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// Whether the chunk is one of gauges.
    #[must_use]
    pub fn is_gauge(&self) -> bool {
        self.header == CounterResetHint::Gauge
    }

    /// Appends a sample that is not older than the one before, unless it needs a [successor](Self::successor): after a
    /// counter reset, another schema, zero threshold or custom bounds, with a bucket that the chunk lacks, after a
    /// staleness marker, between gauges and counters, and after 65 535 samples.
    ///
    /// # Errors
    /// [`ChunkError`] where the histogram's spans and buckets contradict each other.
    pub fn push(&mut self, t: Timestamp, histogram: &FloatHistogram) -> Result<PushOutcome, ChunkError> {
        let mut next = populations(histogram);
        next.layout.check_buckets(next.positive.len(), next.negative.len())?;
        if let Some(last) = &mut self.last {
            let Fit::Join { positive, negative } = last.populations.fit(&next).0 else {
                return Ok(PushOutcome::NewChunk);
            };
            if self.samples == u16::MAX {
                return Ok(PushOutcome::NewChunk);
            }
            last.write(&mut self.writer, t, Totals::of(&next), positive, negative);
        } else {
            if matches!(next.hint, CounterResetHint::Gauge | CounterResetHint::CounterReset) {
                self.header = next.hint;
            }
            next.hint = self.header;
            self.last = Some(Last::first(&mut self.writer, t, next));
        }
        self.samples += 1;
        Ok(PushOutcome::Appended)
    }

    /// The chunk's payload.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let [high, low] = self.samples.to_be_bytes();
        self.writer.patch(0, &[high, low, bits_of_hint(self.header)]);
        self.writer.into_bytes()
    }
}

/// Count, zero count and sum, in the order in which they are written.
#[derive(Clone, Copy)]
struct Totals([f64; 3]);

impl Totals {
    fn of(populations: &Populations<f64, f64>) -> Self {
        Self([populations.count, populations.zero_count, populations.sum])
    }
}

impl Last {
    /// Writes the layout and the first sample.
    fn first(writer: &mut BitWriter, t: Timestamp, first: Populations<f64, f64>) -> Self {
        first.layout.write(writer);
        writer.write_varbit_int(t);
        let Totals(totals) = Totals::of(&first);
        for value in totals.iter().chain(&first.positive).chain(&first.negative) {
            writer.write_f64(*value);
        }
        Self {
            t,
            step: 0,
            totals: Default::default(),
            positive: vec![XorWriter::default(); first.positive.len()],
            negative: vec![XorWriter::default(); first.negative.len()],
            populations: first,
        }
    }

    /// Writes a later sample; a staleness marker has no buckets, and those of the sample before stay.
    fn write(&mut self, writer: &mut BitWriter, t: Timestamp, now: Totals, positive: Vec<f64>, negative: Vec<f64>) {
        let step = t.wrapping_sub(self.t);
        writer.write_varbit_int(step.wrapping_sub(self.step));
        (self.t, self.step) = (t, step);
        let before = Totals::of(&self.populations).0;
        for ((xor, before), now) in self.totals.iter_mut().zip(before).zip(now.0) {
            xor.write(writer, before, now);
        }
        let write_buckets = |writer: &mut BitWriter, xors: &mut [XorWriter], before: &mut Vec<f64>, now: Vec<f64>| {
            for ((xor, before), now) in xors.iter_mut().zip(&*before).zip(&now) {
                xor.write(writer, *before, *now);
            }
            *before = now;
        };
        let populations = &mut self.populations;
        [populations.count, populations.zero_count, populations.sum] = now.0;
        // Only staleness markers follow a staleness marker, so nothing asks for the buckets before it.
        write_buckets(writer, &mut self.positive, &mut populations.positive, positive);
        write_buckets(writer, &mut self.negative, &mut populations.negative, negative);
    }
}

/// What decides whether `histogram` fits. A staleness marker has nothing but its sum.
fn populations(histogram: &FloatHistogram) -> Populations<f64, f64> {
    if is_stale_nan(histogram.sum) {
        return Populations {
            hint: histogram.counter_reset_hint,
            sum: stale_nan(),
            count: 0.0,
            zero_count: 0.0,
            layout: Layout::default(),
            positive: Vec::new(),
            negative: Vec::new(),
        };
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

#[cfg(test)]
mod tests;
