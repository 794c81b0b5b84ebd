//! The pairs of a shard in a snapshot.
//!
//! ```text
//! count uvarint │ names: text        by number
//! count uvarint │ pairs: name uvarint32, value text
//! ```
//!
//! Postings are not here: series are added again in their order.

use super::{Name, Pair, Pairs, Postings};
use crate::cursor::{Cursor, Malformed, put_text, put_uvarint};

impl Pairs {
    /// Appends names and pairs to `out`.
    pub(in crate::head) fn store(&self, out: &mut Vec<u8>) {
        put_uvarint(out, self.names.len() as u64);
        self.names.iter().for_each(|name| put_text(out, self.get(name.text)));
        put_uvarint(out, self.pairs.len() as u64);
        for pair in &self.pairs {
            put_uvarint(out, u64::from(pair.name));
            put_text(out, self.get(pair.value));
        }
    }

    /// The pairs that [`store`](Self::store) wrote, which no series has yet.
    pub(in crate::head) fn restore(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let mut pairs = Self::default();
        let too_long = cursor.malformed("labels longer than a shard holds");
        let names = cursor.uvarint()?;
        for _ in 0..cursor.count(names, 1)? {
            let text = pairs.store_text(cursor.text()?).map_err(|_| too_long)?;
            pairs.names.push(Name { text, pairs: Vec::new() });
        }
        let count = cursor.uvarint()?;
        let count = cursor.count(count, 2)?;
        pairs.pairs.reserve_exact(count);
        for number in 0..count as u32 {
            let name = cursor.uvarint32()?;
            let unknown = cursor.malformed("a label without a name");
            let value = pairs.store_text(cursor.text()?).map_err(|_| too_long)?;
            pairs.names.get_mut(name as usize).ok_or(unknown)?.pairs.push(number);
            pairs.pairs.push(Pair { name, value, postings: Postings::None });
        }
        pairs.dead = count;
        pairs.index();
        Ok(pairs)
    }

    /// Fills the tables.
    fn index(&mut self) {
        let (mut names, mut pairs) = (std::mem::take(&mut self.name_table), std::mem::take(&mut self.pair_table));
        let hash_name = |&i: &u32| self.hash_name(self.get(self.names[i as usize].text));
        names.reserve(self.names.len(), hash_name);
        for i in 0..self.names.len() as u32 {
            names.insert_unique(hash_name(&i), i, hash_name);
        }
        let hash_pair = |&i: &u32| {
            let pair = &self.pairs[i as usize];
            self.hash_value(pair.name, self.get(pair.value))
        };
        pairs.reserve(self.pairs.len(), hash_pair);
        for i in 0..self.pairs.len() as u32 {
            pairs.insert_unique(hash_pair(&i), i, hash_pair);
        }
        (self.name_table, self.pair_table) = (names, pairs);
    }

    /// Adds a new series to the postings of these pairs. False where there is none of that number.
    pub(in crate::head) fn add_numbers(&mut self, series: u32, numbers: &[u32]) -> bool {
        numbers.iter().all(|&number| {
            let Some(pair) = self.pairs.get_mut(number as usize) else { return false };
            self.dead -= usize::from(pair.postings.is_empty() && self.dead > 0);
            pair.postings.push(series);
            true
        })
    }
}
