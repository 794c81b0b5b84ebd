//! Compression of single records: none, snappy's block format, or zstd.

use zstd::zstd_safe;

/// Most bytes of a record, compressed or not. A log of Prometheus has none over its segment size.
const MAX_RECORD_BYTES: u64 = 1 << 30;

/// Three bytes of snappy stand for 64 at most; a length beyond that is no snappy.
const SNAPPY_MAX_RATIO: usize = 22;

/// How records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Snappy, as Prometheus does unless told otherwise.
    Snappy,
    /// Zstandard.
    Zstd,
}

/// Compresses records into a buffer of its own.
pub(super) struct Compressor {
    compression: Compression,
    snappy: snap::raw::Encoder,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    out: Vec<u8>,
}

impl Compressor {
    pub(super) fn new(compression: Compression) -> Self {
        let zstd = match compression {
            // level 1 is what Prometheus asks for; without a context records stay as they are
            Compression::Zstd => zstd::bulk::Compressor::new(1).ok(),
            _ => None,
        };
        Self { compression, snappy: snap::raw::Encoder::new(), zstd, out: Vec::new() }
    }

    /// The bytes to be stored and how they are compressed: not at all where that would not make them smaller.
    pub(super) fn compress<'a>(&'a mut self, record: &'a [u8]) -> (&'a [u8], Compression) {
        let len = match (self.compression, &mut self.zstd) {
            (Compression::Snappy, _) => {
                self.out.resize(snap::raw::max_compress_len(record.len()), 0);
                self.snappy.compress(record, &mut self.out).ok()
            }
            (Compression::Zstd, Some(zstd)) => {
                self.out.resize(zstd_safe::compress_bound(record.len()), 0);
                zstd.compress_to_buffer(record, &mut self.out[..]).ok()
            }
            _ => None,
        };
        match len.and_then(|len| self.out.get(..len)) {
            Some(smaller) if smaller.len() < record.len() => (smaller, self.compression),
            _ => (record, Compression::None),
        }
    }
}

/// Decompresses records into a buffer of its own.
pub(super) struct Decompressor {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    out: Vec<u8>,
}

impl Decompressor {
    pub(super) fn new() -> Self {
        Self { zstd: None, out: Vec::new() }
    }

    /// The record in `stored`, or nothing where it is not what its flag says.
    pub(super) fn decompress<'a>(&'a mut self, stored: &'a [u8], compression: Compression) -> Option<&'a [u8]> {
        match compression {
            Compression::None => Some(stored),
            Compression::Snappy => {
                let len = snap::raw::decompress_len(stored).ok()?;
                if len > stored.len().saturating_mul(SNAPPY_MAX_RATIO) {
                    return None;
                }
                self.out.resize(self.out.len().max(len), 0);
                let len = snap::raw::Decoder::new().decompress(stored, &mut self.out).ok()?;
                self.out.get(..len)
            }
            Compression::Zstd => {
                let len = zstd_safe::get_frame_content_size(stored).ok()??;
                let len = usize::try_from(len).ok().filter(|_| len <= MAX_RECORD_BYTES)?;
                let zstd = match &mut self.zstd {
                    Some(zstd) => zstd,
                    none => none.insert(zstd::bulk::Decompressor::new().ok()?),
                };
                self.out.clear();
                self.out.try_reserve(len).ok()?;
                let read = zstd.decompress_to_buffer(stored, &mut self.out).ok()?;
                (read == len).then_some(&self.out[..])
            }
        }
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").field("compression", &self.compression).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(compression: Compression) {
        let mut compressor = Compressor::new(compression);
        let mut decompressor = Decompressor::new();
        let noise: Vec<u8> = (0..4000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for record in [&b""[..], b"a", &[7; 70_000], &noise] {
            let (stored, how) = compressor.compress(record);
            assert!(stored.len() <= record.len());
            assert_eq!(decompressor.decompress(stored, how), Some(record));
        }
        assert_eq!(compressor.compress(&[7; 70_000]).1, compression);
        // a flag that is wrong is found out, whatever the bytes declare
        if compression != Compression::None {
            assert_eq!(decompressor.decompress(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1], compression), None);
        }
    }

    #[test]
    fn records_read_back() {
        check(Compression::None);
        check(Compression::Snappy);
        check(Compression::Zstd);
    }
}
