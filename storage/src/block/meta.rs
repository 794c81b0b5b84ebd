//! `meta.json`: what is known of a block without opening it.
//!
//! The fields of Prometheus and, under `thanos`, those of Thanos; a field that neither had when this was written is
//! kept as it was read. Times are milliseconds, and `maxTime` is the first millisecond after the block.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::cursor::Origin;
use crate::error::{Error, Result};
use crate::model::{BlockId, ExternalLabels, TimeRange, Timestamp};

/// The name of the file in a block.
pub const META_FILE: &str = "meta.json";
/// The only version of either section.
const VERSION: u32 = 1;
/// The word of Prometheus for a block of nothing but late samples.
pub(crate) const FROM_OUT_OF_ORDER: &str = "from-out-of-order";

/// `meta.json` of a block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockMeta {
    /// The block's name.
    pub ulid: BlockId,
    /// First millisecond that the block covers.
    #[serde(rename = "minTime")]
    pub min_time: Timestamp,
    /// First millisecond after the block.
    #[serde(rename = "maxTime")]
    pub max_time: Timestamp,
    /// Counts of what is inside.
    #[serde(default)]
    pub stats: BlockStats,
    /// Where the block comes from.
    #[serde(default)]
    pub compaction: Compaction,
    /// Version of this file: 1.
    pub version: u32,
    /// What Thanos adds; absent in a block that only Prometheus has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thanos: Option<ThanosMeta>,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Counts of what is in a block. A count of 0 is not written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockStats {
    /// Samples of every kind.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_samples: u64,
    /// Float samples.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_float_samples: u64,
    /// Native histogram samples.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_histogram_samples: u64,
    /// Series.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_series: u64,
    /// Chunks.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_chunks: u64,
    /// Deleted intervals that stand in the tombstones file.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_tombstones: u64,
}

/// Where a block comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// How often the oldest of its ancestors was compacted; 1 when it was cut from a head.
    #[serde(default)]
    pub level: u32,
    /// The blocks cut from heads that went into it.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<BlockId>,
    /// Set where nothing was left of its parents, so that it may be deleted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deletable: bool,
    /// The blocks that it was made of.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<ParentBlock>,
    /// Set where compacting it failed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub failed: bool,
    /// Words on how it was made, as `from-out-of-order`.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// A block that another one was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentBlock {
    /// Its name.
    pub ulid: BlockId,
    /// First millisecond that it covered.
    #[serde(rename = "minTime")]
    pub min_time: Timestamp,
    /// First millisecond after it.
    #[serde(rename = "maxTime")]
    pub max_time: Timestamp,
}

/// The `thanos` section.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ThanosMeta {
    /// Version of the section: 1, or 0 where it is not given.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub version: u32,
    /// External labels of the producer.
    #[serde(default, deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    /// How far it is downsampled.
    #[serde(default)]
    pub downsample: Downsample,
    /// Which component made it: `sidecar`, `receive`, `ruler`, `compactor`, `compactor.repair`, `bucket.repair`,
    /// `bucket.rewrite`, `bucket.upload`, `test`.
    #[serde(default)]
    pub source: String,
    /// Names of the files in `chunks/`, in order. May be missing.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub segment_files: Vec<String>,
    /// The files of the block with their sizes, by path. May be missing.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<BlockFile>,
    /// Rewrites that the block went through.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub rewrites: Vec<Value>,
    /// What a reader can size its buffers by.
    #[serde(default)]
    pub index_stats: IndexStats,
    /// Whatever an extension keeps here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Value>,
    /// When the file was uploaded, RFC 3339; year 1 or missing where it was not noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_time: Option<String>,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How far a block is downsampled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downsample {
    /// Milliseconds between samples: 0 is raw, 300,000 and 3,600,000 are the others.
    #[serde(default)]
    pub resolution: i64,
}

/// A file of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockFile {
    /// Path below the block's folder.
    pub rel_path: String,
    /// Size in bytes; not given for `meta.json` itself.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size_bytes: u64,
    /// A hash of the content, if one was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<FileHash>,
}

/// A hash of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHash {
    /// `SHA256`.
    #[serde(rename = "hashFunc")]
    pub func: String,
    /// In hexadecimal.
    pub value: String,
}

/// The largest things in a block, in bytes; 0 where it is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IndexStats {
    /// Largest series entry of the index, with its padding.
    #[serde(skip_serializing_if = "is_zero")]
    pub series_max_size: u64,
    /// Largest chunk, with its length, encoding and checksum.
    #[serde(skip_serializing_if = "is_zero")]
    pub chunk_max_size: u64,
}

