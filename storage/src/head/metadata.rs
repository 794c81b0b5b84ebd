//! What metrics are: type, unit and help, each combination kept once; series have its number.
//!
//! By family, a shard keeps which numbers its series have or had: what `/api/v1/metadata` asks for, without a walk over series.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;
use smallvec::SmallVec;

use super::write::{Metadata, MetricKind};
use crate::model::METRIC_NAME;

/// Combinations kept; after that, what is new is not.
const ENTRIES_MAX: usize = 1 << 17;

/// Entries of a family that are kept, the newest ones: more say nothing to anybody.
const ENTRIES_OF_A_FAMILY_MAX: usize = 16;

/// Families of a tenant that are known by what requests say of them as a whole.
const FAMILIES_MAX: usize = 100_000;

/// Longest unit with help text that is kept, and longest name of a family, in bytes.
const TEXT_MAX: usize = 4 << 10;

/// What a metric is, owned.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetadataEntry {
    /// Counter, gauge and so on.
    pub kind: MetricKind,
    /// Its unit, or nothing.
    pub unit: String,
    /// Its help text, or nothing.
    pub help: String,
}

/// The metadata of a family: one entry, or several where its series disagree.
pub type MetadataByFamily = BTreeMap<String, Vec<Arc<MetadataEntry>>>;

impl MetadataEntry {
    /// The same, borrowed.
    #[must_use]
    pub fn borrow(&self) -> Metadata<'_> {
        Metadata { kind: self.kind, unit: &self.unit, help: &self.help }
    }
}

impl From<Metadata<'_>> for MetadataEntry {
    fn from(metadata: Metadata<'_>) -> Self {
        Self { kind: metadata.kind, unit: metadata.unit.to_owned(), help: metadata.help.to_owned() }
    }
}

/// All combinations, by number, from 1.
#[derive(Debug, Default)]
pub(super) struct MetadataTable {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Arc<MetadataEntry>>,
    numbers: HashMap<Arc<MetadataEntry>, u32>,
}

impl MetadataTable {
    /// The number of what `metadata` says; 0 where the table is full, or that is too long.
    pub fn intern(&self, metadata: Metadata<'_>) -> u32 {
        if metadata.unit.len() + metadata.help.len() > TEXT_MAX {
            return 0;
        }
        let entry = MetadataEntry::from(metadata);
        if let Some(&number) = self.inner.read().numbers.get(&entry) {
            return number;
        }
        let mut inner = self.inner.write();
        let Inner { entries, numbers } = &mut *inner;
        if let Some(&number) = numbers.get(&entry) {
            return number;
        }
        if entries.len() >= ENTRIES_MAX {
            return 0;
        }
        let entry = Arc::new(entry);
        entries.push(Arc::clone(&entry));
        let number = entries.len() as u32;
        numbers.insert(entry, number);
        number
    }

    /// What number `number` says.
    pub fn get(&self, number: u32) -> Option<Arc<MetadataEntry>> {
        self.inner.read().entries.get((number as usize).checked_sub(1)?).cloned()
    }
}

/// Which numbers the families of tenants have.
#[derive(Debug, Default)]
pub(super) struct FamilyIndex {
    families: HashMap<u32, HashMap<Box<str>, SmallVec<[u32; 2]>>>,
}

impl FamilyIndex {
    /// Notes number `metadata` for the family of a series.
    pub fn add<'a>(&mut self, tenant: u32, mut labels: impl Iterator<Item = (&'a str, &'a str)>, metadata: u32) {
        if let Some((_, name)) = labels.find(|(name, _)| *name == METRIC_NAME) {
            self.add_family(tenant, name, metadata);
        }
    }

    /// Notes number `metadata` for a family, unless there are very many already.
    pub fn add_family(&mut self, tenant: u32, family: &str, metadata: u32) {
        let families = self.families.entry(tenant).or_default();
        let known = families.len();
        match families.get_mut(family) {
            Some(numbers) if numbers.contains(&metadata) => {}
            Some(numbers) => {
                if numbers.len() >= ENTRIES_OF_A_FAMILY_MAX {
                    numbers.remove(0);
                }
                numbers.push(metadata);
            }
            None if known >= FAMILIES_MAX || family.len() > TEXT_MAX => {}
            None => {
                families.insert(family.into(), SmallVec::from_slice(&[metadata]));
            }
        }
    }

    /// The families of a tenant.
    pub fn of(&self, tenant: u32) -> impl Iterator<Item = (&str, &[u32])> {
        let families = self.families.get(&tenant).into_iter().flatten();
        families.map(|(family, numbers)| (family.as_ref(), numbers.as_slice()))
    }

    /// Forgets what a tenant has.
    pub fn remove_tenant(&mut self, tenant: u32) {
        self.families.remove(&tenant);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.families.clear();
    }
}

/// The family of a series named `name` whose metric is of `kind`: without what histograms and summaries append.
pub(super) fn family_of(name: &str, kind: MetricKind) -> &str {
    let suffixes: &[&str] = match kind {
        MetricKind::Histogram | MetricKind::GaugeHistogram => &["_bucket", "_count", "_sum"],
        MetricKind::Summary => &["_count", "_sum"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).filter(|rest| !rest.is_empty()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_drop_what_their_kind_appends() {
        assert_eq!(family_of("a_bucket", MetricKind::Histogram), "a");
        assert_eq!(family_of("a_bucket", MetricKind::Counter), "a_bucket");
        assert_eq!(family_of("_sum", MetricKind::Summary), "_sum");
    }

    #[test]
    fn equal_metadata_has_one_number() {
        let table = MetadataTable::default();
        let counter = Metadata { kind: MetricKind::Counter, unit: "", help: "Requests." };
        assert_eq!((table.intern(counter), table.intern(counter)), (1, 1));
        assert_eq!(table.intern(Metadata { unit: "s", ..counter }), 2);
        assert_eq!(table.get(1).map(|entry| entry.help.clone()), Some("Requests.".to_owned()));
        assert_eq!(table.get(0), None);
    }

    #[test]
    fn what_senders_make_up_has_an_end() {
        let table = MetadataTable::default();
        let long = "x".repeat(TEXT_MAX + 1);
        assert_eq!(table.intern(Metadata { kind: MetricKind::Counter, unit: "", help: &long }), 0);
        let mut index = FamilyIndex::default();
        (1..100).for_each(|number| index.add_family(7, "up", number));
        assert_eq!(index.of(7).collect::<Vec<_>>(), [("up", &(84..100).collect::<Vec<_>>()[..])]);
        (0..FAMILIES_MAX + 5).for_each(|n| index.add_family(7, &n.to_string(), 1));
        index.add_family(7, &long, 1);
        index.add_family(8, "up", 1);
        assert_eq!((index.of(7).count(), index.of(8).count()), (FAMILIES_MAX, 1));
    }
}
