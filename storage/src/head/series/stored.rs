//! A series in a snapshot: where its closed chunks are, and the samples of its open one.
//!
//! ```text
//! count uvarint │ closed chunks
//! chunk:   mint varint │ maxt - mint uvarint │ encoding u8 │ 1, segment uvarint32, offset uvarint32, len uvarint32
//!                                                          └ 0, len uvarint, payload           where it is in no file
//! encoding u8, len uvarint, payload of the open chunk; only a 0 where there is none
//! ```
//!
//! Late samples are not here: the snapshot has them as records of the log.

use super::{ClosedChunk, Series};
use crate::chunk::{ChunkError, Encoding, decode};
use crate::cursor::{Cursor, Malformed, put_uvarint, put_varint};
use crate::head::chunk_log::{ChunkAt, ChunkLog};
use crate::head::sample::decode_samples;
use crate::model::{SampleBuffer, TimeInterval, Timestamp};

/// The chunk lies in a segment that is in a file.
const IN_FILE: u8 = 1;
/// There is no open chunk. No encoding has this number.
const NO_CHUNK: u8 = 0;

impl Series {
    /// Appends all but labels, numbers and late samples to `out`.
    pub(in crate::head) fn store(&self, log: &ChunkLog, out: &mut Vec<u8>) {
        put_uvarint(out, self.closed.len() as u64);
        for chunk in &self.closed {
            put_varint(out, chunk.mint);
            put_uvarint(out, chunk.maxt.wrapping_sub(chunk.mint).cast_unsigned());
            out.push(chunk.encoding as u8);
            if log.in_file(chunk.at).is_some() {
                out.push(IN_FILE);
                let ChunkAt { segment, offset, len } = chunk.at;
                [segment, offset, len].into_iter().for_each(|number| put_uvarint(out, u64::from(number)));
            } else {
                out.push(0);
                let payload = log.get(chunk.at);
                put_uvarint(out, payload.len() as u64);
                out.extend_from_slice(payload);
            }
        }
        if self.open_len() == 0 {
            out.push(NO_CHUNK);
            return;
        }
        out.push(self.open_encoding() as u8);
        let mut payload = Vec::new();
        self.write_open(log, &mut payload);
        put_uvarint(out, payload.len() as u64);
        out.extend_from_slice(&payload);
    }

    /// Fills a series that is new with what [`store`](Self::store) wrote, but for what lies before `floor`. Returns how many chunks
    /// that were.
    pub(in crate::head) fn restore(
        &mut self,
        log: &mut ChunkLog,
        cursor: &mut Cursor<'_>,
        floor: Timestamp,
        scratch: &mut Restoring,
    ) -> Result<u64, Malformed> {
        let closed = cursor.uvarint()?;
        let closed = cursor.count(closed, 4)?;
        self.closed.reserve_exact(closed);
        for _ in 0..closed {
            let mint = cursor.varint()?;
            let maxt = mint.wrapping_add(cursor.uvarint()?.cast_signed());
            let encoding = encoding(cursor)?;
            let at = if cursor.u8()? == IN_FILE {
                let (segment, offset, len) = (cursor.uvarint32()?, cursor.uvarint32()?, cursor.uvarint32()?);
                let at = ChunkAt { segment, offset, len };
                if maxt < floor {
                    continue;
                }
                if !log.keep(at) {
                    return Err(cursor.malformed("a chunk where no segment is"));
                }
                at
            } else {
                let payload = payload(cursor)?;
                if maxt < floor {
                    continue;
                }
                log.push(payload.len(), |out| out.extend_from_slice(payload))
            };
            self.closed.push(ClosedChunk { mint, maxt, at, encoding });
            self.newest_t = maxt;
        }
        let mut chunks = self.closed.len() as u64;
        let malformed = cursor.malformed("an open chunk that does not decode");
        if let Some(encoding) = open_encoding(cursor)? {
            let payload = payload(cursor)?;
            self.restore_open(log, encoding, payload, floor, scratch).map_err(|_| malformed)?;
            chunks += 1;
        }
        Ok(chunks)
    }

    /// Appends the samples of an open chunk: they make the same one again.
    fn restore_open(
        &mut self,
        log: &mut ChunkLog,
        encoding: Encoding,
        payload: &[u8],
        floor: Timestamp,
        scratch: &mut Restoring,
    ) -> Result<(), ChunkError> {
        let block_ms = scratch.block_ms;
        if encoding == Encoding::Xor {
            scratch.samples.clear();
            decode(encoding as u8, payload, TimeInterval::new(floor, Timestamp::MAX), &mut scratch.samples)?;
            let SampleBuffer { timestamps, floats, .. } = &scratch.samples;
            let mut samples = timestamps.iter().zip(floats);
            return samples.try_for_each(|(&t, &value)| self.append_float(log, (t, value), block_ms));
        }
        let mut samples = Vec::new();
        decode_samples(encoding as u8, payload, &mut samples)?;
        let mut samples = samples.iter().filter(|sample| sample.t >= floor);
        samples.try_for_each(|sample| self.append(log, sample.borrow(), block_ms))
    }
}

/// What is used again from series to series.
#[derive(Debug)]
pub(in crate::head) struct Restoring {
    block_ms: i64,
    samples: SampleBuffer,
}

impl Restoring {
    /// Of a head whose blocks cover `block_ms`.
    pub fn new(block_ms: i64) -> Self {
        Self { block_ms, samples: SampleBuffer::new() }
    }
}

fn encoding(cursor: &mut Cursor<'_>) -> Result<Encoding, Malformed> {
    let malformed = cursor.malformed("an encoding of chunks that is not known");
    Encoding::try_from(cursor.u8()?).map_err(|_| malformed)
}

fn open_encoding(cursor: &mut Cursor<'_>) -> Result<Option<Encoding>, Malformed> {
    let mut ahead = cursor.clone();
    if ahead.u8()? == NO_CHUNK {
        *cursor = ahead;
        return Ok(None);
    }
    encoding(cursor).map(Some)
}

fn payload<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Malformed> {
    let len = cursor.uvarint()?;
    let len = cursor.count(len, 1)?;
    cursor.bytes(len)
}