impl BlockMeta {
    /// A new block's: level 1, its own source, nothing counted, no `thanos` section.
    #[must_use]
    pub fn new(ulid: BlockId, range: TimeRange) -> Self {
        Self {
            ulid,
            min_time: range.mint,
            max_time: range.maxt,
            stats: BlockStats::default(),
            compaction: Compaction { level: 1, sources: vec![ulid], ..Compaction::default() },
            version: VERSION,
            thanos: None,
            extra: Map::new(),
        }
    }

    /// Whether Prometheus says that it was made of late samples alone.
    #[must_use]
    pub fn is_from_out_of_order(&self) -> bool {
        self.compaction.hints.iter().any(|hint| hint == FROM_OUT_OF_ORDER)
    }

    /// Reads the file; `place` names the block in errors.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it is not JSON, lacks a field, or is of another version.
    pub fn try_parse(json: &[u8], place: impl Into<Arc<str>>) -> Result<Self> {
        let origin = Origin::new(place, META_FILE);
        let meta: Self =
            serde_json::from_slice(json).map_err(|e| origin.corrupt(offset_of(json, &e), e.to_string()))?;
        if meta.version != VERSION {
            return Err(origin.corrupt(0, format!("version is {}, not {VERSION}", meta.version)));
        }
        if let Some(version) = meta.thanos.as_ref().map(|thanos| thanos.version).filter(|v| *v > VERSION) {
            return Err(origin.corrupt(0, format!("version of the thanos section is {version}, not {VERSION}")));
        }
        if meta.max_time < meta.min_time {
            return Err(origin.corrupt(0, format!("maxTime {} is before minTime {}", meta.max_time, meta.min_time)));
        }
        Ok(meta)
    }

    /// The file's content, indented with tabs as Thanos writes it.
    ///
    /// # Errors
    /// [`Error::Internal`], for a value that JSON cannot hold.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        to_tabbed_json(self)
    }

    /// The block's name.
    #[must_use]
    pub fn id(&self) -> BlockId {
        self.ulid
    }

    /// What it covers.
    #[must_use]
    pub fn range(&self) -> TimeRange {
        TimeRange { mint: self.min_time, maxt: self.max_time }
    }

    /// External labels; none without a `thanos` section.
    #[must_use]
    pub fn external_labels(&self) -> ExternalLabels {
        ExternalLabels::from_pairs(self.thanos.iter().flat_map(|thanos| &thanos.labels))
    }

    /// Milliseconds between samples of a downsampled block, 0 for a raw one.
    #[must_use]
    pub fn resolution_ms(&self) -> i64 {
        self.thanos.as_ref().map_or(0, |thanos| thanos.downsample.resolution)
    }

    /// Names of the files in `chunks/`, if the file tells: from `segment_files`, or else `files`.
    #[must_use]
    pub fn segment_files(&self) -> Option<Vec<String>> {
        let thanos = self.thanos.as_ref()?;
        if !thanos.segment_files.is_empty() {
            return Some(thanos.segment_files.clone());
        }
        let in_chunks = thanos.files.iter().filter_map(|file| file.rel_path.strip_prefix("chunks/"));
        let names: Vec<String> = in_chunks.map(str::to_owned).collect();
        (!names.is_empty()).then_some(names)
    }

    /// Size in bytes of the file at `rel_path`, if the file tells.
    #[must_use]
    pub fn file_size(&self, rel_path: &str) -> Option<u64> {
        let files = self.thanos.as_ref().map(|thanos| &thanos.files)?;
        files.iter().find(|file| file.rel_path == rel_path).map(|file| file.size_bytes).filter(|size| *size > 0)
    }

    /// When it was uploaded, if that was noted.
    #[must_use]
    pub fn upload_time(&self) -> Option<Timestamp> {
        let text = self.thanos.as_ref()?.upload_time.as_deref()?;
        // year 1 is Go's way to say that there is none; it does not fit in nanoseconds
        string_to_timestamp_nanos(text).ok().map(|ns| ns.div_euclid(1_000_000))
    }
}

/// JSON indented with tabs, one line feed at the end.
pub(crate) fn to_tabbed_json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut json = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, formatter);
    value.serialize(&mut serializer).map_err(|e| Error::Internal(e.to_string()))?;
    json.push(b'\n');
    Ok(json)
}

