use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::error::Error;

/// A series with everything that the index holds of it.
type Owned = (Vec<(String, String)>, Vec<ChunkMeta>);

fn write(symbols: Symbols, series: &[Owned]) -> Vec<u8> {
    let mut writer = IndexWriter::try_new(Vec::new(), Path::new("index"), symbols).unwrap();
    for (labels, chunks) in series {
        let number = |text: &str| writer.symbols().number(text).unwrap();
        let labels: Vec<_> = labels.iter().map(|(n, v)| (number(n), number(v))).collect();
        writer.add_series(&labels, chunks).unwrap();
    }
    let (bytes, toc, size) = writer.finish().unwrap();
    assert_eq!(size, bytes.len() as u64);
    assert_eq!(Toc::try_parse(&bytes[bytes.len() - TOC_LEN..], size, "b").unwrap(), toc);
    bytes
}

fn symbols_of(series: &[Owned]) -> Symbols {
    let mut symbols: Vec<&str> =
        series.iter().flat_map(|(labels, _)| labels).flat_map(|(n, v)| [n.as_str(), v.as_str()]).collect();
    symbols.sort_unstable();
    symbols.dedup();
    Symbols::try_from_sorted(symbols).unwrap()
}

/// Everything that an index says, by every way that it can be asked.
fn read(bytes: &[u8]) -> Result<Vec<Owned>, Error> {
    let reader = IndexReader::try_open(Bytes::copy_from_slice(bytes), "block")?;
    let mut series = Vec::new();
    let mut refs = Vec::new();
    let mut cursor = reader.all_series();
    while let Some(entry) = cursor.next()? {
        refs.push(entry.series);
        let labels = entry.labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        series.push((labels, entry.chunks.to_vec()));
    }
    for (i, &found) in refs.iter().enumerate() {
        assert_eq!(cursor.get(found)?.chunks, series[i].1);
    }
    assert_eq!(reader.postings("", "")?, refs);
    let names: Vec<&str> = reader.label_names().collect();
    for name in names {
        for value in reader.label_values(name)? {
            let has = |(labels, _): &Owned| labels.iter().any(|(n, v)| n == name && v == value);
            let expected: Vec<_> = (0..refs.len()).filter(|&i| has(&series[i])).map(|i| refs[i]).collect();
            assert_eq!(reader.postings(name, value)?, expected, "{name}={value}");
        }
    }
    Ok(series)
}

fn sample(n: usize) -> Vec<Owned> {
    let mut chunk = 8;
    let mut series: Vec<Owned> = (0..n)
        .map(|i| {
            let labels = vec![
                ("__name__".to_owned(), format!("metric_{}", i % 3)),
                ("instance".to_owned(), format!("host-{i:03}")),
                ("zone".to_owned(), "\u{10ffff}ä".to_owned()),
            ];
            (labels, Vec::new())
        })
        .collect();
    series.sort_by(|a, b| a.0.cmp(&b.0));
    for (i, (_, chunks)) in series.iter_mut().enumerate() {
        for k in 0..(i % 4) as i64 {
            chunks.push(ChunkMeta { mint: k * 1000 - 500, maxt: k * 1000 + 7, chunk: ChunkRef(chunk) });
            chunk += 40 + i as u64;
        }
    }
    series
}

#[test]
fn what_was_written_is_read() {
    for n in [0, 1, 2, 20, 500] {
        let series = sample(n);
        assert_eq!(read(&write(symbols_of(&series), &series)).unwrap(), series);
    }
}

#[test]
fn absent_names_and_values_are_empty() {
    let series = sample(100);
    let bytes = write(symbols_of(&series), &series);
    let reader = IndexReader::try_open(Bytes::from(bytes), "block").unwrap();
    assert_eq!(reader.label_values("nope").unwrap(), Vec::<&str>::new());
    for value in ["", "host-", "host-0505", "zzz"] {
        assert_eq!(reader.postings("instance", value).unwrap(), []);
    }
    assert_eq!(reader.label_names().collect::<Vec<_>>(), ["__name__", "instance", "zone"]);
    assert_eq!(reader.label_values("__name__").unwrap(), ["metric_0", "metric_1", "metric_2"]);
}

