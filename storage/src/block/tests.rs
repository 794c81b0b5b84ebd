use std::path::{Path, PathBuf};
use std::process::Command;

use super::meta::ThanosMeta;
use super::*;
use crate::chunk::encode_series;
use crate::error::{Error, Result};
use crate::index::ChunkMeta;
use crate::model::{BlockId, Labels, SampleBuffer, TimeInterval, TimeRange};
use crate::side_index::cache::build_into_memory;
use crate::store::BlockFiles;

fn id() -> BlockId {
    "01M84VG4WNAAGZGYWK1018NZ2W".parse().unwrap()
}

fn meta() -> BlockMeta {
    let mut meta = BlockMeta::new(id(), TimeRange { mint: 0, maxt: 7_200_000 });
    let labels = [("cluster".to_owned(), "eu".to_owned())].into();
    meta.thanos = Some(ThanosMeta { version: 1, labels, source: "test".to_owned(), ..ThanosMeta::default() });
    meta
}

/// Writes `n` series of 300 samples, as `settings` say.
fn write(parent: &Path, n: usize, settings: BlockWriterSettings) -> (PathBuf, BlockMeta) {
    let mut series: Vec<Labels> = (0..n)
        .map(|i| Labels::from_pairs([("__name__", "up"), ("host", &format!("h{i}")), ("zone", "\u{10ffff}")]))
        .collect();
    series.sort();
    let mut writer = BlockWriter::create(parent, meta(), settings).unwrap();
    for (i, labels) in series.iter().enumerate() {
        let mut samples = SampleBuffer::new();
        for t in 0..300 {
            samples.push_float(t * 15_000, (t as usize * i) as f64 * 0.1);
        }
        let chunks = encode_series(&samples, 120).unwrap();
        writer.push(labels, chunks.iter().map(ChunkPayload::from)).unwrap();
    }
    let meta = writer.finish().unwrap();
    (parent.join(id().to_string()), meta)
}

/// Segments of so many bytes, and a side-index.
fn segments_of(segment_len_max: u64) -> BlockWriterSettings {
    BlockWriterSettings { segment_len_max, ..BlockWriterSettings::default() }
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Fails where the side-index of the block in `dir` is not, to the byte, what is built from its `index`.
async fn check_side_index(dir: &Path) {
    let built = build_into_memory(&BlockFiles::local(id(), dir.to_owned())).await.unwrap();
    assert!(std::fs::read(dir.join("series.parquet")).unwrap() == built.contents, "series.parquet differs");
    assert!(std::fs::read(dir.join("series.crc")).unwrap() == built.checksums, "series.crc differs");
}

/// Counts of what a block holds, every chunk read.
fn count(block: &LocalBlock) -> Result<meta::BlockStats> {
    let mut stats = meta::BlockStats { num_tombstones: block.tombstones().interval_count(), ..Default::default() };
    let mut cursor = block.index().all_series();
    while let Some(entry) = cursor.next()? {
        stats.num_series += 1;
        for chunk in entry.chunks {
            let stored = block.chunk(chunk.chunk)?;
            let samples = crate::chunk::sample_count(stored.encoding, &stored.data).unwrap() as u64;
            stats.num_chunks += 1;
            stats.num_samples += samples;
            match stored.encoding {
                1 | 4 => stats.num_float_samples += samples,
                0xff => {}
                _ => stats.num_histogram_samples += samples,
            }
        }
    }
    Ok(stats)
}

#[tokio::test]
async fn what_was_written_is_opened() {
    for (n, segment_len) in [(0, segments::SEGMENT_LEN_MAX), (20, segments::SEGMENT_LEN_MAX), (50, 4000)] {
        let parent = tempfile::tempdir().unwrap();
        let (dir, meta) = write(parent.path(), n, segments_of(segment_len));
        let block = LocalBlock::open(&dir).unwrap();
        assert_eq!(block.meta(), &meta);
        assert_eq!(count(&block).unwrap(), meta.stats);
        assert_eq!(meta.stats.num_samples, 300 * n as u64);
        let files = &meta.thanos.as_ref().unwrap().files;
        for file in files {
            let size = std::fs::metadata(dir.join(&file.rel_path)).unwrap().len();
            assert_eq!(file.size_bytes, if file.rel_path == "meta.json" { 0 } else { size }, "{}", file.rel_path);
        }
        let listed: Vec<_> = files.iter().map(|file| &*file.rel_path).filter(|path| !path.contains('/')).collect();
        assert_eq!(listed, ["index", "meta.json", "series.crc", "series.parquet"]);
        assert_eq!(names_in(parent.path()), [id().to_string()]);
        assert_eq!(names_in(&dir), ["chunks", "index", "meta.json", "series.crc", "series.parquet"]);
        check_side_index(&dir).await;
    }
}

#[test]
fn a_side_index_is_left_out_where_it_is_not_wanted() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, meta) = write(parent.path(), 3, BlockWriterSettings { side_index: false, ..Default::default() });
    assert_eq!(names_in(&dir), ["chunks", "index", "meta.json"]);
    let files = meta.thanos.unwrap().files;
    assert_eq!(files.iter().map(|f| &*f.rel_path).collect::<Vec<_>>(), ["chunks/000001", "index", "meta.json"]);
}

