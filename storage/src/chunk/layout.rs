//! What the histograms of one chunk have in common: schema, zero bucket, spans and custom bounds.
//!
//! A layout is written once, before the first sample. Reading one checks everything that later arithmetic relies
//! on, so that a histogram from a damaged chunk is either refused here or safe to compute with.

use super::ChunkError;
use super::bits::{BitReader, BitWriter};
use crate::model::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram, Span};

/// Finest exponential schema that queries work with; a finer one is merged down to it.
const SCHEMA_MAX: i32 = 8;
/// Range of exponential schemas that a newer Prometheus may write.
const SCHEMA_RESERVED: std::ops::RangeInclusive<i32> = -9..=52;
/// Spans and bounds are copied into every decoded histogram. Chunks of 120 samples may have 100 000 of them before
/// this many copies are refused, and a few hundred damaged bytes cannot ask for gigabytes.
const LAYOUT_COPIES_MAX: usize = 1 << 24;
/// A custom bound up to this many thousandths is written as an integer.
const BOUND_THOUSANDTHS_MAX: f64 = 33_554_430.0;

/// Schema, zero bucket, spans and bounds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Layout {
    pub schema: i32,
    pub zero_threshold: f64,
    pub positive_spans: Vec<Span>,
    pub negative_spans: Vec<Span>,
    pub custom_values: Vec<f64>,
}

impl Layout {
    /// The layout of an integer histogram.
    pub fn of_integer(h: &Histogram) -> Self {
        Self {
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            positive_spans: h.positive_spans.clone(),
            negative_spans: h.negative_spans.clone(),
            custom_values: h.custom_values.clone(),
        }
    }

    /// The layout of a float histogram.
    pub fn of_float(h: &FloatHistogram) -> Self {
        Self {
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            positive_spans: h.positive_spans.clone(),
            negative_spans: h.negative_spans.clone(),
            custom_values: h.custom_values.clone(),
        }
    }

    /// Reads the layout of a chunk of `samples` samples, each of whose buckets takes at least `bucket_bits` bits in
    /// the first of them.
    pub(super) fn read(reader: &mut BitReader<'_>, samples: usize, bucket_bits: usize) -> Result<Self, ChunkError> {
        let zero_threshold = read_zero_threshold(reader)?;
        let schema = reader.read_varbit_int()?;
        let schema = i32::try_from(schema)
            .ok()
            .filter(|s| *s == CUSTOM_BUCKETS_SCHEMA || SCHEMA_RESERVED.contains(s))
            .ok_or_else(|| ChunkError::new(format!("histogram schema {schema} is unknown")))?;
        let positive_spans = read_spans(reader)?;
        let negative_spans = read_spans(reader)?;
        let custom_values = if schema == CUSTOM_BUCKETS_SCHEMA { read_bounds(reader)? } else { Vec::new() };
        let layout = Self { schema, zero_threshold, positive_spans, negative_spans, custom_values };
        let (positive, negative) = layout.check()?;
        if positive.saturating_add(negative).saturating_mul(bucket_bits) > reader.remaining() {
            return Err(ChunkError::new("histogram has more buckets than its chunk has bits"));
        }
        let copied = layout.positive_spans.len() + layout.negative_spans.len() + layout.custom_values.len();
        if copied.saturating_mul(samples) > LAYOUT_COPIES_MAX {
            return Err(ChunkError::new(format!("histogram has {copied} spans and bounds in {samples} samples")));
        }
        Ok(layout)
    }