#[test]
fn every_flipped_byte_is_noticed_or_harmless() {
    let series = sample(20);
    let bytes = write(symbols_of(&series), &series);
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            match read(&damaged) {
                Ok(same) => assert_eq!(same, series, "byte {at}"),
                Err(Error::Corrupt { file, .. }) => assert_eq!(file, "index"),
                Err(other) => panic!("byte {at}: {other}"),
            }
        }
    }
}

#[test]
fn every_truncation_is_noticed() {
    let series = sample(20);
    let bytes = write(symbols_of(&series), &series);
    for len in 0..bytes.len() {
        let error = read(&bytes[..len]).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{len}: {error}");
    }
}

/// Asks everything of an index whose bytes lie. It may decode to something else, but it may not panic, hang or ask
/// for memory without end.
fn ask_everything(bytes: Vec<u8>) {
    let Ok(reader) = IndexReader::try_open(Bytes::from(bytes), "b") else { return };
    let mut cursor = reader.all_series();
    while let Ok(Some(_)) = cursor.next() {}
    for series in 0..200 {
        let _ = cursor.get(SeriesRef(series));
    }
    for name in reader.label_names() {
        for value in reader.label_values(name).unwrap() {
            let _ = reader.postings(name, value);
        }
    }
}

/// Damage whose checksums are right, as only an attacker or a broken writer makes it.
#[test]
fn hostile_bytes_with_good_checksums_do_no_harm() {
    let series = sample(20);
    let bytes = write(symbols_of(&series), &series);
    let toc = Toc::try_parse(&bytes, bytes.len() as u64, "b").unwrap();
    let mut covered = Vec::new();
    covered.push(bytes.len() - TOC_LEN..bytes.len() - 4);
    for start in [toc.symbols, toc.postings_table, toc.postings] {
        let start = usize::try_from(start).unwrap().next_multiple_of(if start == toc.postings { 4 } else { 1 });
        let len = u32::from_be_bytes(bytes[start..start + 4].try_into().unwrap()) as usize;
        covered.push(start + 4..start + 4 + len);
    }
    let reader = IndexReader::try_open(Bytes::from(bytes.clone()), "b").unwrap();
    for series in reader.postings("", "").unwrap() {
        let start = usize::try_from(series.offset()).unwrap() + 1;
        covered.push(start..start + usize::from(bytes[start - 1]));
    }
    for body in covered {
        for at in body.clone() {
            for flip in [0x01, 0x7f, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let crc = checksum(&damaged[body.clone()]);
                damaged[body.end..body.end + 4].copy_from_slice(&crc.to_be_bytes());
                ask_everything(damaged);
            }
        }
    }
}

#[test]
fn unsorted_series_and_symbols_are_corrupt() {
    let series = sample(3);
    let bytes = write(symbols_of(&series), &series);
    let reader = IndexReader::try_open(Bytes::from(bytes.clone()), "b").unwrap();
    let refs = reader.postings("", "").unwrap();
    // the first series once more in place of the second: an entry is valid wherever it stands
    let (first, second) = (refs[0].offset() as usize, refs[1].offset() as usize);
    let mut twice = bytes.clone();
    twice.copy_within(first..first + 16, second);
    let reader = IndexReader::try_open(Bytes::from(twice), "b").unwrap();
    let mut cursor = reader.all_series();
    assert!(cursor.next().unwrap().is_some());
    assert!(matches!(cursor.next(), Err(Error::Corrupt { offset, .. }) if offset == second as u64));
    assert!(matches!(cursor.next(), Ok(None)), "there is nothing after an error");

    let mut swapped = bytes;
    // len, count, then "__name__" with its length: a symbol that sorts after the next one
    swapped[5 + 8 + 1] = b'z';
    let len = u32::from_be_bytes(swapped[5..9].try_into().unwrap()) as usize;
    let crc = checksum(&swapped[9..9 + len]);
    swapped[9 + len..13 + len].copy_from_slice(&crc.to_be_bytes());
    assert!(matches!(IndexReader::try_open(Bytes::from(swapped), "b"), Err(Error::Corrupt { .. })));
}

