//! What clients are told when something is wrong with the data: what it is and where, and never another value in silence.

mod objects;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::EngineSettings;
use serde_json::{Value, json};
use storage::block::{BlockMeta, BlockWriter, BlockWriterSettings, ChunkPayload};
use storage::chunk::{EncodedChunk, encode_series};
use storage::model::{Labels, SampleBuffer, TimeRange, Timestamp};
use storage::store::BucketSettings;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::served::{Served, engine_settings};
use objects::{Fault, FaultyObjects};

/// The block of these tests, and one that a compactor made of it.
const BLOCK: &str = "01JGZZZZZZ0000000000000001";
const COMPACTED: &str = "01JGZZZZZZ0000000000000002";
const START_MS: Timestamp = 1_735_700_000_000;
const SCRAPE_MS: Timestamp = 15_000;
const SAMPLES: i64 = 300;
/// Everything that the block holds.
const EVERYTHING: [(&str, &str); 2] = [("query", "m[2h]"), ("time", "1735705000")];

/// A folder with one block of three series.
struct Bucket {
    folder: TempDir,
}

impl Bucket {
    fn new(settings: BlockWriterSettings) -> Self {
        let bucket = Self { folder: tempfile::tempdir().unwrap() };
        bucket.write(BLOCK, settings, |chunk| chunk.data);
        bucket
    }

    /// A block whose reader has to build the side-index.
    fn without_side_index() -> Self {
        Self::new(BlockWriterSettings { side_index: false, ..BlockWriterSettings::default() })
    }

    /// Writes a block; `payload` makes the payload of each chunk.
    fn write(&self, id: &str, settings: BlockWriterSettings, payload: impl Fn(EncodedChunk) -> Vec<u8>) {
        let range = TimeRange { mint: START_MS, maxt: START_MS + SAMPLES * SCRAPE_MS };
        let mut writer =
            BlockWriter::create(self.folder.path(), BlockMeta::new(id.parse().unwrap(), range), settings).unwrap();
        for n in 1..=3 {
            let mut samples = SampleBuffer::new();
            for i in 0..SAMPLES {
                let value = i32::try_from(i * i * n % 977).unwrap();
                samples.push_float(START_MS + i * SCRAPE_MS, f64::from(value) / 7.0);
            }
            let labels = Labels::from_pairs([("__name__", "m"), ("n", &n.to_string())]);
            let chunks: Vec<(i64, i64, u8, Vec<u8>)> = encode_series(&samples, 120)
                .unwrap()
                .into_iter()
                .map(|chunk| (chunk.mint, chunk.maxt, chunk.encoding as u8, payload(chunk)))
                .collect();
            let payloads = chunks.iter().map(|(mint, maxt, encoding, data)| ChunkPayload {
                mint: *mint,
                maxt: *maxt,
                encoding: *encoding,
                data,
            });
            writer.push(&labels, payloads).unwrap();
        }
        writer.finish().unwrap();
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(BLOCK).join(file)
    }

    /// Serves it as a folder.
    fn served(&self) -> Served {
        Served::over(self.folder.path().to_owned(), 2)
    }

