//! A reader of blocks of floats that shares no code with the program: index version 2 and XOR chunks, as Prometheus's format pages
//! describe them. It checks nothing but what the tests ask for: damage makes it panic.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

/// One sample: a hash of the series with its external labels, its time, the bits of its value.
pub type Sample = (u64, i64, u64);

/// The samples of a bucket, sorted: every copy of one counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BucketSamples {
    /// Of blocks that stay.
    pub unmarked: Vec<Sample>,
    /// Of all blocks, those under a deletion mark too.
    pub all: Vec<Sample>,
    /// Raw blocks that stay.
    pub blocks: usize,
}

impl BucketSamples {
    /// Reads every raw block that has a `meta.json`.
    pub async fn read(objects: &Arc<InMemory>) -> Self {
        let mut blocks: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
        let listed: Vec<_> = objects.list(None).try_collect().await.unwrap();
        for object in listed {
            if let Some((block, file)) = object.location.as_ref().split_once('/') {
                // nobody needs the side-index
                if !file.starts_with("series.") {
                    let bytes = objects.get(&object.location).await.unwrap().bytes().await.unwrap();
                    blocks.entry(block.to_owned()).or_default().insert(file.to_owned(), bytes.to_vec());
                }
            }
        }
        Self::of(&blocks)
    }

    /// The same of a folder.
    pub fn of_folder(folder: &std::path::Path) -> Self {
        let mut blocks: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
        for block in std::fs::read_dir(folder).unwrap() {
            let block = block.unwrap().path();
            if !block.is_dir() {
                continue;
            }
            let files = blocks.entry(block.file_name().unwrap().to_string_lossy().into_owned()).or_default();
            let mut folders = vec![block.clone()];
            while let Some(next) = folders.pop() {
                for file in std::fs::read_dir(next).unwrap() {
                    let path = file.unwrap().path();
                    if path.is_dir() {
                        folders.push(path);
                    } else {
                        let name = path.strip_prefix(&block).unwrap().display().to_string();
                        files.insert(name, std::fs::read(path).unwrap());
                    }
                }
            }
        }
        Self::of(&blocks)
    }

    fn of(blocks: &BTreeMap<String, BTreeMap<String, Vec<u8>>>) -> Self {
        let mut samples = Self::default();
        for files in blocks.values() {
            let Some(meta) = files.get("meta.json") else { continue };
            let meta: serde_json::Value = serde_json::from_slice(meta).unwrap();
            if meta["thanos"]["downsample"]["resolution"].as_i64().unwrap_or(0) != 0 {
                continue;
            }
            let found = block(&meta["thanos"]["labels"].to_string(), files);
            if !files.contains_key("deletion-mark.json") {
                samples.unmarked.extend_from_slice(&found);
                samples.blocks += 1;
            }
            samples.all.extend(found);
        }
        samples.unmarked.sort_unstable();
        samples.all.sort_unstable();
        samples
    }

    /// The samples of blocks that stay, each once.
    pub fn distinct(&self) -> Vec<Sample> {
        let mut distinct = self.unmarked.clone();
        distinct.dedup();
        distinct
    }
}

fn block(external: &str, files: &BTreeMap<String, Vec<u8>>) -> Vec<Sample> {
    let index = &files["index"];
    let toc: Vec<u64> =
        index[index.len() - 52..][..48].chunks(8).map(|eight| u64::from_be_bytes(eight.try_into().unwrap())).collect();
    let symbols = symbols(&index[usize::try_from(toc[0]).unwrap()..]);
    let start = usize::try_from(toc[1]).unwrap();
    let end = toc.iter().filter(|&&offset| offset > toc[1]).min().map_or(index.len(), |&end| end as usize);
    let (mut samples, mut at) = (Vec::new(), start);
    while at < end {
        let mut bytes = Bytes(&index[at..]);
        let length = bytes.uvarint() as usize;
        if length == 0 {
            break;
        }
        let entry = bytes.0.len() - length;
        let mut name = external.to_owned();
        for _ in 0..bytes.uvarint() {
            let (label, value) = (bytes.uvarint() as usize, bytes.uvarint() as usize);
            name.push_str(&format!("{:?}={:?},", symbols[label], symbols[value]));
        }
        let series = hash(name.as_bytes());
        let (mut maxt, mut reference) = (0_i64, 0_u64);
        for number in 0..bytes.uvarint() {
            let mint = if number == 0 { bytes.varint() } else { maxt.wrapping_add(bytes.uvarint() as i64) };
            maxt = mint + bytes.uvarint() as i64;
            reference = if number == 0 { bytes.uvarint() } else { reference.wrapping_add(bytes.varint() as u64) };
            let segment = &files[&format!("chunks/{:06}", (reference >> 32) + 1)];
            chunk(&segment[(reference & 0xffff_ffff) as usize..], |t, value| samples.push((series, t, value)));
        }
        assert_eq!(bytes.0.len(), entry, "an entry ends where it says");
        at = (index.len() - entry + 4).next_multiple_of(16);
    }
    samples
}

fn symbols(section: &[u8]) -> Vec<String> {
    let mut bytes = Bytes(&section[8..]);
    let count = u32::from_be_bytes(section[4..8].try_into().unwrap());
    (0..count)
        .map(|_| {
            let length = bytes.uvarint() as usize;
            String::from_utf8(bytes.take(length).to_vec()).unwrap()
        })
        .collect()
}

/// FNV-1a (Fowler, Noll and Vo), 64 bits.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn uvarint(&mut self) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.take(1)[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
            shift += 7;
        }
    }

    fn varint(&mut self) -> i64 {
        let zigzag = self.uvarint();
        (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> bool {
        let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
        self.at += 1;
        bit == 1
    }

    fn number(&mut self, bits: u32) -> u64 {
        (0..bits).fold(0, |number, _| number << 1 | u64::from(self.bit()))
    }
}

/// Decodes the XOR chunk whose length stands at the start of `bytes`.
fn chunk(bytes: &[u8], mut sample: impl FnMut(i64, u64)) {
    let mut bytes = Bytes(bytes);
    let length = bytes.uvarint() as usize;
    assert_eq!(bytes.take(1)[0], 1, "only XOR chunks are read here");
    let mut bytes = Bytes(bytes.take(length));
    let count = u16::from_be_bytes(bytes.take(2).try_into().unwrap());
    if count == 0 {
        return;
    }
    let mut t = bytes.varint();
    let mut value = u64::from_be_bytes(bytes.take(8).try_into().unwrap());
    sample(t, value);
    if count == 1 {
        return;
    }
    let mut delta = bytes.uvarint() as i64;
    let mut bits = Bits { bytes: bytes.0, at: 0 };
    let (mut leading, mut trailing) = (0, 0);
    for number in 1..count {
        if number > 1 {
            let ones = (0..4).take_while(|_| bits.bit()).count();
            let width = [0, 14, 17, 20, 64][ones];
            let raw = bits.number(width);
            let half = 1_u64.checked_shl(width.wrapping_sub(1)).unwrap_or(0);
            let signed = if width > 0 && width < 64 && raw > half { raw as i64 - (1 << width) } else { raw as i64 };
            delta += signed;
        }
        t += delta;
        if bits.bit() {
            if bits.bit() {
                leading = bits.number(5) as u32;
                let significant = match bits.number(6) as u32 {
                    0 => 64,
                    some => some,
                };
                trailing = 64 - leading - significant;
            }
            value ^= bits.number(64 - leading - trailing) << trailing;
        }
        sample(t, value);
    }
}
