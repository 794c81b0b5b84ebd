//! What a script loaded: kept by series, put into a store when a query is about to be asked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::{Deduplication, Engine, EngineFeatures, EngineSettings, ProcessPool};
use object_store::local::LocalFileSystem;
use promql::ParseOptions;
use storage::block::{BlockMeta, BlockWriter, BlockWriterSettings, ChunkPayload};
use storage::chunk::{EncodedChunk, SAMPLES_PER_CHUNK, encode_series};
use storage::model::{
    CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Labels, METRIC_NAME, SampleBuffer, Span, TimeRange, Timestamp,
};
use storage::side_index::{SideIndexCache, SideIndexSettings};
use storage::store::{BucketSettings, BucketStore, LocalDirStore};
use storage::{ManualClock, Store};

use super::memory::MemoryStore;
use super::script::Load;
use super::series::Point;
use super::{Names, Storage};

/// The label that tells replicas apart.
const REPLICA_LABEL: &str = "replica_of_the_test";
/// Long after the last sample of any script.
const NOW_MS: i64 = 1_767_268_800_000;
/// Memory of all queries of a script.
const MEMORY_BYTES: usize = 1 << 30;

/// All series loaded since the last `clear`.
#[derive(Default)]
pub struct Loaded(BTreeMap<Labels, Samples>);

/// What a series has at each time, and its start timestamp then, 0 for none.
type Samples = BTreeMap<Timestamp, (Point, Timestamp)>;

impl Loaded {
    /// Adds series; a sample that is already there stays.
    pub fn add(&mut self, load: Load) {
        let mut added: BTreeMap<Labels, Samples> = BTreeMap::new();
        for series in load.series {
            let times = (0..).map(|i| load.step_ms * i);
            let starts = series.starts.into_iter().chain(std::iter::repeat(None));
            let samples = times.zip(series.points).zip(starts).filter(|((_, point), _)| !matches!(point, Point::Gap));
            let sample = |((t, point), start): ((i64, Point), Option<i64>)| (t, (point, start.map_or(0, |s| t + s)));
            added.insert(series.labels, samples.map(sample).collect());
        }
        if load.with_nhcb {
            let native = with_custom_buckets(&added);
            added.extend(native);
        }
        for (labels, samples) in added {
            let of_series = self.0.entry(labels).or_default();
            for (t, point) in samples {
                of_series.entry(t).or_insert(point);
            }
        }
    }

    /// An engine over the series, kept as `storage` says; what is written goes to `folder`, which must be empty.
    pub async fn engine(&self, folder: &Path, storage: Storage, names: Names) -> Engine {
        let side_indexes = SideIndexCache::new(SideIndexSettings::default());
        let store: Arc<dyn Store> = match storage {
            Storage::Memory => Arc::new(MemoryStore(self.encoded(|_| true))),
            Storage::Blocks => {
                write_block(folder, "01JGZZZZZZ0000000000000001", None, &self.encoded(|_| true));
                Arc::new(LocalDirStore::open(folder, side_indexes).await.unwrap())
            }
            Storage::Replicas => {
                for (replica, id, phase) in
                    [("a", "01JGZZZZZZ0000000000000001", 0), ("b", "01JGZZZZZZ0000000000000002", 1)]
                {
                    let mut series = self.encoded(|index| index % 3 != phase);
                    // the label that the block's own value of it overrides
                    for (labels, _) in &mut series {
                        *labels = labels.with(REPLICA_LABEL, &format!("scraped as {replica}"));
                    }
                    series.sort_by(|a, b| a.0.cmp(&b.0));
                    write_block(folder, id, Some(replica), &series);
                }
                let store = BucketStore::new(
                    Arc::new(LocalFileSystem::new_with_prefix(folder).unwrap()),
                    BucketSettings { local_root: Some(folder.to_owned()), ..BucketSettings::default() },
                    side_indexes,
                    Arc::new(ManualClock::new(NOW_MS)),
                );
                let report = store.sync().await.unwrap();
                assert!(report.left_out.is_empty(), "{report:?}");
                Arc::new(store)
            }
        };
        Engine::new(store, engine_settings(names))
    }

    /// The series, of each those samples whose index is `kept`.
    fn encoded(&self, kept: impl Fn(usize) -> bool) -> Vec<(Labels, Vec<EncodedChunk>)> {
        let mut encoded = Vec::new();
        for (labels, samples) in &self.0 {
            let mut buffer = SampleBuffer::new();
            for (_, (t, (point, start))) in samples.iter().enumerate().filter(|(index, _)| kept(*index)) {
                match point {
                    Point::Float(value) => buffer.push_float(*t, *value),
                    Point::Histogram { histogram, .. } => buffer.push_histogram(*t, FloatHistogram::clone(histogram)),
                    Point::Gap => {}
                }
                buffer.set_start_time(*start);
            }
            if !buffer.is_empty() {
                encoded.push((labels.clone(), encode_series(&buffer, SAMPLES_PER_CHUNK).unwrap()));
            }
        }
        encoded
    }
}