#[test]
fn an_abandoned_block_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let mut writer = BlockWriter::create(parent.path(), meta(), BlockWriterSettings::default()).unwrap();
    let (a, b) = (Labels::from_pairs([("a", "1")]), Labels::from_pairs([("a", "2")]));
    writer.push(&b, []).unwrap();
    assert!(matches!(writer.push(&a, []), Err(Error::Internal(_))));
    drop(writer);
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    // a folder of an attempt that died is in nobody's way
    std::fs::create_dir_all(parent.path().join(format!("{}.tmp-for-creation/chunks", id()))).unwrap();
    let writer = BlockWriter::create(parent.path(), meta(), BlockWriterSettings::default()).unwrap();
    writer.finish().unwrap();
    assert!(
        BlockWriter::create(parent.path(), meta(), BlockWriterSettings::default()).is_err(),
        "the block is there already"
    );
}

#[test]
fn a_missing_file_is_named() {
    for file in ["meta.json", "index", "chunks/000001"] {
        let parent = tempfile::tempdir().unwrap();
        let (dir, _) = write(parent.path(), 3, BlockWriterSettings::default());
        std::fs::remove_file(dir.join(file)).unwrap();
        match LocalBlock::open(&dir) {
            Err(Error::NotFound { place, file: missing }) => assert_eq!((place, &*missing), (id().to_string(), file)),
            other => panic!("{file}: {other:?}"),
        }
    }
}

/// Without a `thanos` section nobody says how many segments there should be, until a chunk is read.
#[test]
fn a_missing_segment_is_noticed_when_it_is_read() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, mut meta) = write(parent.path(), 50, segments_of(4000));
    meta.thanos = None;
    std::fs::write(dir.join("meta.json"), meta.to_json().unwrap()).unwrap();
    std::fs::remove_file(dir.join("chunks/000002")).unwrap();
    let error = count(&LocalBlock::open(&dir).unwrap()).unwrap_err();
    assert!(matches!(&error, Error::NotFound { file, .. } if file == "chunks/000002"), "{error}");
}

#[test]
fn golden_blocks_hold_what_their_meta_counts() {
    let Ok(shared) = std::env::var("QUIVER_SHARED") else {
        eprintln!("skipped: QUIVER_SHARED is not set");
        return;
    };
    let mut seen = 0;
    for folder in ["bucket", "prometheus", "data-dir", "compacted/plain", "compacted/penalty", "compacted/one-to-one"] {
        for dir in std::fs::read_dir(Path::new(&shared).join("golden").join(folder)).unwrap() {
            let dir = dir.unwrap().path();
            if !dir.join("meta.json").exists() {
                continue;
            }
            let block = LocalBlock::open(&dir).unwrap();
            let counted = count(&block).unwrap();
            let mut expected = block.meta().stats;
            if block.meta().resolution_ms() > 0 {
                // Thanos leaves these two as they were before downsampling
                (expected.num_float_samples, expected.num_histogram_samples) = (0, 0);
            }
            assert_eq!(counted, expected, "{}", dir.display());
            seen += 1;
        }
    }
    assert!(seen > 60, "only {seen} golden blocks were found");
}