    /// Serves it from an object store, with `timeout` for each query.
    fn uploaded(&self, timeout: Duration) -> (Served, Arc<FaultyObjects>) {
        let objects = runtime().block_on(FaultyObjects::upload(self.folder.path()));
        let engine = EngineSettings { timeout, ..engine_settings(2) };
        (Served::bucket(Arc::clone(&objects) as _, BucketSettings::default(), engine), objects)
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn ask(served: &Served, form: &[(&str, &str)]) -> (u16, Value) {
    let (status, body) = served.post("query", form);
    (status, serde_json::from_slice(&body).unwrap())
}

/// What a whole block answers.
fn truth() -> Value {
    let (status, answer) = ask(&Bucket::new(BlockWriterSettings::default()).served(), &EVERYTHING);
    let result = answer["data"]["result"].as_array().unwrap();
    assert_eq!((status, result.len()), (200, 3));
    assert!(result.iter().all(|series| series["values"].as_array().unwrap().len() == 300));
    answer
}

/// Runs `check` with one byte of `file` turned over, at positions spread over the file.
fn flip(file: &Path, mut check: impl FnMut(usize)) {
    let whole = std::fs::read(file).unwrap();
    for part in 0..12 {
        // odd steps, so that the positions fall on fields of all kinds
        let position = (whole.len() * part / 12 + part * 3).min(whole.len() - 1);
        let mut damaged = whole.clone();
        damaged[position] ^= 0x55;
        std::fs::write(file, &damaged).unwrap();
        check(position);
    }
    std::fs::write(file, &whole).unwrap();
}

/// Checks that an answer says that `file` is corrupt, and gives the offset that it names.
#[track_caller]
fn corrupt_offset(status: u16, answer: &Value, file: &str) -> usize {
    let head = json!([answer["status"], answer["errorType"]]);
    assert_eq!((status, head), (500, json!(["error", "internal"])), "{answer}");
    let error = answer["error"].as_str().unwrap();
    let rest = error.strip_prefix(&format!("corrupt {file} of {BLOCK} at offset "));
    let offset = rest.and_then(|rest| rest.split(':').next());
    offset.and_then(|offset| offset.parse().ok()).unwrap_or_else(|| panic!("{error}"))
}

#[test]
fn damaged_chunks_are_told_with_their_place() {
    let (bucket, truth) = (Bucket::new(BlockWriterSettings::default()), truth());
    flip(&bucket.path("chunks/000001"), |position| {
        let (status, answer) = ask(&bucket.served(), &EVERYTHING);
        if position < 8 {
            // the head of the file, which reading a chunk does not need
            assert_eq!((status, answer), (200, truth.clone()));
            return;
        }
        let offset = corrupt_offset(status, &answer, "chunks/000001");
        assert!(offset <= position && position - offset < 2_000, "{position}: {answer}");
    });
}

#[test]
fn a_damaged_side_index_is_built_again() {
    let (bucket, truth) = (Bucket::new(BlockWriterSettings::default()), truth());
    for file in ["series.parquet", "series.crc"] {
        flip(&bucket.path(file), |position| {
            assert_eq!(ask(&bucket.served(), &EVERYTHING), (200, truth.clone()), "{file} at {position}");
        });
    }
}

#[test]
fn a_damaged_index_is_told_with_its_place() {
    let (bucket, truth) = (Bucket::without_side_index(), truth());
    let mut told = 0;
    flip(&bucket.path("index"), |position| {
        let (status, answer) = ask(&bucket.served(), &EVERYTHING);
        if status == 200 {
            assert_eq!(answer, truth, "{position}");
        } else {
            corrupt_offset(status, &answer, "index");
            told += 1;
        }
    });
    assert!(told >= 6, "{told} of 12");
}

#[test]
fn a_missing_file_is_named() {
    let bucket = Bucket::new(BlockWriterSettings::default());
    std::fs::remove_file(bucket.path("chunks/000001")).unwrap();
    let (status, answer) = ask(&bucket.served(), &EVERYTHING);
    assert_eq!((status, &answer["error"]), (500, &json!(format!("chunks/000001 of {BLOCK} does not exist"))));
}

#[test]
fn a_chunk_that_does_not_decode_behind_a_right_checksum_is_told_with_its_place() {
    let bucket = Bucket { folder: tempfile::tempdir().unwrap() };
    let second = START_MS + 120 * SCRAPE_MS;
    bucket.write(BLOCK, BlockWriterSettings::default(), |mut chunk| {
        if chunk.mint == second {
            chunk.data.truncate(20);
        }
        chunk.data
    });
    for query in ["m[2h]", "sum(m)", "rate(m{n=\"1\"}[2h])"] {
        let at = ("time", if query == "sum(m)" { "1735702000" } else { "1735705000" });
        let (status, answer) = ask(&bucket.served(), &[("query", query), at]);
        let offset = corrupt_offset(status, &answer, "chunks/000001");
        assert!(offset > 8, "{answer}");
        let reason = format!("chunk from {second} to {} of series {{", second + 119 * SCRAPE_MS);
        assert!(answer["error"].as_str().unwrap().contains(&reason), "{answer}");
    }
}

#[test]
fn a_block_that_cannot_be_looked_at_is_a_warning_or_an_error() {
    let (bucket, truth) = (Bucket::new(BlockWriterSettings::default()), truth());
    let known = bucket.served();
    let meta = std::fs::read(bucket.path("meta.json")).unwrap();
    std::fs::write(bucket.path("meta.json"), &meta[1..]).unwrap();
    // the block was known: nothing is missing
    assert_eq!(known.sync().unwrap().unreadable.len(), 1);
    assert_eq!(ask(&known, &EVERYTHING), (200, truth.clone()));
    // it was not: that is told
    let unknown = bucket.served();
    let (status, answer) = ask(&unknown, &EVERYTHING);
    assert_eq!((status, &answer["data"]["result"]), (200, &json!([])));
    let warning = answer["warnings"][0].as_str().unwrap();
    let expected = format!("block {BLOCK} is left out: corrupt meta.json of {BLOCK} at offset ");
    assert!(warning.starts_with(&expected), "{warning}");
    let two_selectors = [("query", "m + on(n) m"), EVERYTHING[1]];
    assert_eq!(ask(&unknown, &two_selectors).1["warnings"], json!([warning]), "once");
    for path in ["labels", "label/n/values", "series?match[]=m", "status/tsdb"] {
        let (status, body) = unknown.get(path);
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &answer["warnings"]), (200, &json!([warning])), "{path}");
    }
    let whole = [EVERYTHING[0], EVERYTHING[1], ("partial_response", "false")];
    let (status, answer) = ask(&unknown, &whole);
    assert_eq!((status, answer), (422, json!({"status": "error", "errorType": "execution", "error": warning})));
    // mended
    std::fs::write(bucket.path("meta.json"), &meta).unwrap();
    unknown.sync().unwrap();
    assert_eq!(ask(&unknown, &whole), (200, truth));
}

