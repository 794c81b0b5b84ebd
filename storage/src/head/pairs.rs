//! The label pairs of a shard, each once: a series' labels are then a few bytes of pair numbers, and the index from labels to
//! series is one slot a pair.
//!
//! ```text
//! text    …job api…instance 10.0.0.1:9090…       names and values behind one another
//! pairs   (name, where its value is, postings)   by number
//! labels  of a series: count, numbers            varints, in the order of names
//! ```

mod stored;

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::postings::{Postings, SeriesBits, read_varint, write_varint};
use crate::model::{Matcher, label_key};

/// A name or value that does not fit any more: the strings of a shard exceed 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PairsFull;

#[derive(Debug, Clone, Copy)]
struct Text {
    start: u32,
    len: u32,
}

#[derive(Debug)]
struct Pair {
    name: u32,
    value: Text,
    postings: Postings,
}

#[derive(Debug)]
struct Name {
    text: Text,
    /// Its pairs, by number.
    pairs: Vec<u32>,
}

/// The pairs of a shard.
#[derive(Debug)]
pub(super) struct Pairs {
    text: String,
    names: Vec<Name>,
    name_table: HashTable<u32>,
    pairs: Vec<Pair>,
    pair_table: HashTable<u32>,
    /// Keeps others from choosing labels whose hashes collide.
    seed: u64,
    /// Pairs that no series has any more.
    dead: usize,
}

impl Default for Pairs {
    fn default() -> Self {
        Self {
            text: String::new(),
            names: Vec::new(),
            name_table: HashTable::new(),
            pairs: Vec::new(),
            pair_table: HashTable::new(),
            seed: RandomState::new().hash_one(0),
            dead: 0,
        }
    }
}

impl Pairs {
    fn get(&self, text: Text) -> &str {
        let start = text.start as usize;
        self.text.get(start..start + text.len as usize).unwrap_or_default()
    }

    fn store_text(&mut self, text: &str) -> Result<Text, PairsFull> {
        let start = u32::try_from(self.text.len()).map_err(|_| PairsFull)?;
        let len = u32::try_from(text.len()).map_err(|_| PairsFull)?;
        self.text.push_str(text);
        Ok(Text { start, len })
    }

    fn hash_name(&self, name: &str) -> u64 {
        xxh3_64_with_seed(name.as_bytes(), self.seed)
    }

