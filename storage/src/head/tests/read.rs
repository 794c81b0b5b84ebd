//! Reading all that stores hold, as text.

use std::collections::BTreeMap;

use futures::TryStreamExt;

use crate::chunk::decode;
use crate::model::{Labels, SampleBuffer, TimeInterval, Timestamp};
use crate::schema::SeriesColumns;
use crate::store::{KeyRange, SeriesRequest, Store};

/// Values by series and time; a value is a float's bits or a histogram's text.
pub(crate) type Samples = BTreeMap<String, BTreeMap<Timestamp, String>>;

/// A value as text.
pub(crate) fn text(samples: &SampleBuffer, i: usize) -> String {
    match samples.histogram(i) {
        Some(histogram) => histogram.to_string(),
        None => format!("{:016x}", samples.floats[i].to_bits()),
    }
}

/// All samples, by series. Chunks that overlap are merged; where they disagree, this panics.
pub(crate) async fn read_all(store: &dyn Store) -> Samples {
    let mut all = Samples::new();
    let request = SeriesRequest::new(vec![], TimeInterval::ALL);
    for part in store.series(request).await.unwrap().parts {
        let batches: Vec<_> = part.stream(KeyRange::ALL).try_collect().await.unwrap();
        for batch in batches {
            let columns = SeriesColumns::try_new(&batch).unwrap();
            for row in 0..batch.num_rows() {
                let labels = Labels::from_key(columns.labels.value(row)).to_string();
                let series = all.entry(labels).or_default();
                for i in columns.chunk_range(row) {
                    let mut samples = SampleBuffer::new();
                    decode(columns.encoding.value(i), columns.data.value(i), TimeInterval::ALL, &mut samples).unwrap();
                    assert_eq!(samples.timestamps.first(), Some(&columns.mint.value(i)));
                    assert_eq!(samples.timestamps.last(), Some(&columns.maxt.value(i)));
                    for (n, &t) in samples.timestamps.iter().enumerate() {
                        let value = text(&samples, n);
                        let before = series.insert(t, value.clone());
                        assert!(before.is_none_or(|before| before == value), "two values at {t}");
                    }
                }
            }
        }
    }
    all
}

/// Both together.
pub(crate) fn union(mut a: Samples, b: Samples) -> Samples {
    for (series, samples) in b {
        a.entry(series).or_default().extend(samples);
    }
    a
}