fn engine_settings(names: Names) -> EngineSettings {
    EngineSettings {
        lookback_ms: 300_000,
        timeout: Duration::from_secs(100),
        max_samples: 1_000_000,
        memory: ProcessPool::new(MEMORY_BYTES),
        partitions: 2,
        replica_labels: vec![REPLICA_LABEL.to_owned()],
        deduplication: Deduplication::Chain,
        default_subquery_step_ms: 60_000,
        parse: ParseOptions::experimental(),
        features: EngineFeatures {
            start_timestamps: true,
            delayed_name_removal: matches!(names, Names::AtEnd),
            type_and_unit_labels: false,
        },
        compute: None,
    }
}

/// Writes a block of all `series`, which ascend; none where there are none. It belongs to `replica`, if to any.
fn write_block(folder: &Path, id: &str, replica: Option<&str>, series: &[(Labels, Vec<EncodedChunk>)]) {
    let chunks = || series.iter().flat_map(|(_, chunks)| chunks);
    let (Some(mint), Some(maxt)) = (chunks().map(|c| c.mint).min(), chunks().map(|c| c.maxt).max()) else { return };
    let mut meta = BlockMeta::new(id.parse().unwrap(), TimeRange { mint, maxt: maxt + 1 });
    if let Some(replica) = replica {
        let thanos = meta.thanos.get_or_insert_default();
        thanos.labels.insert(REPLICA_LABEL.to_owned(), replica.to_owned());
    }
    let mut writer = BlockWriter::create(folder, meta, BlockWriterSettings::default()).unwrap();
    for (labels, chunks) in series {
        writer.push(labels, chunks.iter().map(ChunkPayload::from)).unwrap();
    }
    writer.finish().unwrap();
}

/// What the series of one classic histogram have at one time.
#[derive(Default)]
struct Classic {
    /// Upper bound and observations up to it.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The classic histograms among `series` as native ones with custom buckets.
fn with_custom_buckets(series: &BTreeMap<Labels, Samples>) -> BTreeMap<Labels, Samples> {
    let mut classic: BTreeMap<(Labels, Timestamp), Classic> = BTreeMap::new();
    for (labels, samples) in series {
        let name = labels.get(METRIC_NAME).unwrap_or_default();
        let part = ["_bucket", "_count", "_sum"].into_iter().find(|suffix| name.ends_with(suffix));
        let Some(base) = part.and_then(|suffix| name.strip_suffix(suffix)) else { continue };
        let bound = labels.get("le").and_then(|le| le.parse::<f64>().ok()).filter(|le| !le.is_nan());
        if part == Some("_bucket") && bound.is_none() {
            continue;
        }
        let base = labels.with(METRIC_NAME, base).without(&["le"]);
        for (t, (point, _)) in samples {
            let Point::Float(value) = point else { continue };
            let of_time = classic.entry((base.clone(), *t)).or_default();
            match (part, bound) {
                (Some("_count"), _) => of_time.count = Some(*value),
                (Some("_sum"), _) => of_time.sum = *value,
                (_, Some(bound)) => of_time.buckets.push((bound, *value)),
                _ => {}
            }
        }
    }
    let mut native: BTreeMap<Labels, Samples> = BTreeMap::new();
    for ((labels, t), of_time) in classic {
        let histogram = Arc::new(of_time.native());
        native.entry(labels).or_default().insert(t, (Point::Histogram { histogram, hint_given: false }, 0));
    }
    native
}

impl Classic {
    fn native(mut self) -> FloatHistogram {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by_key(|(bound, _)| *bound);
        let count = self.count.or(self.buckets.last().map(|(_, n)| *n)).unwrap_or(0.0);
        if self.buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let below = std::iter::once(0.0).chain(self.buckets.iter().map(|(_, n)| *n));
        let mut histogram = FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans: vec![Span { offset: 0, length: u32::try_from(self.buckets.len()).unwrap() }],
            positive_buckets: self.buckets.iter().zip(below).map(|((_, n), below)| n - below).collect(),
            custom_values: self.buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect(),
            ..FloatHistogram::default()
        };
        histogram.compact(2);
        histogram.validate().unwrap();
        histogram
    }
}