#[test]
fn a_folder_that_goes_is_not_an_empty_bucket() {
    let bucket = Bucket::new(BlockWriterSettings::default());
    let served = bucket.served();
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("moved");
    std::fs::rename(bucket.folder.path(), &moved).unwrap();
    let error = served.sync().unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: ", bucket.folder.path().display())), "{error}");
    let (status, answer) = ask(&served, &EVERYTHING);
    assert_eq!((status, &answer["errorType"], &answer["error"]), (500, &json!("internal"), &json!(error)));
    std::fs::rename(&moved, bucket.folder.path()).unwrap();
    assert_eq!(ask(&served, &EVERYTHING), (200, truth()));
}

#[test]
fn failing_reads_name_block_and_file() {
    let bucket = Bucket::without_side_index();
    for (part, file) in [("/index", "index"), ("/chunks", "chunks/000001")] {
        let (served, objects) = bucket.uploaded(Duration::from_secs(60));
        objects.set(Fault::Fail(part));
        let expected = json!({
            "status": "error", "errorType": "internal",
            "error": format!("cannot read {file} of {BLOCK}: Generic test error: the connection was reset"),
        });
        assert_eq!(ask(&served, &EVERYTHING), (500, expected));
        // where a later look fails, what is known is served on
        objects.set(Fault::Fail(""));
        let error = served.sync().unwrap_err().to_string();
        assert_eq!(error, "cannot read the list of blocks: Generic test error: the connection was reset");
        objects.set(Fault::None);
        assert_eq!(ask(&served, &EVERYTHING), (200, truth()));
    }
}

#[test]
fn a_block_of_which_nothing_was_ever_read_is_a_warning() {
    let bucket = Bucket::new(BlockWriterSettings::default());
    let objects = runtime().block_on(FaultyObjects::upload(bucket.folder.path()));
    objects.set(Fault::Fail("/meta.json"));
    let served = Served::bucket(Arc::clone(&objects) as _, BucketSettings::default(), engine_settings(1));
    let reason = format!("cannot read meta.json of {BLOCK}: Generic test error: the connection was reset");
    let warning = format!("block {BLOCK} is left out: {reason}");
    assert_eq!(ask(&served, &EVERYTHING).1["warnings"], json!([warning]));
    objects.set(Fault::None);
    served.sync().unwrap();
    objects.set(Fault::Fail("/meta.json"));
    served.sync().unwrap();
    assert_eq!(ask(&served, &EVERYTHING), (200, truth()));
}

#[test]
fn a_block_that_goes_while_it_is_read_is_read_where_it_went() {
    let bucket = Bucket::without_side_index();
    let truth = truth();
    for part in ["/chunks", "/index"] {
        let (served, objects) = bucket.uploaded(Duration::from_secs(60));
        // a compactor replaces the block after it was looked at
        let compacted = Bucket { folder: tempfile::tempdir().unwrap() };
        compacted.write(COMPACTED, BlockWriterSettings::default(), |chunk| chunk.data);
        runtime().block_on(objects.add(compacted.folder.path()));
        objects.set(Fault::Lose(part, BLOCK.into()));
        assert_eq!(ask(&served, &EVERYTHING), (200, truth.clone()), "{part}");
    }
}

#[test]
fn a_read_that_hangs_ends_with_the_time_of_the_query() {
    let bucket = Bucket::without_side_index();
    let began = Instant::now();
    let check = |(status, body): (u16, Vec<u8>), text: &str| {
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &answer["errorType"]), (503, &json!("timeout")), "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(text), "{answer}");
    };
    for part in ["/index", "/chunks"] {
        // the query's own, and that of all
        let (served, objects) = bucket.uploaded(Duration::from_secs(3_600));
        objects.set(Fault::Hang(part));
        check(served.post("query", &[EVERYTHING[0], EVERYTHING[1], ("timeout", "20ms")]), "query timed out in");
        let (served, objects) = bucket.uploaded(Duration::from_millis(20));
        objects.set(Fault::Hang(part));
        check(served.post("query", &EVERYTHING), "query timed out in");
        let range = [("query", "m"), ("start", "1735700000"), ("end", "1735704000"), ("step", "60")];
        check(served.post("query_range", &range), "query timed out in");
    }
    let (served, objects) = bucket.uploaded(Duration::from_millis(20));
    objects.set(Fault::Hang("/index"));
    for path in ["labels", "label/n/values", "series?match[]=m", "status/tsdb"] {
        check(served.get(path), "the deadline of the request passed");
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
