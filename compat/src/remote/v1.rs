//! Remote write 1.0: `prometheus.WriteRequest`, labels spelt out in every series.
//!
//! Each series is gone over twice, first for its labels, then for what it brings: so samples can be handed on before the series
//! ends. Labels as every sender writes them, first of all and each name and value shorter than 128 bytes, have only ASCII around
//! them: they are checked to be UTF-8 all at once, and passed over the second time.

use storage::head::{FloatSample, Metadata, MetricKind};

use super::histogram;
use super::series::{Output, SeriesBuilder};
use super::target::Refusal;
use super::wire::{Fields, Malformed};

/// Visits every series of a request.
///
/// # Errors
/// Where `body` is no such message.
pub fn visit(body: &[u8], out: &mut Output<'_>) -> Result<(), Malformed> {
    let mut builder = SeriesBuilder::default();
    let mut request = Fields::new(body);
    while let Some((number, value)) = request.next()? {
        match number {
            1 => series(value.bytes("timeseries")?, &mut builder, out)?,
            3 => metadata(value.bytes("metadata")?, out)?,
            _ => {}
        }
    }
    Ok(())
}

fn series<'a>(message: &'a [u8], builder: &mut SeriesBuilder<'a>, out: &mut Output<'_>) -> Result<(), Malformed> {
    builder.start();
    let message = plain_labels(message, builder);
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        if number == 1 {
            let (name, value) = label(value.bytes("labels")?)?;
            builder.label(name, value);
        }
    }
    builder.check_labels(out.admission);
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            2 => builder.float(sample(value.bytes("samples")?)?, out),
            3 => exemplar(value.bytes("exemplars")?, builder, out)?,
            4 => builder.histogram(histogram::decode(value.bytes("histograms")?)?, out),
            _ => {}
        }
    }
    builder.finish(false, out);
    Ok(())
}

/// Takes the labels that come first, as long as they are plain; what comes after them is the rest of the message.
#[inline]
fn plain_labels<'a>(message: &'a [u8], builder: &mut SeriesBuilder<'a>) -> &'a [u8] {
    let mut end = 0;
    while let Some((name, value)) = plain_label(&message[end..]) {
        end += PLAIN_FRAME + name + value;
    }
    let (labels, rest) = message.split_at(end);
    let Ok(text) = str::from_utf8(labels) else { return message };
    let mut at = 0;
    while let Some((name, value)) = plain_label(&labels[at..]) {
        let name_end = at + 4 + name;
        // A slice that does not begin and end with a character is no text.
        let slices = (text.get(at + 4..name_end), text.get(name_end + 2..name_end + 2 + value));
        if let (Some(name), Some(value)) = slices {
            builder.text_label(name, value);
        } else {
            builder.refuse(Refusal::Labels("a name or value is not UTF-8"));
        }
        at = name_end + 2 + value;
    }
    rest
}

/// Bytes of a plain label besides name and value: three keys and three lengths.
const PLAIN_FRAME: usize = 6;

/// The lengths of name and value, where the first field of a series is a label with both and each is shorter than 128 bytes.
#[inline]
fn plain_label(message: &[u8]) -> Option<(usize, usize)> {
    let [0x0a, len @ 0..0x80, 0x0a, name @ 0..0x80, rest @ ..] = message else { return None };
    let name = usize::from(*name);
    let [0x12, value @ 0..0x80, rest @ ..] = rest.get(name..)? else { return None };
    let value = usize::from(*value);
    (usize::from(*len) == name + value + 4 && rest.len() >= value).then_some((name, value))
}

#[inline]
fn label(message: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (mut name, mut text) = (&[][..], &[][..]);
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = value.bytes("name")?,
            2 => text = value.bytes("value")?,
            _ => {}
        }
    }
    Ok((name, text))
}

#[inline]
fn sample(message: &[u8]) -> Result<FloatSample, Malformed> {
    let mut sample = FloatSample { t: 0, start: 0, value: 0.0 };
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => sample.value = value.double("value")?,
            2 => sample.t = value.int("timestamp")?,
            _ => {}
        }
    }
    Ok(sample)
}

fn exemplar<'a>(message: &'a [u8], builder: &mut SeriesBuilder<'a>, out: &mut Output<'_>) -> Result<(), Malformed> {
    let (mut t, mut number_value, mut labels) = (0, 0.0, Ok(()));
    let begin = builder.exemplar_begin();
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => match label(value.bytes("labels")?)? {
                (name, value) if builder.exemplar_begin() - begin < EXEMPLAR_LABELS_MAX => {
                    match (str::from_utf8(name), str::from_utf8(value)) {
                        (Ok(name), Ok(value)) => builder.exemplar_label(name, value),
                        _ => labels = Err(Refusal::ExemplarLabels),
                    }
                }
                _ => labels = Err(Refusal::ExemplarLabels),
            },
            2 => number_value = value.double("value")?,
            3 => t = value.int("timestamp")?,
            _ => {}
        }
    }
    builder.exemplar(t, number_value, labels, begin, out);
    Ok(())
}

/// Most labels of an exemplar: more could not be told apart within the characters that it may have.
pub const EXEMPLAR_LABELS_MAX: usize = 128;

fn metadata(message: &[u8], out: &mut Output<'_>) -> Result<(), Malformed> {
    let (mut kind, mut family, mut help, mut unit) = (MetricKind::Unknown, &[][..], &[][..], &[][..]);
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => kind = metric_kind(value.uint("type")?),
            2 => family = value.bytes("metric_family_name")?,
            4 => help = value.bytes("help")?,
            5 => unit = value.bytes("unit")?,
            _ => {}
        }
    }
    // What describes a metric is not worth refusing a request for.
    if let (Ok(family), Ok(help), Ok(unit)) = (str::from_utf8(family), str::from_utf8(help), str::from_utf8(unit))
        && !family.is_empty()
    {
        out.sink.describe(&out.admission.tenant, family, Metadata { kind, unit, help });
    }
    Ok(())
}

/// The type of a metric; a number that is not known is no type.
pub const fn metric_kind(number: u64) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}
