//! Dropping from the head what blocks have.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::Head;
use crate::model::Timestamp;

/// What a truncation dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Truncated {
    /// Series of which nothing was left.
    pub series: u64,
}

impl Head {
    /// Waits until every answer has been read that was selected before this call and reads samples before `before`. To be
    /// called when the block can be seen and before [`truncate`](Self::truncate); with a time limit, since a reader may be slow:
    /// it gets an error if it is still reading then, and its query starts anew.
    pub async fn readers_done(&self, before: Timestamp) {
        self.readers.done(before).await;
    }

    /// Drops, for each of these tenants, the chunks that lie before a time up to which blocks have everything, and series
    /// of which nothing is left. Late samples that are in no block stay. Each shard is locked for some milliseconds.
    pub fn truncate(&self, cuts: &[(&str, Timestamp)]) -> Truncated {
        let mut before = HashMap::new();
        for (name, t) in cuts {
            if let Some(tenant) = self.tenants.find(name) {
                tenant.raise_min_valid(*t);
                tenant.raise_truncated(*t);
                tenant.begin_oldest();
                before.insert(tenant.number, *t);
            }
        }
        if let Some(newest) = before.values().max() {
            self.readers.truncated(*newest);
        }
        let mut oldest: HashMap<u32, Timestamp> = HashMap::new();
        let mut gone: HashMap<u32, u64> = HashMap::new();
        for shard in self.shards.iter() {
            let mut shard = shard.write();
            for (tenant, count) in shard.truncate(&before) {
                *gone.entry(tenant).or_default() += count as u64;
            }
            for series in shard.series.iter().filter(|series| before.contains_key(&series.tenant)) {
                if let Some(interval) = series.interval() {
                    let oldest = oldest.entry(series.tenant).or_insert(Timestamp::MAX);
                    *oldest = (*oldest).min(interval.mint);
                }
            }
        }
        for number in before.keys() {
            let Some(tenant) = self.tenants.by_number(*number) else { continue };
            tenant.series.fetch_sub(gone.get(number).copied().unwrap_or(0), Ordering::SeqCst);
            tenant.set_oldest(oldest.get(number).copied().unwrap_or(Timestamp::MAX));
        }
        Truncated { series: gone.values().sum() }
    }
}
