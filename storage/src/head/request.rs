//! One request's series, copied out of its body and sorted by shard, so that each shard is locked once.
//!
//! The memory is used again by later requests: a request of 2,000 series has a megabyte of labels, and getting that from the
//! system anew each time would cost more than hashing it.

use std::hash::{BuildHasher, RandomState};

use xxhash_rust::xxh3::xxh3_128_with_secret;

use super::write::{Exemplar, FloatSample, HistogramSample, SeriesWrite};
use crate::model::{Labels, Timestamp};

/// Ends a name or value in the text that is hashed; in no UTF-8.
const END: u8 = 0xff;
/// Bytes of the hash's secret.
const SECRET_BYTES: usize = 192;
/// Series after which a request is applied.
const SERIES_MAX: usize = 8 << 10;
/// Floats after which it is, however few series they are of: on their way they may have taken two bytes each.
const FLOATS_MAX: usize = 64 << 10;
/// Histograms after which it is.
const HISTOGRAMS_MAX: usize = 4 << 10;
/// Spans, buckets and bounds of histograms after which it is: likewise a byte or two on their way, and eight here.
const LAYOUTS_MAX: usize = 256 << 10;
/// Exemplars after which it is.
const EXEMPLARS_MAX: usize = 8 << 10;
/// More memory than this is not kept for the next request, in bytes of labels.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Makes keys of series. What goes into a key differs from process to process, so that nobody can choose labels that collide.
#[derive(Debug)]
pub(super) struct KeyHasher {
    secret: [u8; SECRET_BYTES],
}

impl Default for KeyHasher {
    fn default() -> Self {
        let mut secret = [0; SECRET_BYTES];
        let random = RandomState::new();
        for (i, word) in secret.chunks_mut(8).enumerate() {
            word.copy_from_slice(&random.hash_one(i).to_le_bytes()[..word.len()]);
        }
        Self { secret }
    }
}

impl KeyHasher {
    /// The one that gave the keys of a snapshot. None where that is no secret of one.
    pub fn from_secret(secret: &[u8]) -> Option<Self> {
        Some(Self { secret: secret.try_into().ok()? })
    }

    /// What its keys depend on.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    fn hash(&self, text: &[u8]) -> [u64; 2] {
        let hash = xxh3_128_with_secret(text, &self.secret);
        [hash as u64, (hash >> 64) as u64]
    }

    /// The key of a series.
    pub fn key<'a>(
        &self,
        tenant: u32,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        text: &mut Vec<u8>,
    ) -> [u64; 2] {
        text.clear();
        push_text(text, tenant, labels);
        self.hash(text)
    }
}

/// Of `count` shards, the one that a key belongs to.
pub(super) fn shard_of(key: [u64; 2], count: usize) -> usize {
    // the table in the shard goes by the other half
    ((u128::from(key[1]) * count as u128) >> 64) as usize
}

fn push_text<'a>(text: &mut Vec<u8>, tenant: u32, labels: impl Iterator<Item = (&'a str, &'a str)>) {
    text.extend_from_slice(&tenant.to_le_bytes());
    for (name, value) in labels {
        text.extend_from_slice(name.as_bytes());
        text.push(END);
        text.extend_from_slice(value.as_bytes());
        text.push(END);
    }
}

/// A series of the request. Its parts lie from here to where the next series' begin.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pending {
    pub key: [u64; 2],
    text: [u32; 2],
    floats: [u32; 2],
    histograms: [u32; 2],
    exemplars: [u32; 2],
    /// Number of its metadata; 0 where nothing was said.
    pub metadata: u32,
}

/// An exemplar of the request.
#[derive(Debug)]
pub(super) struct PendingExemplar {
    labels: Vec<(String, String)>,
    pub t: Timestamp,
    value: f64,
}

