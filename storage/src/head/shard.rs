//! A part of the head under one lock: some of the series of all tenants, their labels, index and closed chunks.
//!
//! Series have numbers by which everything in the shard names them. Numbers ascend with age; they change only when series are
//! taken away, and then all of the shard's are given anew. What names a series over time names its reference and key.

use std::collections::{BTreeSet, HashMap};

use hashbrown::HashTable;

use super::chunk_log::ChunkLog;
use super::metadata::FamilyIndex;
use super::pairs::{Pairs, PairsFull};
use super::postings::Postings;
use super::series::Series;
use crate::model::Timestamp;

/// A shard.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub series: Vec<Series>,
    table: HashTable<u32>,
    pub pairs: Pairs,
    labels: Vec<u8>,
    /// The series of each tenant.
    pub tenants: HashMap<u32, Postings>,
    pub log: ChunkLog,
    pub families: FamilyIndex,
}

/// A series and where it was when it was looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeriesPlace {
    pub number: u32,
    pub reference: u64,
    pub key: [u64; 2],
}

impl Shard {
    /// The number of the series with this key.
    ///
    /// Keys are 128 bits of a seeded hash over tenant and labels, and labels are not compared: with a thousand million series
    /// the odds that any two collide are 1 in 10²⁰, far below those of a memory error, and comparing would cost more than
    /// all else that an append does. The tenant is compared, so that nobody can ever reach another tenant's series.
    pub fn find(&self, key: [u64; 2], tenant: u32) -> Option<u32> {
        let same = |&i: &u32| {
            let series = &self.series[i as usize];
            series.key == key && series.tenant == tenant
        };
        self.table.find(key[0], same).copied()
    }

    /// Adds a series.
    pub fn add<'a>(
        &mut self,
        key: [u64; 2],
        reference: u64,
        tenant: u32,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<u32, PairsFull> {
        let number = u32::try_from(self.series.len()).map_err(|_| PairsFull)?;
        let at = u32::try_from(self.labels.len()).map_err(|_| PairsFull)?;
        self.pairs.add(number, labels, &mut self.labels)?;
        self.push_series(Series::new(reference, key, tenant, at), number);
        Ok(number)
    }

    /// Adds a series whose labels are pairs that are here, by number. None where they are not.
    pub fn add_known(&mut self, key: [u64; 2], reference: u64, tenant: u32, pairs: &[u32]) -> Option<u32> {
        let number = u32::try_from(self.series.len()).ok()?;
        let at = u32::try_from(self.labels.len()).ok()?;
        if !self.pairs.add_numbers(number, pairs) {
            return None;
        }
        super::postings::write_varint(&mut self.labels, u32::try_from(pairs.len()).ok()?);
        pairs.iter().for_each(|&pair| super::postings::write_varint(&mut self.labels, pair));
        self.push_series(Series::new(reference, key, tenant, at), number);
        Some(number)
    }

    fn push_series(&mut self, series: Series, number: u32) {
        let (hash, tenant) = (series.key[0], series.tenant);
        self.series.push(series);
        self.tenants.entry(tenant).or_default().push(number);
        let series = &self.series;
        self.table.insert_unique(hash, number, |&i| series[i as usize].key[0]);
    }

    /// The series that stood at `place`, if it is still there.
    pub fn at(&self, place: &SeriesPlace) -> Option<&Series> {
        let same = |series: &&Series| series.reference == place.reference;
        if let Some(series) = self.series.get(place.number as usize).filter(same) {
            return Some(series);
        }
        let moved = |&i: &u32| self.series[i as usize].reference == place.reference;
        self.table.find(place.key[0], moved).and_then(|&i| self.series.get(i as usize))
    }

    /// As [`at`](Self::at), its number.
    pub fn number_at(&self, place: &SeriesPlace) -> Option<u32> {
        if self.series.get(place.number as usize).is_some_and(|series| series.reference == place.reference) {
            return Some(place.number);
        }
        self.table.find(place.key[0], |&i| self.series[i as usize].reference == place.reference).copied()
    }

    /// The labels of a series, as pair numbers.
    pub fn label_bytes(&self, series: &Series) -> &[u8] {
        self.labels.get(series.labels as usize..).unwrap_or_default()
    }

    /// The labels of a series.
    pub fn labels(&self, series: &Series) -> impl Iterator<Item = (&str, &str)> {
        Pairs::numbers(self.label_bytes(series)).map(|pair| self.pairs.pair(pair))
    }

    /// Appends the label key of a series.
    pub fn push_key(&self, series: &Series, key: &mut String) {
        self.pairs.push_key(self.label_bytes(series), key);
    }

