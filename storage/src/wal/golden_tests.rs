//! Logs that a real Prometheus 3.14 left.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::faults::PowerCutDisk;
use super::record::{self, Record};
use super::tests::{replayed, wal_dir};
use super::{Disk, Replay};
use crate::model::Labels;

/// The log in a folder of golden data, on a disk that can be written, unless the data is not there.
fn golden_log(folder: &str) -> Option<PowerCutDisk> {
    let Ok(shared) = std::env::var("QUIVER_SHARED") else {
        eprintln!("skipped: QUIVER_SHARED is not set");
        return None;
    };
    let disk = PowerCutDisk::new();
    copy(&PathBuf::from(shared).join("golden").join(folder), &wal_dir(), &disk);
    Some(disk)
}

fn copy(from: &Path, to: &Path, disk: &PowerCutDisk) {
    disk.create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target, disk),
            false => disk.put(&target, fs::read(entry.path()).unwrap()),
        }
    }
}

/// Every record decodes; those that do not begin with another sample than their first entry are encoded again.
/// Returns how many records there are of each type.
fn check(disk: &PowerCutDisk) -> (BTreeMap<u8, usize>, Replay) {
    let (records, report) = replayed(disk);
    assert_eq!(report.damage, []);
    let mut kinds = BTreeMap::new();
    for record in &records {
        assert!(record::is_whole(record), "{record:?}");
        assert!(record::tests::encode_again(record) == *record, "{record:?}");
        *kinds.entry(record[0]).or_default() += 1;
    }
    (kinds, report)
}

/// The number of a float sample, or the text of a histogram, under its series and time.
type Dump = BTreeMap<(String, i64), Value>;

#[derive(Debug, PartialEq)]
enum Value {
    Float(u64),
    Histogram(String),
}

/// A float to compare: of a NaN, the dump says no more than that it is one.
fn float(value: f64) -> Value {
    Value::Float(if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() })
}

fn read_dump(text: &str) -> Dump {
    let sample = |line: &str| {
        let (rest, t) = line.rsplit_once(' ').unwrap();
        let (labels, value) = match rest.rfind("} {") {
            Some(at) => (&rest[..=at], Value::Histogram(rest[at + 2..].to_owned())),
            None => {
                let (labels, value) = rest.rsplit_once(' ').unwrap();
                (labels, float(value.parse().unwrap()))
            }
        };
        ((labels.to_owned(), t.parse().unwrap()), value)
    };
    text.lines().map(sample).collect()
}

/// All samples of a log.
fn dump(records: &[Vec<u8>]) -> Dump {
    let mut series = BTreeMap::new();
    let mut dump = Dump::new();
    for record in records {
        match record::decode(record).unwrap() {
            Record::Series(entries) => {
                series
                    .extend(entries.map(|e| e.map(|e| (e.series, Labels::from_pairs(e.labels).to_string())).unwrap()));
            }
            Record::Samples(entries) => dump.extend(entries.map(|e| {
                let e = e.unwrap();
                ((series[&e.series].clone(), e.t), float(e.value))
            })),
            Record::Histograms(entries) => dump.extend(entries.map(|e| {
                let e = e.unwrap();
                ((series[&e.series].clone(), e.t), Value::Histogram(e.histogram.to_float().to_string()))
            })),
            Record::FloatHistograms(entries) => dump.extend(entries.map(|e| {
                let e = e.unwrap();
                ((series[&e.series].clone(), e.t), Value::Histogram(e.histogram.to_string()))
            })),
            _ => {}
        }
    }
    dump
}

#[test]
fn the_log_of_a_killed_prometheus() {
    let Some(disk) = golden_log("wal") else { return };
    let (kinds, report) = check(&disk);
    assert_eq!(kinds.keys().copied().collect::<Vec<_>>(), [1, 2, 7]);
    assert_eq!((report.next_segment, report.checkpoint), (1, None));
    let shared = std::env::var("QUIVER_SHARED").unwrap();
    let expected = read_dump(&fs::read_to_string(Path::new(&shared).join("golden/wal.dump.txt")).unwrap());
    let found = dump(&replayed(&disk).0);
    assert_eq!((expected.len(), found.len()), (2333, 2333));
    for (sample, value) in &expected {
        assert_eq!(found.get(sample), Some(value), "{sample:?}");
    }
}

#[test]
fn a_data_directory_with_records_of_every_type() {
    let Some(disk) = golden_log("data-dir/wal") else { return };
    let (kinds, report) = check(&disk);
    assert_eq!(kinds.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4, 6, 7, 8, 9]);
    assert_eq!((report.next_segment, report.checkpoint), (6, Some(2)));
    let Some(disk) = golden_log("data-dir/wbl") else { return };
    let (kinds, report) = check(&disk);
    assert_eq!(kinds, BTreeMap::from([(2, 2), (5, 2)]));
    assert_eq!(report.next_segment, 2);
}