impl PendingExemplar {
    /// Hands the exemplar out as it came.
    pub fn with<R>(&self, f: impl FnOnce(&Exemplar<'_>) -> R) -> R {
        let labels: Vec<(&str, &str)> = self.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        f(&Exemplar { labels: &labels, t: self.t, value: self.value })
    }
}

/// A request.
#[derive(Debug, Default)]
pub(super) struct Request {
    text: Vec<u8>,
    series: Vec<Pending>,
    floats: Vec<FloatSample>,
    histograms: Vec<HistogramSample>,
    /// What `histograms` have of spans, buckets and bounds.
    layouts: usize,
    exemplars: Vec<PendingExemplar>,
    /// Which series belong to each shard.
    by_shard: Vec<Vec<u32>>,
}

fn slice<T>(all: &[T], range: [u32; 2]) -> &[T] {
    all.get(range[0] as usize..range[1] as usize).unwrap_or_default()
}

impl Request {
    /// An empty request for so many shards, in the memory of this one.
    pub fn reset(&mut self, shards: usize) {
        self.text.clear();
        self.text.shrink_to(KEPT_BYTES_MAX);
        self.series.clear();
        self.floats.clear();
        self.histograms.clear();
        self.layouts = 0;
        self.exemplars.clear();
        self.by_shard.resize(shards, Vec::new());
        self.by_shard.iter_mut().for_each(Vec::clear);
    }

    /// Adds a series. False, and nothing is added, where its parts exceed 4 GiB.
    pub fn push(&mut self, write: &SeriesWrite<'_>, tenant: u32, hasher: &KeyHasher, metadata: u32) -> bool {
        let start = self.text.len();
        push_text(&mut self.text, tenant, write.labels.iter().copied());
        let text = &self.text[start..];
        let key = hasher.hash(text);
        let range = |from: usize, to: usize| Some([u32::try_from(from).ok()?, u32::try_from(to).ok()?]);
        let (floats, histograms, exemplars) = (self.floats.len(), self.histograms.len(), self.exemplars.len());
        self.floats.extend_from_slice(write.floats);
        self.histograms.extend_from_slice(write.histograms);
        self.layouts += write.histograms.iter().map(|sample| sample.histogram.layout_len()).sum::<usize>();
        self.exemplars.extend(write.exemplars.iter().map(|exemplar| PendingExemplar {
            labels: exemplar.labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            t: exemplar.t,
            value: exemplar.value,
        }));
        let ranges = (
            range(start, self.text.len()),
            range(floats, self.floats.len()),
            range(histograms, self.histograms.len()),
            range(exemplars, self.exemplars.len()),
        );
        let (Some(text), Some(floats), Some(histograms), Some(exemplars)) = ranges else { return false };
        let shard = shard_of(key, self.by_shard.len());
        self.by_shard[shard].push(self.series.len() as u32);
        self.series.push(Pending { key, text, floats, histograms, exemplars, metadata });
        true
    }

    /// Whether it is long enough to be applied.
    pub fn is_long(&self) -> bool {
        self.series.len() >= SERIES_MAX
            || self.text.len() >= KEPT_BYTES_MAX
            || self.floats.len() >= FLOATS_MAX
            || self.histograms.len() >= HISTOGRAMS_MAX
            || self.layouts >= LAYOUTS_MAX
            || self.exemplars.len() >= EXEMPLARS_MAX
    }

    /// Takes out which series belong to a shard; [`put_back`](Self::put_back) returns the memory.
    pub fn take_shard(&mut self, shard: usize) -> Vec<u32> {
        self.by_shard.get_mut(shard).map(std::mem::take).unwrap_or_default()
    }

    pub fn put_back(&mut self, shard: usize, list: Vec<u32>) {
        if let Some(place) = self.by_shard.get_mut(shard) {
            *place = list;
        }
    }

    pub fn series(&self, index: u32) -> &Pending {
        &self.series[index as usize]
    }

    pub fn floats(&self, pending: &Pending) -> &[FloatSample] {
        slice(&self.floats, pending.floats)
    }

