//! Damage of every kind to a log of 64 KiB: no panic, every record whose bytes are whole is kept, nothing is handed out that was
//! not written, and the second start is like the first.

use std::ops::Range;
use std::path::PathBuf;

use super::super::compress::Compression;
use super::super::disk::Disk;
use super::super::faults::PowerCutDisk;
use super::super::frame::{Framer, HEADER, PAGE};
use super::super::record;
use super::super::tests::{replayed, wal_dir};
use crate::wal::Replay;

/// Every length and every bit are tried where this variable is set, which takes a release build minutes; a part of them else.
fn takes_all() -> bool {
    std::env::var_os("QUIVER_WAL_TORTURE").is_some()
}

/// A segment of two pages, and the bytes that each of its records lies in.
struct Segment {
    bytes: Vec<u8>,
    records: Vec<(Vec<u8>, Range<usize>)>,
}

/// Records as a head writes them: of every type, small ones and one that lies in both pages.
fn segment(compression: Compression) -> Segment {
    let mut records: Vec<Vec<u8>> = Vec::new();
    let samples = |first: u64, count: u64| {
        let mut record = Vec::new();
        let mut encoder = record::SamplesEncoder::new(&mut record);
        for i in 0..count {
            let value = ((first + i) as f64 * 0.37).sin();
            encoder.push(record::SampleEntry {
                series: first + i * 3,
                t: 1_700_000_000_000 + i as i64,
                start: 0,
                value,
            });
        }
        record
    };
    for round in 0..6 {
        records.extend(record::tests::one_of_each());
        records.push(samples(round, 5));
        records.push(samples(round, 200 + round * 17));
    }
    records.push(samples(10, 1_500));
    while records.iter().map(|r| r.len() + HEADER).sum::<usize>() < 2 * PAGE - 800 {
        records.push(samples(records.len() as u64, 60));
    }
    let mut framer = Framer::new(compression);
    let mut bytes = Vec::new();
    let records = records.into_iter().map(|record| {
        let start = bytes.len();
        assert!(framer.push(&record, u64::MAX, &mut bytes));
        (record, start..bytes.len())
    });
    let records = records.collect();
    framer.pad_page(&mut bytes);
    Segment { bytes, records }
}

fn first_segment() -> PathBuf {
    wal_dir().join("00000000")
}

/// A log of which `bytes` are the last segment, or one before the last.
fn log_of(bytes: Vec<u8>, is_last: bool) -> PowerCutDisk {
    let disk = PowerCutDisk::new();
    disk.create_dir_all(&wal_dir()).unwrap();
    disk.put(&first_segment(), bytes);
    if !is_last {
        disk.put(&wal_dir().join("00000001"), Vec::new());
    }
    disk
}

/// Replays a log with damage inside of `harm`, twice.
fn check(segment: &Segment, bytes: Vec<u8>, harm: Range<usize>, what: &str) -> Replay {
    let original = bytes.clone();
    let disk = log_of(bytes, true);
    let (read, report) = replayed(&disk);
    let mut expected = segment.records.iter();
    for record in &read {
        let known = record::decode(record).is_err() || expected.any(|(written, _)| written == record);
        assert!(known, "{what}: a record that was not written");
    }
    let mut read_again = read.iter();
    for (record, at) in &segment.records {
        let whole = at.end <= harm.start || at.start >= harm.end && at.end <= original.len();
        assert!(!whole || read_again.any(|read| read == record), "{what}: the record at {at:?} is lost");
    }
    let (second, second_report) = replayed(&disk.after_power_cut());
    assert!(second == read, "{what}: the second start differs");
    assert_eq!((&second_report.damage[..], &second_report.torn_tail), (&[][..], &None), "{what}");
    match report.damage.first().map(|damage| damage.quarantined.clone()) {
        Some(original_at) => assert!(disk.get(&original_at.unwrap()).as_ref() == Some(&original), "{what}"),
        None => assert_eq!(disk.list(&wal_dir()).unwrap(), ["00000000"], "{what}"),
    }
    report
}

#[test]
fn every_truncation() {
    for compression in [Compression::None, Compression::Snappy] {
        let segment = segment(compression);
        let step = if takes_all() { 1 } else { 251 };
        for len in (0..segment.bytes.len()).step_by(step) {
            let report = check(&segment, segment.bytes[..len].to_vec(), len..usize::MAX, &format!("{len} bytes"));
            assert_eq!(report.damage, [], "a crash leaves a torn tail, no damage");
            let ends_between = segment.records.iter().all(|(_, at)| len <= at.start || at.end <= len);
            assert_eq!(report.torn_tail.is_none(), ends_between, "{len}");
        }
    }
}