/// Where in `json` the parser stopped, in bytes.
pub(super) fn offset_of(json: &[u8], error: &serde_json::Error) -> usize {
    let lines = json.split_inclusive(|&b| b == b'\n').take(error.line().saturating_sub(1));
    (lines.map(<[u8]>::len).sum::<usize>() + error.column()).min(json.len())
}

/// Go writes an empty list or map that was never made as `null`.
fn null_as_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero_u32(value: &u32) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;

    const THANOS: &str = r#"{"ulid":"01M84VG4WNAAGZGYWK1018NZ2W","minTime":-5,"maxTime":7,"stats":{"numSeries":3},
        "compaction":{"level":2,"sources":["01M84VG4WNAAGZGYWK1018NZ2W"],"parents":null,"hints":["from-out-of-order"]},
        "version":1,"later":{"x":1},"thanos":{"labels":{"replica":"a","cluster":"eu"},"downsample":{"resolution":300000},
        "source":"compactor","files":[{"rel_path":"chunks/000001","size_bytes":9,"hash":{"hashFunc":"SHA256","value":"ab"}},
        {"rel_path":"index"},{"rel_path":"meta.json"}],"rewrites":[{"sources":[]}],"index_stats":{"chunk_max_size":12},
        "extensions":{"parquet_migrated":true},"upload_time":"2026-11-23T18:48:30.090133051Z","newer":[1]}}"#;

    #[test]
    fn every_field_survives() {
        let meta = BlockMeta::try_parse(THANOS.as_bytes(), "b").unwrap();
        assert_eq!(meta.id().to_string(), "01M84VG4WNAAGZGYWK1018NZ2W");
        assert_eq!(meta.range(), TimeRange { mint: -5, maxt: 7 });
        assert_eq!(meta.external_labels().to_labels().to_string(), r#"{cluster="eu", replica="a"}"#);
        assert_eq!(meta.resolution_ms(), 300_000);
        assert_eq!(meta.segment_files().unwrap(), ["000001"]);
        assert_eq!(meta.file_size("chunks/000001"), Some(9));
        assert_eq!(meta.file_size("index"), None);
        assert_eq!(meta.upload_time(), Some(1_795_459_710_090));
        let mut before: Value = serde_json::from_str(THANOS).unwrap();
        before["compaction"].as_object_mut().unwrap().remove("parents");
        let after: Value = serde_json::from_slice(&meta.to_json().unwrap()).unwrap();
        assert_eq!(after, before);
    }

    #[test]
    fn damage_names_block_and_file() {
        let ulid = r#""ulid":"01M84VG4WNAAGZGYWK1018NZ2W","minTime":0,"maxTime":1"#;
        for bad in [
            String::new(),
            "{".to_owned(),
            "[]".to_owned(),
            format!("{{{ulid}}}"),
            format!(r#"{{{ulid},"version":2}}"#),
            format!(r#"{{{ulid},"version":1,"thanos":{{"version":2}}}}"#),
            r#"{"ulid":"../../etc","minTime":0,"maxTime":1,"version":1}"#.to_owned(),
            r#"{"ulid":"01M84VG4WNAAGZGYWK1018NZ2W","minTime":2,"maxTime":1,"version":1}"#.to_owned(),
        ] {
            match BlockMeta::try_parse(bad.as_bytes(), "b") {
                Err(Error::Corrupt { place, file, .. }) => assert_eq!((&*place, &*file), ("b", "meta.json")),
                other => panic!("{bad}: {other:?}"),
            }
        }
        assert!(BlockMeta::try_parse(format!(r#"{{{ulid},"version":1}}"#).as_bytes(), "b").is_ok());
    }

    #[test]
    fn golden_files_are_rewritten_to_the_byte() {
        let Ok(shared) = std::env::var("QUIVER_SHARED") else {
            eprintln!("skipped: QUIVER_SHARED is not set");
            return;
        };
        for folder in ["bucket", "prometheus", "compacted/plain", "compacted/penalty", "compacted/one-to-one"] {
            for block in std::fs::read_dir(std::path::Path::new(&shared).join("golden").join(folder)).unwrap() {
                let path = block.unwrap().path().join(META_FILE);
                let Ok(golden) = std::fs::read_to_string(&path) else { continue };
                let meta = BlockMeta::try_parse(golden.as_bytes(), "golden").unwrap();
                let written = String::from_utf8(meta.to_json().unwrap()).unwrap();
                assert_eq!(written.trim_end(), golden.trim_end(), "{}", path.display());
            }
        }
    }
}