    /// Writes the layout.
    pub fn write(&self, writer: &mut BitWriter) {
        write_zero_threshold(writer, self.zero_threshold);
        writer.write_varbit_int(i64::from(self.schema));
        for spans in [&self.positive_spans, &self.negative_spans] {
            writer.write_varbit_uint(spans.len() as u64);
            for span in spans {
                writer.write_varbit_uint(u64::from(span.length));
                writer.write_varbit_int(i64::from(span.offset));
            }
        }
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            writer.write_varbit_uint(self.custom_values.len() as u64);
            for bound in &self.custom_values {
                write_bound(writer, *bound);
            }
        }
    }

    /// Numbers of positive and negative buckets, or an error where an index leaves the i32 range, spans overlap, or a
    /// custom bucket has no bound.
    pub fn check(&self) -> Result<(usize, usize), ChunkError> {
        let positive = check_spans(&self.positive_spans)?;
        let negative = check_spans(&self.negative_spans)?;
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            let first = self.positive_spans.first().map_or(0, |span| span.offset);
            // Above the last bound is one more bucket, up to +Inf.
            if negative.buckets > 0 || first < 0 || positive.end > self.custom_values.len() as i64 + 1 {
                return Err(ChunkError::new("histogram has custom buckets without bounds"));
            }
        }
        Ok((positive.buckets, negative.buckets))
    }

    /// An error where [`check`](Self::check) has one, or the spans do not have just so many buckets.
    pub fn check_buckets(&self, positive: usize, negative: usize) -> Result<(), ChunkError> {
        if self.check()? != (positive, negative) {
            return Err(ChunkError::new("histogram's spans and buckets differ in number"));
        }
        Ok(())
    }

    /// Whether schema and zero bucket are the same.
    pub fn same_resolution(&self, schema: i32, zero_threshold: f64) -> bool {
        self.schema == schema && self.zero_threshold == zero_threshold
    }

    /// Whether the bounds are the same, where there are any.
    pub fn same_custom_bounds(&self, custom_values: &[f64]) -> bool {
        self.schema != CUSTOM_BUCKETS_SCHEMA || self.custom_values == custom_values
    }

    /// How to merge buckets where the schema is finer than queries work with.
    pub(super) fn reduction(&self) -> Option<Reduction> {
        let coarser = u32::try_from(self.schema.checked_sub(SCHEMA_MAX)?).ok().filter(|by| *by > 0)?;
        let merged = |spans: &[Span]| {
            let mut targets = Vec::new();
            let mut reduced: Vec<Span> = Vec::new();
            let mut last = 0_i64;
            let mut buckets = 0_usize;
            for index in bucket_indices(spans) {
                // Buckets (2ᵏ·(j−1), 2ᵏ·j] of the fine schema make bucket j of the coarse one.
                let target = ((index - 1) >> coarser) + 1;
                if reduced.is_empty() || target != last {
                    match reduced.last_mut() {
                        Some(span) if target == last + 1 => span.length += 1,
                        Some(_) => reduced.push(Span { offset: (target - last - 1) as i32, length: 1 }),
                        None => reduced.push(Span { offset: target as i32, length: 1 }),
                    }
                    buckets += 1;
                    last = target;
                }
                targets.push(buckets - 1);
            }
            (reduced, targets)
        };
        let (positive_spans, positive) = merged(&self.positive_spans);
        let (negative_spans, negative) = merged(&self.negative_spans);
        let layout = Layout { schema: SCHEMA_MAX, positive_spans, negative_spans, ..self.clone() };
        Some(Reduction { layout, positive, negative })
    }
}

/// A coarser layout, and where every bucket of the finer one goes in it.
#[derive(Debug, Clone)]
pub(super) struct Reduction {
    pub layout: Layout,
    pub positive: Vec<usize>,
    pub negative: Vec<usize>,
}

/// Absolute indices of the buckets that `spans` name, in order. `spans` have passed [`Layout::check`].
pub(super) fn bucket_indices(spans: &[Span]) -> impl Iterator<Item = i64> + '_ {
    let mut end = 0_i64;
    spans.iter().flat_map(move |span| {
        let start = end + i64::from(span.offset);
        end = start + i64::from(span.length);
        start..end
    })
}

/// What [`check_spans`] found.
struct Extent {
    buckets: usize,
    /// Index after the last bucket.
    end: i64,
}

fn check_spans(spans: &[Span]) -> Result<Extent, ChunkError> {
    let mut extent = Extent { buckets: 0, end: 0 };
    for (i, span) in spans.iter().enumerate() {
        if i > 0 && span.offset < 0 {
            return Err(ChunkError::new("histogram's bucket spans overlap"));
        }
        extent.end += i64::from(span.offset) + i64::from(span.length);
        if i32::try_from(extent.end).is_err() {
            return Err(ChunkError::new("histogram's bucket index exceeds 32 bits"));
        }
        extent.buckets = extent.buckets.saturating_add(span.length as usize);
    }
    Ok(extent)
}

fn read_spans(reader: &mut BitReader<'_>) -> Result<Vec<Span>, ChunkError> {
    let count = reader.read_varbit_uint()?;
    let mut spans = Vec::new();
    for _ in 0..count {
        let (length, offset) = (reader.read_varbit_uint()?, reader.read_varbit_int()?);
        match (u32::try_from(length), i32::try_from(offset)) {
            (Ok(length), Ok(offset)) => spans.push(Span { offset, length }),
            _ => return Err(ChunkError::new("histogram's bucket span exceeds 32 bits")),
        }
    }
    Ok(spans)
}

