//! Selecting series of the head, in final order, before any chunk is copied.
//!
//! ```text
//! tenants ──> matchers left for each group ──> shard by shard: postings ──> final keys ──> sorted, equal ones joined
//! ```

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::Head;
use super::postings::SeriesBits;
use super::shard::{SeriesPlace, Shard};
use super::tenants::Tenant;
use crate::error::{Error, Result};
use crate::model::{Budget, Matcher, Reservation, TenantScope, TimeInterval};
use crate::store::{KeyRange, LabelJoin, SeriesRequest, check_deadline};

/// Bytes by which a selection's reservation grows.
const RESERVE_BYTES: usize = 64 << 10;

/// Tenants of which the same is asked.
#[derive(Debug)]
pub(super) struct Group {
    /// What is left to be asked of a series' own labels.
    pub matchers: Vec<Matcher>,
    pub tenants: HashMap<u32, Arc<Tenant>>,
    /// Whether these are all tenants that there are.
    is_everybody: bool,
}

impl Group {
    /// The series of the group in a shard.
    pub fn select(&self, shard: &Shard) -> SeriesBits {
        let len = shard.series.len();
        let mut selected = shard.pairs.select(len, &self.matchers);
        if !self.is_everybody {
            let mut theirs = SeriesBits::none(len);
            let postings = self.tenants.keys().filter_map(|tenant| shard.tenants.get(tenant));
            postings.for_each(|postings| theirs.insert_all(postings));
            selected.intersect(&theirs);
        }
        selected
    }
}

/// A selected series.
#[derive(Debug, Clone, Copy)]
pub(super) struct SelectedRow {
    key: [usize; 2],
    pub shard: u32,
    pub place: SeriesPlace,
    pub replica: u32,
}

/// Selected series, sorted by final key.
#[derive(Debug)]
pub(super) struct HeadSelection {
    keys: String,
    rows: Vec<SelectedRow>,
    /// Where in `rows` each distinct key begins, and the end.
    series: Vec<usize>,
    _reservation: Reservation,
}

impl HeadSelection {
    pub fn len(&self) -> usize {
        self.series.len().saturating_sub(1)
    }

    /// The final key of series `i`.
    pub fn key(&self, i: usize) -> &str {
        key(&self.keys, &self.rows[self.series[i]])
    }

    /// What series `i` is made of.
    pub fn rows(&self, i: usize) -> &[SelectedRow] {
        &self.rows[self.series[i]..self.series[i + 1]]
    }

    /// The series whose key lies in `range`.
    pub fn find(&self, range: &KeyRange) -> Range<usize> {
        let series = &self.series[..self.len()];
        let position = |bound: &str| series.partition_point(|&row| key(&self.keys, &self.rows[row]) < bound);
        let start = range.start.as_deref().map_or(0, position);
        let end = range.end.as_deref().map_or(self.len(), position);
        start..end.max(start)
    }

    /// Keys that cut the series into at most `n` equal ranges.
    pub fn split_points(&self, n: usize) -> Vec<String> {
        let n = n.min(self.len());
        (1..n).map(|i| self.key(i * self.len() / n).to_owned()).collect()
    }
}

fn key<'k>(keys: &'k str, row: &SelectedRow) -> &'k str {
    &keys[row.key[0]..row.key[1]]
}

struct Builder {
    keys: String,
    rows: Vec<SelectedRow>,
    reservation: Reservation,
}

impl Builder {
    fn new(budget: &Arc<dyn Budget>) -> Self {
        Self { keys: String::new(), rows: Vec::new(), reservation: Reservation::new(Arc::clone(budget)) }
    }

    fn size(&self) -> usize {
        // the list of distinct keys comes on top
        self.keys.len() + self.rows.len() * (size_of::<SelectedRow>() + size_of::<usize>())
    }