    pub fn histograms(&self, pending: &Pending) -> &[HistogramSample] {
        slice(&self.histograms, pending.histograms)
    }

    pub fn exemplars(&self, pending: &Pending) -> &[PendingExemplar] {
        slice(&self.exemplars, pending.exemplars)
    }

    /// Float number `index` of the request.
    pub fn float(&self, index: u32) -> &FloatSample {
        &self.floats[index as usize]
    }

    /// Histogram number `index` of the request.
    pub fn histogram(&self, index: u32) -> &HistogramSample {
        &self.histograms[index as usize]
    }

    /// Where the floats and the histograms of a series begin.
    pub fn first(&self, pending: &Pending) -> (u32, u32) {
        (pending.floats[0], pending.histograms[0])
    }

    /// The labels of a series.
    pub fn labels(&self, pending: &Pending) -> Vec<(&str, &str)> {
        let text = slice(&self.text, pending.text).get(size_of::<u32>()..).unwrap_or_default();
        // what came in as text goes out as text
        let mut parts = text.split(|&byte| byte == END).map(|part| std::str::from_utf8(part).unwrap_or_default());
        let mut labels = Vec::new();
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            labels.push((name, value));
        }
        labels
    }

    /// The labels of a series, owned.
    pub fn owned_labels(&self, pending: &Pending) -> Labels {
        Labels::from_pairs(self.labels(pending))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::HistogramValue;
    use crate::model::Histogram;

    /// However few series it has, a request takes some megabytes at most.
    #[test]
    fn a_request_with_much_of_anything_is_long() {
        let floats = vec![FloatSample { t: 0, start: 0, value: 0.0 }; 4_096];
        let of_buckets = |count: usize| HistogramSample {
            t: 0,
            start: 0,
            histogram: HistogramValue::Integer(Histogram { positive_deltas: vec![0; count], ..Histogram::default() }),
        };
        let (empty, large) = (vec![of_buckets(0); 64], [of_buckets(1 << 16)]);
        let exemplars = vec![Exemplar { labels: &[], t: 0, value: 0.0 }; 256];
        let none = SeriesWrite { labels: &[("a", "1")], floats: &[], histograms: &[], exemplars: &[], metadata: None };
        let writes = [
            (SeriesWrite { floats: &floats, ..none }, 16),
            (SeriesWrite { histograms: &empty, ..none }, 64),
            (SeriesWrite { histograms: &large, ..none }, 4),
            (SeriesWrite { exemplars: &exemplars, ..none }, 32),
        ];
        let (hasher, mut request) = (KeyHasher::default(), Request::default());
        for (write, times) in writes {
            request.reset(4);
            for _ in 0..times {
                assert!(!request.is_long());
                assert!(request.push(&write, 1, &hasher, 0));
            }
            assert!(request.is_long());
        }
    }

    #[test]
    fn labels_come_back_and_keys_tell_tenants_apart() {
        let (hasher, mut request) = (KeyHasher::default(), Request::default());
        request.reset(4);
        let labels = [("a", "1"), ("b\u{0}", "é\u{10ffff}")];
        let write = SeriesWrite { labels: &labels, floats: &[], histograms: &[], exemplars: &[], metadata: None };
        let other = SeriesWrite { labels: &[], ..write };
        assert!(
            request.push(&write, 1, &hasher, 0)
                && request.push(&write, 2, &hasher, 0)
                && request.push(&other, 1, &hasher, 0)
        );
        assert_eq!(request.labels(request.series(0)), labels);
        assert_eq!(request.labels(request.series(2)), []);
        assert_ne!(request.series(0).key, request.series(1).key);
        let mut text = vec![1];
        assert_eq!(hasher.key(1, labels.into_iter(), &mut text), request.series(0).key);
        assert!((0..100).all(|i| shard_of([0, i * (u64::MAX / 100)], 3) < 3));
        let shard = shard_of(request.series(0).key, 4);
        assert!(request.take_shard(shard).contains(&0));
    }
}