#[test]
fn unsorted_input_is_refused() {
    assert!(matches!(Symbols::try_from_sorted(["b", "a"]), Err(Error::Internal(_))));
    let symbols = || Symbols::try_from_sorted(["a", "b", "c"]).unwrap();
    let writer = || IndexWriter::try_new(Vec::new(), Path::new("index"), symbols()).unwrap();
    let chunk = |mint, maxt, at| ChunkMeta { mint, maxt, chunk: ChunkRef(at) };
    let mut ordered = writer();
    ordered.add_series(&[(0, 1)], &[chunk(0, 9, 8)]).unwrap();
    assert!(ordered.add_series(&[(0, 1)], &[]).is_err(), "the same series again");
    assert!(ordered.add_series(&[(0, 2)], &[chunk(0, 9, 7)]).is_err(), "chunk references descend");
    assert!(writer().add_series(&[(1, 1), (0, 1)], &[]).is_err(), "labels descend");
    assert!(writer().add_series(&[(1, 3)], &[]).is_err(), "no such symbol");
    assert!(writer().add_series(&[(0, 1)], &[chunk(0, 9, 8), chunk(9, 10, 9)]).is_err(), "chunks overlap");
    assert!(writer().add_series(&[(0, 1)], &[chunk(0, -1, 8)]).is_err(), "chunk ends before it starts");
}

fn any_series() -> impl Strategy<Value = Vec<Owned>> {
    let labels = prop::collection::btree_map("[a-z_]{1,3}", "[a-zäöü\u{0}\u{1}\u{10ffff}]{1,6}", 1..5);
    let chunks = prop::collection::vec((0..1_000_000u32, 0..1_000_000u32), 0..4);
    prop::collection::btree_map(labels, chunks, 0..40).prop_map(|series| {
        let mut series: Vec<Owned> = series
            .into_iter()
            .map(|(labels, gaps)| {
                let mut last = -500_000;
                let place = |(gap, span): (u32, u32)| {
                    let mint = last + 1 + i64::from(gap);
                    last = mint + i64::from(span);
                    ChunkMeta { mint, maxt: last, chunk: ChunkRef(0) }
                };
                (labels.into_iter().collect(), gaps.into_iter().map(place).collect())
            })
            .collect();
        series.sort_by(|a, b| a.0.cmp(&b.0));
        let mut at = 8;
        for chunk in series.iter_mut().flat_map(|(_, chunks)| chunks) {
            chunk.chunk = ChunkRef(at);
            at += 70_000_000;
        }
        series
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_index_reads_back(series in any_series()) {
        let bytes = write(symbols_of(&series), &series);
        prop_assert_eq!(read(&bytes).unwrap(), series);
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let header = [0xba, 0xaa, 0xd7, 0x00, 2];
        for (to, from) in bytes.iter_mut().zip(header) { *to = from; }
        let _ = read(&bytes);
    }
}

/// What Prometheus and Thanos wrote, decoded and written again, is the same bytes.
#[test]
fn golden_indexes_are_rewritten_to_the_byte() {
    let Ok(shared) = std::env::var("QUIVER_SHARED") else {
        eprintln!("skipped: QUIVER_SHARED is not set");
        return;
    };
    let mut seen = 0;
    for folder in ["bucket", "prometheus", "compacted/plain", "compacted/penalty", "compacted/one-to-one"] {
        for block in std::fs::read_dir(Path::new(&shared).join("golden").join(folder)).unwrap() {
            let path = block.unwrap().path().join("index");
            let Ok(golden) = std::fs::read(&path) else { continue };
            let reader = IndexReader::try_open(Bytes::from(golden.clone()), "golden").unwrap();
            let mut writer = IndexWriter::try_new(Vec::new(), &path, reader.symbols().clone()).unwrap();
            let mut cursor = reader.all_series();
            while let Some(entry) = cursor.next().unwrap() {
                let number = |text: &str| reader.symbols().number(text).unwrap();
                let labels: Vec<_> = entry.labels.iter().map(|(n, v)| (number(n), number(v))).collect();
                assert_eq!(writer.add_series(&labels, entry.chunks).unwrap(), entry.series);
            }
            let (written, _, _) = writer.finish().unwrap();
            assert!(written == golden, "{} differs", path.display());
            assert_eq!(read(&golden).unwrap().len(), reader.postings("", "").unwrap().len());
            seen += 1;
        }
    }
    assert!(seen > 60, "only {seen} golden blocks were found");
}