    /// Adds the series of a shard that are selected and have a chunk in the interval.
    fn add(
        &mut self,
        number: u32,
        shard: &Shard,
        selected: &SeriesBits,
        joins: &HashMap<u32, LabelJoin>,
        interval: TimeInterval,
    ) -> Result<()> {
        let mut own = String::new();
        for i in selected.iter() {
            let Some(series) = shard.series.get(i as usize).filter(|series| series.overlaps(interval)) else {
                continue;
            };
            let Some(join) = joins.get(&series.tenant) else { continue };
            if self.size() + own.len() + RESERVE_BYTES / 2 > self.reservation.size() {
                self.reservation.try_grow(RESERVE_BYTES.max(self.size() / 4))?;
            }
            own.clear();
            shard.push_key(series, &mut own);
            let start = self.keys.len();
            let replica = join.join(&own, &mut self.keys);
            let place = SeriesPlace { number: i, reference: series.reference, key: series.key };
            self.rows.push(SelectedRow { key: [start, self.keys.len()], shard: number, place, replica });
        }
        Ok(())
    }

    fn finish(mut self, limit: Option<usize>) -> Result<HeadSelection> {
        let Self { keys, rows, .. } = &mut self;
        rows.sort_by(|a, b| key(keys, a).cmp(key(keys, b)));
        let mut series = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            if i == 0 || key(keys, &rows[i - 1]) != key(keys, row) {
                series.push(i);
                if limit.is_some_and(|limit| series.len() > limit) {
                    break;
                }
            }
        }
        match limit {
            Some(limit) if series.len() > limit => rows.truncate(series[limit]),
            _ => series.push(rows.len()),
        }
        let size = self.keys.capacity()
            + self.rows.capacity() * size_of::<SelectedRow>()
            + series.capacity() * size_of::<usize>();
        self.reservation.try_resize(size)?;
        Ok(HeadSelection { keys: self.keys, rows: self.rows, series, _reservation: self.reservation })
    }
}

impl Head {
    /// Whom a request may ask, with what is left to be asked once the matchers on external labels are decided.
    pub(super) fn groups(
        &self,
        scope: &TenantScope,
        matchers: &[Matcher],
        is_wanted: impl Fn(&Tenant) -> bool,
    ) -> Result<Vec<Group>> {
        let mut all = matchers.to_vec();
        let mut only = None;
        match scope {
            TenantScope::All => {}
            TenantScope::Only { label, tenant } if label.is_empty() || tenant.is_empty() => {
                return Err(Error::InvalidRequest("a tenant's label and name must not be empty".to_owned()));
            }
            TenantScope::Only { label, tenant } => {
                if label.as_ref() == self.settings.tenant_label {
                    only = Some(Arc::clone(tenant));
                }
                all.push(Matcher::equal(label.as_ref(), tenant.as_ref()));
            }
        }
        let (tenants, count) = match only {
            Some(name) => (self.tenants.find(&name).into_iter().collect(), self.tenants.len()),
            None => {
                let all = self.tenants.all();
                let count = all.len();
                (all, count)
            }
        };
        let mut groups: Vec<Group> = Vec::new();
        for tenant in tenants.into_iter().filter(|tenant| is_wanted(tenant)) {
            let Some(rest) = tenant.external.resolve(&all) else { continue };
            let group = match groups.iter_mut().position(|group| group.matchers == rest) {
                Some(at) => &mut groups[at],
                None => {
                    groups.push(Group { matchers: rest, tenants: HashMap::new(), is_everybody: false });
                    let last = groups.len() - 1;
                    &mut groups[last]
                }
            };
            group.tenants.insert(tenant.number, tenant);
            group.is_everybody = group.tenants.len() == count;
        }
        Ok(groups)
    }

    /// The series that a request asks for.
    pub(super) fn select(&self, request: &SeriesRequest) -> Result<HeadSelection> {
        check_deadline(request.deadline)?;
        let interval = request.interval;
        let groups = self.groups(&request.tenant, &request.matchers, |tenant| tenant.interval().overlaps(interval))?;
        let mut builder = Builder::new(&request.budget);
        for group in &groups {
            let joins: HashMap<u32, LabelJoin> = group
                .tenants
                .iter()
                .map(|(&number, tenant)| {
                    let drop = Arc::clone(&request.drop_labels);
                    (number, LabelJoin::new(&tenant.external, drop, request.with_external_labels))
                })
                .collect();
            for (number, shard) in self.shards.iter().enumerate() {
                check_deadline(request.deadline)?;
                let shard = shard.read();
                let selected = group.select(&shard);
                builder.add(number as u32, &shard, &selected, &joins, interval)?;
            }
        }
        builder.finish(request.limit)
    }
}
