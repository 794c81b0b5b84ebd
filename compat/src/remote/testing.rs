//! For tests: a target that keeps what is written to it, and messages put together by hand.

use std::sync::Mutex;

use async_trait::async_trait;
use storage::head::{FloatSample, HistogramSample, Metadata, MetricKind, SeriesWrite};
use storage::model::{Labels, Timestamp};

use super::target::{SeriesSink, Tally, WriteError, WriteRequest, WriteTarget};

/// An exemplar that owns its labels.
pub type OwnedExemplar = (Labels, Timestamp, f64);

/// One call of the sink, with everything owned.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushed {
    pub tenant: String,
    pub labels: Labels,
    pub floats: Vec<FloatSample>,
    pub histograms: Vec<HistogramSample>,
    pub exemplars: Vec<OwnedExemplar>,
    pub metadata: Option<(MetricKind, String, String)>,
}

/// Keeps everything.
#[derive(Debug, Default)]
pub struct Kept {
    pub pushed: Vec<Pushed>,
    pub described: Vec<(String, MetricKind, String, String)>,
}

impl SeriesSink for Kept {
    fn push(&mut self, tenant: &str, series: &SeriesWrite<'_>, tally: &mut Tally) {
        assert!(series.labels.is_sorted_by(|a, b| a.0 < b.0), "labels are sorted and distinct");
        tally.floats += series.floats.len() as u64;
        tally.histograms += series.histograms.len() as u64;
        tally.exemplars += series.exemplars.len() as u64;
        self.pushed.push(Pushed {
            tenant: tenant.to_owned(),
            labels: Labels::from_pairs(series.labels.iter().copied()),
            floats: series.floats.to_vec(),
            histograms: series.histograms.to_vec(),
            exemplars: series
                .exemplars
                .iter()
                .map(|e| (Labels::from_pairs(e.labels.iter().copied()), e.t, e.value))
                .collect(),
            metadata: series.metadata.map(|m| (m.kind, m.unit.to_owned(), m.help.to_owned())),
        });
    }

    fn describe(&mut self, _tenant: &str, family: &str, metadata: Metadata<'_>) {
        self.described.push((family.to_owned(), metadata.kind, metadata.unit.to_owned(), metadata.help.to_owned()));
    }
}

/// A target that keeps everything, answers an error, or never answers.
#[derive(Debug, Default)]
pub struct MemoryTarget {
    pub kept: Mutex<Kept>,
    pub error: Option<WriteError>,
    pub hangs: bool,
}

#[async_trait]
impl WriteTarget for MemoryTarget {
    async fn write(&self, request: &mut dyn WriteRequest) -> Result<(), WriteError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        if self.hangs {
            std::future::pending::<()>().await;
        }
        let mut kept = Kept::default();
        request.visit(&mut kept)?;
        let mut all = self.kept.lock().unwrap();
        all.pushed.extend(kept.pushed);
        all.described.extend(kept.described);
        Ok(())
    }
}

/// A protobuf message under construction.
#[derive(Debug, Clone, Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    pub fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.raw_varint(u64::from(field << 3 | 2));
        self.raw_varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    #[expect(clippy::needless_pass_by_value, reason = "messages are put together in one expression")]
    pub fn message(self, field: u32, message: Self) -> Self {
        self.bytes(field, &message.0)
    }

    pub fn varint(mut self, field: u32, value: u64) -> Self {
        self.raw_varint(u64::from(field) << 3);
        self.raw_varint(value);
        self
    }

    pub fn double(mut self, field: u32, value: f64) -> Self {
        self.raw_varint(u64::from(field << 3 | 1));
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub fn packed(self, field: u32, values: &[u64]) -> Self {
        let mut packed = Self::default();
        values.iter().for_each(|value| packed.raw_varint(*value));
        self.bytes(field, &packed.0)
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A series of version 1.0 with one sample.
pub fn v1_series(labels: &[(&str, &str)], t: i64, value: f64) -> Message {
    let series = labels.iter().fold(Message::default(), |series, (name, value)| {
        series.message(1, Message::default().bytes(1, name.as_bytes()).bytes(2, value.as_bytes()))
    });
    series.message(2, Message::default().double(1, value).varint(2, t.cast_unsigned()))
}

/// A request of version 1.0 with these series.
pub fn v1_request(series: impl IntoIterator<Item = Message>) -> Vec<u8> {
    series.into_iter().fold(Message::default(), |request, series| request.message(1, series)).0
}

/// A request of version 2.0.
pub fn v2_request(symbols: &[&str], series: impl IntoIterator<Item = Message>) -> Vec<u8> {
    let table = symbols.iter().fold(Message::default(), |request, symbol| request.bytes(4, symbol.as_bytes()));
    series.into_iter().fold(table, |request, series| request.message(5, series)).0
}
