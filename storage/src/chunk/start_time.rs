//! Start timestamps in chunks of encodings 4 to 6: when what a sample counts began to be counted.
//!
//! A header byte says whether the first sample has one, and from which sample on each has one. Samples between have the
//! first one's. One is stored behind its sample: of the first sample as t − start; of the first one that has one after that, as the
//! time of the sample before − start; of each later one as the change of this difference. 0 is none.

use super::ChunkError;
use super::bits::{BitReader, BitWriter};
use crate::model::Timestamp;

/// The first sample's is known.
const FIRST_KNOWN: u8 = 0x80;

/// The last sample at which they can begin: the low bits of the header byte.
const FROM_MAX: u8 = 0x7f;

/// Reads them, one sample after the other.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StartTimeReader {
    /// The first sample has one.
    first: bool,
    /// From this sample on every one has one; 0 for none.
    from: usize,
    /// That of the last sample.
    start: Timestamp,
    /// How far it lies before the sample before.
    lag: i64,
}

impl StartTimeReader {
    /// Of a chunk with this header byte.
    pub fn from_byte(byte: u8) -> Self {
        Self { first: byte & FIRST_KNOWN != 0, from: usize::from(byte & FROM_MAX), ..Self::default() }
    }

    /// That of sample `index` at `t`, behind which the reader stands; the sample before is at `before`.
    #[inline]
    pub fn read(
        &mut self,
        reader: &mut BitReader<'_>,
        index: usize,
        t: Timestamp,
        before: Timestamp,
    ) -> Result<Timestamp, ChunkError> {
        if index == 0 {
            if self.first {
                self.start = t.wrapping_sub(reader.read_varint()?);
            }
        } else if self.from > 0 && index >= self.from {
            let lag = reader.read_varbit_int()?;
            self.lag = if index == self.from { lag } else { self.lag.wrapping_add(lag) };
            self.start = before.wrapping_sub(self.lag);
        }
        Ok(self.start)
    }
}

/// Writes them, bit for bit as Prometheus does.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StartTimeWriter {
    header: u8,
    start: Timestamp,
    lag: i64,
}

impl StartTimeWriter {
    /// Writes that of sample `index` at `t` behind the sample; the sample before is at `before`.
    pub fn write(&mut self, writer: &mut BitWriter, index: u16, t: Timestamp, before: Timestamp, start: Timestamp) {
        let lag = before.wrapping_sub(start);
        if index == 0 {
            if start != 0 {
                writer.write_varint(t.wrapping_sub(start));
                self.header = FIRST_KNOWN;
            }
        } else if self.header & FROM_MAX != 0 {
            writer.write_varbit_int(lag.wrapping_sub(self.lag));
            self.lag = lag;
        } else if start != self.start || index == u16::from(FROM_MAX) {
            // the header cannot name a later sample, so here they begin although nothing may have changed
            writer.write_varbit_int(lag);
            self.header |= index.to_be_bytes()[1] & FROM_MAX;
            self.lag = lag;
        }
        self.start = start;
    }

    /// The header byte.
    pub fn header(&self) -> u8 {
        self.header
    }
}