/// Zero takes one byte, and so does a power of two from 2⁻²⁴³ to 2¹⁰: its exponent plus 244. All else is 255 and the float.
fn write_zero_threshold(writer: &mut BitWriter, threshold: f64) {
    let bits = threshold.to_bits();
    let exponent = (bits >> 52) as i64 - 1023;
    if threshold == 0.0 {
        writer.write_bits(0, 8);
    } else if bits << 12 == 0 && (-243..=10).contains(&exponent) {
        writer.write_bits((exponent + 244).cast_unsigned(), 8);
    } else {
        writer.write_bits(255, 8);
        writer.write_f64(threshold);
    }
}

fn read_zero_threshold(reader: &mut BitReader<'_>) -> Result<f64, ChunkError> {
    Ok(match reader.read_byte()? {
        0 => 0.0,
        255 => reader.read_f64()?,
        exponent => f64::from_bits((u64::from(exponent) + 1023 - 244) << 52),
    })
}

/// A bound of whole thousandths that is not too large is a varbit of them plus one; any other is a zero bit and the float.
fn write_bound(writer: &mut BitWriter, bound: f64) {
    let scaled = bound * 1000.0;
    // NaN and negative numbers become 0 here, and then differ from the bound.
    let thousandths = scaled.round() as u64;
    if (0.0..=BOUND_THOUSANDTHS_MAX).contains(&scaled) && thousandths as f64 / 1000.0 == bound {
        writer.write_varbit_uint(thousandths + 1);
    } else {
        writer.write_bit(false);
        writer.write_f64(bound);
    }
}

fn read_bounds(reader: &mut BitReader<'_>) -> Result<Vec<f64>, ChunkError> {
    let count = reader.read_varbit_uint()?;
    let mut bounds = Vec::new();
    for _ in 0..count {
        bounds.push(match reader.read_varbit_uint()? {
            0 => reader.read_f64()?,
            thousandths => (thousandths - 1) as f64 / 1000.0,
        });
    }
    Ok(bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(schema: i32, positive: &[(i32, u32)], custom_values: &[f64]) -> Layout {
        Layout {
            schema,
            positive_spans: positive.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect(),
            custom_values: custom_values.to_vec(),
            ..Layout::default()
        }
    }

    #[test]
    fn layouts_round_trip() {
        let thresholds = [0.0, 2f64.powi(-128), 2f64.powi(-243), 2f64.powi(-244), 1024.0, 2048.0, 0.1, -0.5, 5e-324];
        let bounds = [-1.0, 0.0, 0.005, 0.1, 33_554.43, 33_554.431, 1.0 / 3.0, f64::INFINITY];
        for (schema, bounds) in [(3, &[][..]), (-4, &[]), (CUSTOM_BUCKETS_SCHEMA, &bounds)] {
            for zero_threshold in thresholds {
                let layout = Layout { zero_threshold, ..layout(schema, &[(1, 2), (3, 1)], bounds) };
                let mut writer = BitWriter::default();
                layout.write(&mut writer);
                let mut bytes = writer.into_bytes();
                bytes.extend([0; 8]);
                assert_eq!(Layout::read(&mut BitReader::new(&bytes), 1, 1).unwrap(), layout);
            }
        }
    }

    #[test]
    fn small_thresholds_and_bounds_are_short() {
        let mut writer = BitWriter::default();
        write_zero_threshold(&mut writer, 2f64.powi(-128));
        assert_eq!(writer.bytes(), [116]);
        write_bound(&mut writer, 0.005);
        assert_eq!(writer.bytes(), [116, 0b1011_0000]);
    }

    #[test]
    fn impossible_layouts_are_refused() {
        for spans in [&[(0, 1), (-1, 1)][..], &[(i32::MAX, 1)], &[(0, u32::MAX)]] {
            assert!(layout(0, spans, &[]).check().is_err(), "{spans:?}");
        }
        assert!(layout(CUSTOM_BUCKETS_SCHEMA, &[(0, 2)], &[1.0]).check().is_ok());
        assert!(layout(CUSTOM_BUCKETS_SCHEMA, &[(0, 3)], &[1.0]).check().is_err());
        assert!(layout(CUSTOM_BUCKETS_SCHEMA, &[(-1, 1)], &[1.0]).check().is_err());
    }

    #[test]
    fn finer_schemas_merge_down() {
        assert!(layout(8, &[(0, 4)], &[]).reduction().is_none());
        let reduction = layout(9, &[(-3, 3), (1, 2), (8, 1)], &[]).reduction().unwrap();
        // Indices −3 −2 −1, 1 2, 11 become −1 −1 0, 1 1, 6.
        assert_eq!(reduction.positive, [0, 0, 1, 2, 2, 3]);
        let spans: Vec<_> = reduction.layout.positive_spans.iter().map(|s| (s.offset, s.length)).collect();
        assert_eq!(spans, [(-1, 3), (4, 1)]);
    }
}