    /// Notes what the metric of a series is. False where it was known.
    pub fn set_metadata(&mut self, number: u32, metadata: u32) -> bool {
        let Some(series) = self.series.get_mut(number as usize) else { return false };
        if metadata == 0 || series.metadata == metadata {
            return false;
        }
        series.metadata = metadata;
        let tenant = series.tenant;
        let labels = self.labels.get(series.labels as usize..).unwrap_or_default();
        let labels = Pairs::numbers(labels).map(|pair| self.pairs.pair(pair));
        self.families.add(tenant, labels, metadata);
        true
    }

    /// Copies of all labels.
    pub fn labels_snapshot(&self) -> Vec<u8> {
        self.labels.clone()
    }

    /// Drops what `before` says of each tenant, and the series of which nothing is left. Returns how many series of each
    /// tenant went.
    pub fn truncate(&mut self, before: &HashMap<u32, Timestamp>) -> HashMap<u32, usize> {
        for series in &mut self.series {
            if let Some(&before) = before.get(&series.tenant) {
                series.truncate(&mut self.log, before);
            }
        }
        let mut gone = HashMap::new();
        // Only of tenants that were asked for: a series may be new and its first sample on its way.
        for series in self.series.iter().filter(|series| series.is_empty() && before.contains_key(&series.tenant)) {
            *gone.entry(series.tenant).or_default() += 1;
        }
        if !gone.is_empty() {
            self.remove_series(|series| series.is_empty() && before.contains_key(&series.tenant));
        }
        gone
    }

    /// After a replay: takes away series without a sample, and those of tenants who were removed.
    pub fn sweep(&mut self, removed: &BTreeSet<u32>) {
        for series in self.series.iter_mut().filter(|series| removed.contains(&series.tenant)) {
            series.clear(&mut self.log);
        }
        if self.series.iter().any(Series::is_empty) {
            self.remove_series(Series::is_empty);
        }
    }

    /// Takes series away, and gives the others new numbers.
    fn remove_series(&mut self, is_gone: impl Fn(&Series) -> bool) {
        let mut numbers = vec![None; self.series.len()];
        let (mut kept, mut labels) = (Vec::new(), Vec::new());
        for (old, mut series) in std::mem::take(&mut self.series).into_iter().enumerate() {
            if is_gone(&series) {
                continue;
            }
            let bytes = self.labels.get(series.labels as usize..).unwrap_or_default();
            series.labels = labels.len() as u32;
            super::postings::write_varint(&mut labels, Pairs::numbers(bytes).count() as u32);
            Pairs::numbers(bytes).for_each(|pair| super::postings::write_varint(&mut labels, pair));
            numbers[old] = Some(kept.len() as u32);
            kept.push(series);
        }
        kept.shrink_to_fit();
        self.pairs.renumber(&numbers);
        if self.pairs.is_wasteful() {
            labels = self.intern_again(&mut kept, &labels);
        }
        labels.shrink_to_fit();
        (self.series, self.labels) = (kept, labels);
        self.tenants.clear();
        self.table = HashTable::with_capacity(self.series.len());
        self.families.clear();
        for (i, series) in self.series.iter().enumerate() {
            self.table.insert_unique(series.key[0], i as u32, |&i| self.series[i as usize].key[0]);
            self.tenants.entry(series.tenant).or_default().push(i as u32);
            if series.metadata != 0 {
                let labels = self.labels.get(series.labels as usize..).unwrap_or_default();
                let labels = Pairs::numbers(labels).map(|pair| self.pairs.pair(pair));
                self.families.add(series.tenant, labels, series.metadata);
            }
        }
    }

    /// New pairs of the labels that are left; returns the labels in their numbers.
    fn intern_again(&mut self, series: &mut [Series], labels: &[u8]) -> Vec<u8> {
        let (mut pairs, mut out) = (Pairs::default(), Vec::new());
        for (i, series) in series.iter_mut().enumerate() {
            let numbers = Pairs::numbers(labels.get(series.labels as usize..).unwrap_or_default());
            let at = out.len() as u32;
            // Fewer strings than there were, so they fit.
            let added = pairs.add(i as u32, numbers.map(|pair| self.pairs.pair(pair)), &mut out);
            debug_assert!(added.is_ok(), "fewer labels take more room");
            series.labels = at;
        }
        self.pairs = pairs;
        out
    }

    /// Bytes of memory, closed chunks apart.
    pub fn size_bytes(&self) -> (usize, usize) {
        let series = self.series.capacity() * size_of::<Series>();
        let heap: usize = self.series.iter().map(Series::heap_bytes).sum();
        let tenants: usize = self.tenants.values().map(Postings::heap_bytes).sum();
        let table = self.table.capacity() * 5;
        (series + heap + tenants + table + self.labels.capacity() + self.pairs.size_bytes(), self.log.size_bytes())
    }
}