/// Copies a golden block through the writer: index and segments stay the same bytes but for symbols without a use.
#[tokio::test]
async fn a_golden_block_is_copied_chunk_for_chunk() {
    let Ok(shared) = std::env::var("QUIVER_SHARED") else {
        eprintln!("skipped: QUIVER_SHARED is not set");
        return;
    };
    let dir = Path::new(&shared).join("golden/bucket").join(id().to_string());
    let block = LocalBlock::open(&dir).unwrap();
    let parent = tempfile::tempdir().unwrap();
    let mut writer = BlockWriter::create(parent.path(), block.meta().clone(), BlockWriterSettings::default()).unwrap();
    let mut cursor = block.index().all_series();
    while let Some(entry) = cursor.next().unwrap() {
        let stored: Vec<_> = entry.chunks.iter().map(|c| (c, block.chunk(c.chunk).unwrap())).collect();
        let payloads = stored.iter().map(|(meta, chunk)| {
            let ChunkMeta { mint, maxt, .. } = **meta;
            ChunkPayload { mint, maxt, encoding: chunk.encoding, data: &chunk.data }
        });
        writer.push(&Labels::from_pairs(entry.labels.iter().copied()), payloads).unwrap();
    }
    let written = writer.finish().unwrap();
    assert_eq!(written.stats, block.meta().stats);
    let copy = LocalBlock::open(&parent.path().join(id().to_string())).unwrap();
    assert!(copy.segment(0) == block.segment(0), "segments differ");
    let series = |block: &LocalBlock| {
        let mut cursor = block.index().all_series();
        let mut all = Vec::new();
        while let Some(entry) = cursor.next().unwrap() {
            all.push((Labels::from_pairs(entry.labels.iter().copied()), entry.chunks.to_vec()));
        }
        all
    };
    assert_eq!(series(&copy), series(&block));
    check_side_index(copy.dir()).await;
}

#[test]
fn promtool_reads_what_was_written() {
    let parent = tempfile::tempdir().unwrap();
    let (_, meta) = write(parent.path(), 20, BlockWriterSettings::default());
    // promtool opens a data directory, which has a WAL
    std::fs::create_dir(parent.path().join("wal")).unwrap();
    let promtool = |arguments: &[&str]| Command::new("promtool").args(arguments).arg(parent.path()).output();
    let dump = match promtool(&["tsdb", "dump"]) {
        Ok(dump) => dump,
        Err(e) => {
            eprintln!("skipped: promtool does not run: {e}");
            return;
        }
    };
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let lines = dump.stdout.split(|&b| b == b'\n').filter(|line| !line.is_empty()).count();
    assert_eq!(lines as u64, meta.stats.num_samples);
    let analyze = promtool(&["tsdb", "analyze"]).unwrap();
    let text = String::from_utf8_lossy(&analyze.stdout).into_owned();
    assert!(analyze.status.success() && text.contains("Series: 20"), "{text}");
}

#[test]
fn tombstones_beside_a_block_are_read() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, _) = write(parent.path(), 3, BlockWriterSettings::default());
    let series = LocalBlock::open(&dir).unwrap().index().postings("", "").unwrap()[1];
    let mut tombstones = tombstones::Tombstones::default();
    tombstones.add(series, TimeInterval::new(0, 99));
    std::fs::write(dir.join("tombstones"), tombstones.encode()).unwrap();
    assert_eq!(LocalBlock::open(&dir).unwrap().tombstones(), &tombstones);
    std::fs::write(dir.join("tombstones"), [0; 30]).unwrap();
    assert!(matches!(LocalBlock::open(&dir), Err(Error::Corrupt { .. })));
}