#[test]
fn every_bit_flip() {
    for compression in [Compression::None, Compression::Snappy] {
        let segment = segment(compression);
        let bits = segment.bytes.len() * 8;
        let step: usize = if takes_all() { 1 } else { 1_999 };
        // headers are where flips are worst: always all of those of some records
        let headers =
            segment.records.iter().step_by(step.div_ceil(64)).flat_map(|(_, at)| at.start * 8..(at.start + HEADER) * 8);
        for bit in (0..bits).step_by(step).chain(headers.filter(|_| step > 1)) {
            let mut bytes = segment.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            check(&segment, bytes, bit / 8..bit / 8 + 1, &format!("{compression:?}: bit {bit}"));
        }
    }
}

#[test]
fn lost_and_foreign_blocks() {
    let segment = segment(Compression::None);
    for fill in [0_u8, 0xff, 0x01, 0x5a] {
        for (start, len) in [(0, 512), (4096, 4096), (PAGE - 512, 1024), (PAGE, 4096), (100, PAGE), (PAGE, PAGE)] {
            let mut bytes = segment.bytes.clone();
            bytes[start..start + len].fill(fill);
            check(&segment, bytes, start..start + len, &format!("{len} bytes of {fill} at {start}"));
        }
    }
    // a file of zeros is an empty log; a file of noise is damage and nothing else
    let report = check(&segment, vec![0; 5 * PAGE], 0..usize::MAX, "zeros");
    assert_eq!(report.damage, []);
    let noise = (0..100_000_u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8).collect();
    let report = check(&segment, noise, 0..usize::MAX, "noise");
    assert_eq!((report.records, report.damage.len()), (0, 1));
}

#[test]
fn damage_says_where_and_why() {
    let mut segment = segment(Compression::None);
    let at = segment.records[3].1.clone();
    segment.bytes[at.start + HEADER] ^= 1;
    let disk = log_of(segment.bytes.clone(), true);
    let (read, report) = replayed(&disk);
    assert_eq!(read.len(), segment.records.len() - 1);
    let [damage] = &report.damage[..] else { panic!("{report:?}") };
    assert_eq!((damage.offset, damage.bytes, damage.reason), (at.start as u64, at.len() as u64, "wrong checksum"));
    assert_eq!((&damage.file, &damage.quarantined), (&first_segment(), &Some(wal_dir().join("quarantine/00000000"))));
    // damaged again: the first original stays
    disk.put(&first_segment(), segment.bytes.clone());
    let again = replayed(&disk).1.damage;
    assert_eq!(again[0].quarantined, Some(wal_dir().join("quarantine/00000000.1")));
}

/// The checksum says that the last record is whole, however long it claims to be.
#[test]
fn a_wrong_length_at_the_end_is_no_torn_tail() {
    let mut segment = segment(Compression::None);
    let at = segment.records[20].1.clone();
    segment.bytes.truncate(at.end);
    segment.bytes[at.start + 1] ^= 0x10;
    let (read, report) = replayed(&log_of(segment.bytes, true));
    assert_eq!((read.len(), report.damage.len(), report.torn_tail), (20, 1, None));
}

/// Only the last segment may end in the middle of a record.
#[test]
fn a_torn_segment_before_the_last_is_damage() {
    let segment = segment(Compression::None);
    let len = segment.records[20].1.end - 1;
    let disk = log_of(segment.bytes[..len].to_vec(), false);
    let (read, report) = replayed(&disk);
    assert_eq!((read.len(), report.damage.len(), report.torn_tail), (20, 1, None));
    assert_eq!(replayed(&disk).1.damage, []);
}

/// A power cut between any two steps of a repair.
#[test]
fn an_interrupted_repair_is_finished() {
    let mut segment = segment(Compression::None);
    segment.bytes[40] ^= 1;
    let repaired = log_of(segment.bytes.clone(), true);
    let expected = replayed(&repaired).0;
    let whole = repaired.get(&first_segment()).unwrap();
    let beside = wal_dir().join("00000000.salvaged");

    let before = log_of(segment.bytes.clone(), true);
    before.put(&beside, whole[..1000].to_vec());
    let between = PowerCutDisk::new();
    between.create_dir_all(&wal_dir()).unwrap();
    between.put(&beside, whole);
    for disk in [before, between] {
        assert!(replayed(&disk).0 == expected);
        assert!(disk.get(&beside).is_none());
        assert_eq!(replayed(&disk.after_power_cut()).1.damage, []);
    }
}
