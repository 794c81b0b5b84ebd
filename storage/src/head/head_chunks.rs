//! `chunks_head`: the files into which a Prometheus head writes its full chunks, read where its data directory is adopted.
//!
//! ```text
//! file:  magic 0x0130BC91, version 1, 3 zero bytes, then chunks, then zeros to the end
//! chunk: series u64 │ mint u64 │ maxt u64 │ encoding u8, 0x80 for out of order │ length uvarint │ data │ crc32c u32
//! ```
//!
//! Prometheus writes them without a sync and falls back on its log where they are damaged. So what does not check out ends a file,
//! and is reported, never an error.

use std::collections::HashMap;
use std::path::Path;

use crate::chunk::{EncodedChunk, Encoding, sample_count};
use crate::cursor::{Cursor, Malformed};
use crate::error::{Error, Result};

const MAGIC: u32 = 0x0130_BC91;
const VERSION: u8 = 1;
/// Set in the encoding of chunks of late samples.
const LATE: u8 = 0x80;

/// Chunks of a series, in the order in which they were written, each with whether its samples are late.
pub(super) type HeadChunks = HashMap<u64, Vec<(EncodedChunk, bool)>>;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub chunks: HeadChunks,
    pub count: u64,
    /// Files in which not everything could be read.
    pub damaged: u64,
}

/// Reads the chunks in `folder`; none where it is not there.
pub(super) fn read(folder: &Path) -> Result<Found> {
    let mut found = Found::default();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        entries => entries.map_err(|e| Error::io(folder, e))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u64>().ok());
        files.extend(number.map(|number| (number, path)));
    }
    files.sort();
    for (_, path) in files {
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        if let Err(error) = read_file(&bytes, &mut found) {
            found.damaged += 1;
            tracing::warn!(path = %path.display(), at = error.at, reason = error.reason, "the rest of a file of head chunks is left out");
        }
    }
    Ok(found)
}

fn read_file(bytes: &[u8], found: &mut Found) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(bytes);
    if cursor.is_empty() {
        return Ok(());
    }
    if cursor.u32_be()? != MAGIC || cursor.u8()? != VERSION {
        return Err(cursor.malformed("not a file of head chunks"));
    }
    cursor.bytes(3)?;
    while cursor.remaining() > 0 {
        let start = cursor.position();
        if bytes[start..].iter().all(|byte| *byte == 0) {
            break;
        }
        let (series, mint, maxt) = (cursor.u64_be()?, cursor.u64_be()?.cast_signed(), cursor.u64_be()?.cast_signed());
        let encoding = cursor.u8()?;
        let len = cursor.uvarint()?;
        let len = cursor.count(len, 1)?;
        let data = cursor.bytes(len)?;
        let sum = crc32c::crc32c(&bytes[start..cursor.position()]);
        if cursor.u32_be()? != sum {
            return Err(cursor.malformed("checksum of a chunk"));
        }
        let Ok(kind) = Encoding::try_from(encoding & !LATE) else {
            return Err(cursor.malformed("encoding of a chunk"));
        };
        let samples = sample_count(kind as u8, data).map_err(|_| cursor.malformed("sample count of a chunk"))?;
        let chunk = EncodedChunk { mint, maxt, encoding: kind, data: data.to_vec(), samples };
        found.chunks.entry(series).or_default().push((chunk, encoding & LATE != 0));
        found.count += 1;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A file of head chunks.
    pub(in crate::head) fn file(chunks: &[(u64, &EncodedChunk, bool)]) -> Vec<u8> {
        let mut file = vec![0x01, 0x30, 0xBC, 0x91, 1, 0, 0, 0];
        for (series, chunk, is_late) in chunks {
            let start = file.len();
            file.extend(series.to_be_bytes());
            file.extend(chunk.mint.to_be_bytes());
            file.extend(chunk.maxt.to_be_bytes());
            file.push(chunk.encoding as u8 | if *is_late { LATE } else { 0 });
            crate::cursor::put_uvarint(&mut file, chunk.data.len() as u64);
            file.extend(&chunk.data);
            let sum = crc32c::crc32c(&file[start..]);
            file.extend(sum.to_be_bytes());
        }
        file.resize(file.len() + 64, 0);
        file
    }

    #[test]
    fn chunks_up_to_the_damage() {
        let mut encoder = crate::chunk::XorEncoder::new();
        (0..3).for_each(|t| encoder.push(t, 1.0));
        let chunk = EncodedChunk { mint: 0, maxt: 2, encoding: Encoding::Xor, data: encoder.finish(), samples: 3 };
        let bytes = file(&[(7, &chunk, false), (7, &chunk, true), (9, &chunk, false)]);
        let mut found = Found::default();
        read_file(&bytes, &mut found).unwrap();
        assert_eq!(found.chunks[&7], [(chunk.clone(), false), (chunk.clone(), true)]);
        for at in 0..bytes.len() - 64 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            let mut some = Found::default();
            let result = read_file(&damaged, &mut some);
            assert!(some.count < 3 && (result.is_err() || (5..8).contains(&at)) || (5..8).contains(&at), "{at}");
            let _ = read_file(&bytes[..at], &mut Found::default());
        }
    }
}