    fn hash_value(&self, name: u32, value: &str) -> u64 {
        xxh3_64_with_seed(value.as_bytes(), self.seed ^ (u64::from(name) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn find_name(&self, name: &str) -> Option<u32> {
        let same = |&i: &u32| self.get(self.names[i as usize].text) == name;
        self.name_table.find(self.hash_name(name), same).copied()
    }

    fn find_pair(&self, name: u32, value: &str) -> Option<u32> {
        let same = |&i: &u32| {
            let pair = &self.pairs[i as usize];
            pair.name == name && self.get(pair.value) == value
        };
        self.pair_table.find(self.hash_value(name, value), same).copied()
    }

    fn intern(&mut self, name: &str, value: &str) -> Result<u32, PairsFull> {
        let name = match self.find_name(name) {
            Some(found) => found,
            None => {
                let (text, number) = (self.store_text(name)?, self.names.len() as u32);
                self.names.push(Name { text, pairs: Vec::new() });
                let hash = self.hash_name(name);
                let mut table = std::mem::take(&mut self.name_table);
                table.insert_unique(hash, number, |&i| self.hash_name(self.get(self.names[i as usize].text)));
                self.name_table = table;
                number
            }
        };
        if let Some(found) = self.find_pair(name, value) {
            return Ok(found);
        }
        let number = u32::try_from(self.pairs.len()).map_err(|_| PairsFull)?;
        let text = self.store_text(value)?;
        self.pairs.push(Pair { name, value: text, postings: Postings::None });
        self.names[name as usize].pairs.push(number);
        let hash = self.hash_value(name, value);
        let mut table = std::mem::take(&mut self.pair_table);
        table.insert_unique(hash, number, |&i| {
            let pair = &self.pairs[i as usize];
            self.hash_value(pair.name, self.get(pair.value))
        });
        self.pair_table = table;
        Ok(number)
    }

    /// Appends the labels of a new series to `out` and adds it to their postings.
    pub fn add<'a>(
        &mut self,
        series: u32,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        out: &mut Vec<u8>,
    ) -> Result<(), PairsFull> {
        let mut numbers = smallvec::SmallVec::<[u32; 32]>::new();
        for (name, value) in labels {
            numbers.push(self.intern(name, value)?);
        }
        write_varint(out, u32::try_from(numbers.len()).map_err(|_| PairsFull)?);
        for number in numbers {
            write_varint(out, number);
            let postings = &mut self.pairs[number as usize].postings;
            self.dead -= usize::from(postings.is_empty() && self.dead > 0);
            postings.push(series);
        }
        Ok(())
    }

    /// The pairs of labels that [`add`](Self::add) wrote at the front of `bytes`, by number.
    pub fn numbers(bytes: &[u8]) -> impl Iterator<Item = u32> {
        let mut rest = bytes;
        let count = read_varint(&mut rest).unwrap_or(0);
        (0..count).map_while(move |_| read_varint(&mut rest))
    }

    /// Name and value of a pair.
    pub fn pair(&self, number: u32) -> (&str, &str) {
        match self.pairs.get(number as usize) {
            Some(pair) => (self.get(self.names[pair.name as usize].text), self.get(pair.value)),
            None => ("", ""),
        }
    }

    /// Appends the label key of labels at the front of `bytes`.
    pub fn push_key(&self, bytes: &[u8], key: &mut String) {
        for number in Self::numbers(bytes) {
            let (name, value) = self.pair(number);
            label_key::push_pair(key, name, value);
        }
    }

    /// Which of `len` series pass all matchers.
    pub fn select(&self, len: usize, matchers: &[Matcher]) -> SeriesBits {
        let mut selected = SeriesBits::all(len);
        for matcher in matchers {
            let name = self.find_name(matcher.name());
            if matcher.matches_empty() {
                if let Some(name) = name {
                    self.matching(name, matcher, false, |pair| selected.remove_all(&pair.postings));
                }
                continue;
            }
            let mut found = SeriesBits::none(len);
            if let Some(name) = name {
                self.matching(name, matcher, true, |pair| found.insert_all(&pair.postings));
            }
            selected.intersect(&found);
            if selected.is_empty() {
                break;
            }
        }
        selected
    }

    /// Visits the pairs of a name whose value passes, or of which it does not pass.
    fn matching(&self, name: u32, matcher: &Matcher, passes: bool, mut visit: impl FnMut(&Pair)) {
        use crate::model::MatchOp;
        let values: Option<&[String]> = match matcher.op() {
            MatchOp::Equal | MatchOp::Regex if passes => matcher.set_matches(),
            MatchOp::NotEqual | MatchOp::NotRegex if !passes => matcher.set_matches(),
            _ => None,
        };
        let one = match matcher.op() {
            MatchOp::Equal if passes => Some(matcher.value()),
            MatchOp::NotEqual if !passes => Some(matcher.value()),
            _ => None,
        };
        if one.is_some() || values.is_some() {
            let all = one.into_iter().chain(values.unwrap_or_default().iter().map(String::as_str));
            all.filter_map(|value| self.find_pair(name, value)).for_each(|pair| visit(&self.pairs[pair as usize]));
            return;
        }
        for &number in &self.names[name as usize].pairs {
            let pair = &self.pairs[number as usize];
            if !pair.postings.is_empty() && matcher.matches(self.get(pair.value)) == passes {
                visit(pair);
            }
        }
    }

    /// All pairs that a series has, with the series that have them.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, &Postings)> {
        let alive = self.pairs.iter().filter(|pair| !pair.postings.is_empty());
        alive.map(|pair| (self.get(self.names[pair.name as usize].text), self.get(pair.value), &pair.postings))
    }

    /// The values of `name`, each with the series that have it.
    pub fn values(&self, name: &str) -> impl Iterator<Item = (&str, &Postings)> {
        let pairs = self.find_name(name).map_or(&[][..], |name| &self.names[name as usize].pairs);
        let pairs = pairs.iter().map(|&pair| &self.pairs[pair as usize]);
        pairs.filter(|pair| !pair.postings.is_empty()).map(|pair| (self.get(pair.value), &pair.postings))
    }

    /// The number of pairs, dead ones too.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Renumbers the series of all postings, in which those without a number in `numbers` end.
    pub fn renumber(&mut self, numbers: &[Option<u32>]) {
        self.dead = 0;
        for pair in &mut self.pairs {
            let mut postings = Postings::None;
            let kept = pair.postings.iter().filter_map(|series| numbers.get(series as usize).copied().flatten());
            kept.for_each(|series| postings.push(series));
            self.dead += usize::from(postings.is_empty());
            pair.postings = postings;
        }
    }

    /// Whether so many pairs are dead that their memory is worth getting back.
    pub fn is_wasteful(&self) -> bool {
        self.dead > 1_000 && self.dead > self.pairs.len() / 2
    }

    /// The order of pairs by name and value: of each pair the place that it has in it.
    pub fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.pairs.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| self.pair(a).cmp(&self.pair(b)));
        let mut ranks = vec![0; order.len()];
        order.iter().enumerate().for_each(|(rank, &pair)| ranks[pair as usize] = rank as u32);
        ranks
    }

    /// The texts alone, to work with while the shard goes on.
    pub fn snapshot(&self) -> Self {
        let names = self.names.iter().map(|name| Name { text: name.text, pairs: Vec::new() }).collect();
        let pair = |pair: &Pair| Pair { name: pair.name, value: pair.value, postings: Postings::None };
        let pairs = self.pairs.iter().map(pair).collect();
        Self { text: self.text.clone(), names, pairs, ..Self::default() }
    }

    /// Bytes of memory.
    pub fn size_bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|name| size_of::<Name>() + name.pairs.capacity() * 4).sum();
        let postings: usize = self.pairs.iter().map(|pair| pair.postings.heap_bytes()).sum();
        let tables = (self.pair_table.capacity() + self.name_table.capacity()) * 5;
        self.text.capacity() + names + self.pairs.capacity() * size_of::<Pair>() + postings + tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_and_dead_pairs_go() {
        let mut pairs = Pairs::default();
        let sets: Vec<Vec<(String, String)>> =
            (0..3_000).map(|i| vec![("a".to_owned(), i.to_string()), ("b".to_owned(), (i % 7).to_string())]).collect();
        let mut labels = Vec::new();
        for (i, set) in sets.iter().enumerate() {
            let mut bytes = Vec::new();
            let set = set.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            pairs.add(i as u32, set, &mut bytes).unwrap();
            labels.push(bytes);
        }
        for (set, bytes) in sets.iter().zip(&labels) {
            let found: Vec<_> = Pairs::numbers(bytes).map(|n| pairs.pair(n)).collect();
            assert!(found.iter().zip(set).all(|(a, b)| *a == (b.0.as_str(), b.1.as_str())));
        }
        assert_eq!(pairs.values("b").map(|(_, series)| series.len()).sum::<usize>(), 3_000);
        let ranks = pairs.ranks();
        assert!((1..pairs.len()).all(|i| (pairs.pair(0) < pairs.pair(i as u32)) == (ranks[0] < ranks[i])));
        let numbers: Vec<Option<u32>> = (0..3_000).map(|i| (i < 10).then_some(i)).collect();
        pairs.renumber(&numbers);
        assert!(pairs.is_wasteful());
        assert_eq!(pairs.values("a").count(), 10);
        assert_eq!(pairs.snapshot().pair(5), pairs.pair(5));
    }
}
