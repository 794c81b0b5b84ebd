//! Replay of what a real Prometheus left.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::read::{Samples, read_all, union};
use super::*;
use crate::model::Timestamp;
use crate::side_index::{SideIndexCache, SideIndexSettings};
use crate::store::LocalDirStore;
use crate::wal::RealDisk;

pub(crate) fn golden(name: &str) -> Option<PathBuf> {
    let Some(shared) = std::env::var_os("QUIVER_SHARED") else {
        eprintln!("skipped: QUIVER_SHARED is not set");
        return None;
    };
    Some(Path::new(&shared).join("golden").join(name))
}

/// A copy of a folder that may be written.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::write(target, std::fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// The lines of a dump: labels, value, time.
pub(crate) fn dump(text: &str) -> Samples {
    let mut samples: BTreeMap<String, BTreeMap<Timestamp, String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (rest, t) = line.rsplit_once(' ').unwrap();
        let (labels, value) = match rest.find("} {count:") {
            Some(at) => (&rest[..=at], rest[at + 2..].to_owned()),
            None => {
                let (labels, value) = rest.rsplit_once(' ').unwrap();
                (labels, number(value.parse().unwrap()))
            }
        };
        samples.entry(labels.to_owned()).or_default().insert(t.parse().unwrap(), value);
    }
    samples
}

/// A dump does not tell one NaN from another.
fn number(value: f64) -> String {
    if value.is_nan() { "NaN".to_owned() } else { format!("{:016x}", value.to_bits()) }
}

pub(crate) fn like_dump(mut samples: Samples) -> Samples {
    for value in samples.values_mut().flat_map(BTreeMap::values_mut) {
        if let Ok(bits) = u64::from_str_radix(value, 16)
            && value.len() == 16
        {
            *value = number(f64::from_bits(bits));
        }
    }
    samples
}

pub(crate) fn compare(found: &Samples, expected: &Samples) {
    for (series, samples) in expected {
        let found = found.get(series).unwrap_or_else(|| panic!("{series} is missing"));
        let differ = samples.iter().filter(|(t, value)| found.get(t) != Some(value)).take(3).collect::<Vec<_>>();
        assert!(
            differ.is_empty(),
            "{series}: expected {differ:?}, found {:?}",
            differ.iter().map(|(t, _)| found.get(t))
        );
        assert_eq!(found.len(), samples.len(), "{series} has more than it should");
    }
    assert_eq!(found.len(), expected.len(), "series that should not be there");
}

pub(crate) fn count(samples: &Samples) -> usize {
    samples.values().map(BTreeMap::len).sum()
}

#[tokio::test]
async fn the_log_of_a_killed_prometheus() {
    let Some(golden_wal) = golden("wal") else { return };
    let folder = tempfile::tempdir().unwrap();
    copy(&golden_wal, folder.path());
    let expected = dump(&std::fs::read_to_string(golden("wal.dump.txt").unwrap()).unwrap());
    let head = bare(&[]);
    let sources = ReplaySources {
        snapshot: None,
        wal: folder.path(),
        chunks_head: None,
        wbl: None,
        tenant: "",
        blocks_end: &|_| None,
        adopted: &[],
    };
    let replay = head.replay(sources, &RealDisk).unwrap();
    assert_eq!((replay.unknown_series, replay.invalid, replay.adopted_through), (0, 0, None), "{replay:?}");
    let found = like_dump(read_all(&head).await);
    compare(&found, &expected);
    assert_eq!(replay.samples as usize, count(&expected));
    // once more: nothing is there twice
    let again = head.replay(sources, &RealDisk).unwrap();
    assert_eq!((again.samples, again.repeated), (0, replay.samples));
    assert_eq!(like_dump(read_all(&head).await), found);
}

#[tokio::test]
async fn the_data_directory_of_a_prometheus() {
    let Some(data) = golden("data-dir") else { return };
    let folder = tempfile::tempdir().unwrap();
    copy(&data, folder.path());
    let mut text = String::new();
    let file = std::fs::File::open(golden("data-dir.dump.txt.gz").unwrap()).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let expected = dump(&text);
    assert_eq!(count(&expected), 47_160);
    let cache = SideIndexCache::new(SideIndexSettings::default());
    let blocks = LocalDirStore::open(folder.path(), cache).await.unwrap();
    let end = blocks.info().interval.maxt + 1;
    let head =
        Head::new(HeadSettings { max_exemplars: 1_000, ..bare(&[]).settings().clone() }, Arc::new(ManualClock::new(0)));
    let (wal, wbl, chunks) = (folder.path().join("wal"), folder.path().join("wbl"), folder.path().join("chunks_head"));
    let sources = ReplaySources {
        snapshot: None,
        wal: &wal,
        chunks_head: Some(&chunks),
        wbl: Some(&wbl),
        tenant: "",
        blocks_end: &|tenant| tenant.is_empty().then_some(end),
        adopted: &[],
    };
    let replay = head.replay(sources, &RealDisk).unwrap();
    assert_eq!((replay.invalid, replay.head_chunks), (0, 0), "{replay:?}");
    assert!(replay.adopted_through.is_some());
    let found = union(like_dump(read_all(&blocks).await), like_dump(read_all(&head).await));
    compare(&found, &expected);
    assert!(head.stats().exemplars > 0);
    assert!(!head.metadata(&crate::model::TenantScope::All, None).unwrap().is_empty());
}
