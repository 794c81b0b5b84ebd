//! Remote write 2.0: `io.prometheus.write.v2.Request`, all text in one table, to which series refer by number.
//!
//! The table is looked for first, since nothing says that it comes before the series. Start timestamps are read where they are now,
//! at the sample, and where they were until release candidate 4, at the series.

use storage::head::{FloatSample, Metadata, MetricKind};

use super::histogram;
use super::series::{Output, SeriesBuilder};
use super::target::Refusal;
use super::v1::{EXEMPLAR_LABELS_MAX, metric_kind};
use super::wire::{Fields, Malformed, Value, for_each_varint};

/// The texts of a request; nothing where one is not UTF-8.
#[derive(Debug)]
pub struct Symbols<'a>(Vec<Option<&'a str>>);

impl<'a> Symbols<'a> {
    /// How many texts there are.
    ///
    /// # Errors
    /// Where `body` is no such message.
    pub fn count(body: &[u8]) -> Result<usize, Malformed> {
        let mut count = 0;
        let mut request = Fields::new(body);
        while let Some((number, _)) = request.next()? {
            count += usize::from(number == 4);
        }
        Ok(count)
    }

    /// Collects the table of `count` texts. An entry takes 16 bytes, and an empty text is two bytes of the body.
    ///
    /// # Errors
    /// Where `body` is no such message.
    pub fn collect(body: &'a [u8], count: usize) -> Result<Self, Malformed> {
        let mut symbols = Vec::with_capacity(count);
        let mut request = Fields::new(body);
        while let Some((number, value)) = request.next()? {
            if number == 4 {
                symbols.push(str::from_utf8(value.bytes("symbols")?).ok());
            }
        }
        Ok(Self(symbols))
    }

    #[inline]
    fn text(&self, reference: u64) -> Result<&'a str, Refusal> {
        match usize::try_from(reference).ok().and_then(|at| self.0.get(at)) {
            Some(Some(text)) => Ok(text),
            Some(None) => Err(Refusal::Labels("a name or value is not UTF-8")),
            None => Err(Refusal::SymbolRef(u32::try_from(reference).unwrap_or(u32::MAX))),
        }
    }

    /// What metadata refers to; 0 is nothing even where there is no table.
    fn described(&self, reference: u64) -> Result<&'a str, Refusal> {
        if reference == 0 { Ok("") } else { self.text(reference) }
    }
}

/// Visits every series of a request.
///
/// # Errors
/// Where `body` is no such message.
pub fn visit(body: &[u8], symbols: &Symbols<'_>, out: &mut Output<'_>) -> Result<(), Malformed> {
    let mut builder = SeriesBuilder::default();
    let mut request = Fields::new(body);
    while let Some((number, value)) = request.next()? {
        if number == 5 {
            series(value.bytes("timeseries")?, symbols, &mut builder, out)?;
        }
    }
    Ok(())
}

fn series<'a>(
    message: &[u8],
    symbols: &Symbols<'a>,
    builder: &mut SeriesBuilder<'a>,
    out: &mut Output<'_>,
) -> Result<(), Malformed> {
    builder.start();
    let mut created = 0;
    let mut labels = Pairs::default();
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => labels.read(value, symbols, |name, value| builder.text_label(name, value))?,
            5 => match metadata(value.bytes("metadata")?, symbols)? {
                Ok(metadata) => builder.describe(metadata),
                Err(refusal) => builder.refuse(refusal),
            },
            6 => created = value.int("created_timestamp")?,
            _ => {}
        }
    }
    if let Err(refusal) = labels.end() {
        builder.refuse(refusal);
    }
    builder.check_labels(out.admission);
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            2 => builder.float(sample(value.bytes("samples")?, created)?, out),
            3 => {
                let mut histogram = histogram::decode(value.bytes("histograms")?)?;
                if let Ok(sample) = &mut histogram
                    && sample.start == 0
                {
                    sample.start = created;
                }
                builder.histogram(histogram, out);
            }
            4 => exemplar(value.bytes("exemplars")?, symbols, builder, out)?,
            _ => {}
        }
    }
    builder.finish(true, out);
    Ok(())
}

/// Label references, which come in pairs.
#[derive(Default)]
struct Pairs<'a> {
    name: Option<&'a str>,
    half: bool,
    refusal: Option<Refusal>,
}

impl<'a> Pairs<'a> {
    fn read(
        &mut self,
        value: Value<'_>,
        symbols: &Symbols<'a>,
        mut each: impl FnMut(&'a str, &'a str),
    ) -> Result<(), Malformed> {
        for_each_varint(value, "labels_refs", |reference| {
            match symbols.text(reference & u64::from(u32::MAX)) {
                Ok(text) if self.half => {
                    if let Some(name) = self.name.take() {
                        each(name, text);
                    }
                }
                Ok(text) => self.name = Some(text),
                Err(refusal) => {
                    self.name = None;
                    self.refusal.get_or_insert(refusal);
                }
            }
            self.half = !self.half;
        })
    }

    fn end(self) -> Result<(), Refusal> {
        match self.refusal {
            Some(refusal) => Err(refusal),
            None if self.half => Err(Refusal::Labels("the number of label references is odd")),
            None => Ok(()),
        }
    }
}

#[inline]
fn sample(message: &[u8], created: i64) -> Result<FloatSample, Malformed> {
    let mut sample = FloatSample { t: 0, start: created, value: 0.0 };
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => sample.value = value.double("value")?,
            2 => sample.t = value.int("timestamp")?,
            3 => sample.start = value.int("start_timestamp")?,
            _ => {}
        }
    }
    Ok(sample)
}

fn exemplar<'a>(
    message: &[u8],
    symbols: &Symbols<'a>,
    builder: &mut SeriesBuilder<'a>,
    out: &mut Output<'_>,
) -> Result<(), Malformed> {
    let (mut t, mut number_value, mut pairs) = (0, 0.0, Pairs::default());
    let begin = builder.exemplar_begin();
    let mut too_many = false;
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => pairs.read(value, symbols, |name, value| {
                if builder.exemplar_begin() - begin < EXEMPLAR_LABELS_MAX {
                    builder.exemplar_label(name, value);
                } else {
                    too_many = true;
                }
            })?,
            2 => number_value = value.double("value")?,
            3 => t = value.int("timestamp")?,
            _ => {}
        }
    }
    let labels = if too_many { Err(Refusal::ExemplarLabels) } else { pairs.end() };
    builder.exemplar(t, number_value, labels, begin, out);
    Ok(())
}

fn metadata<'a>(message: &[u8], symbols: &Symbols<'a>) -> Result<Result<Metadata<'a>, Refusal>, Malformed> {
    let (mut kind, mut help, mut unit) = (MetricKind::Unknown, 0, 0);
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => kind = metric_kind(value.uint("type")?),
            3 => help = value.uint("help_ref")?,
            4 => unit = value.uint("unit_ref")?,
            _ => {}
        }
    }
    let described = symbols.described(help).and_then(|help| Ok((help, symbols.described(unit)?)));
    Ok(described.map(|(help, unit)| Metadata { kind, unit, help }))
}
