use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::model::FloatHistogram;

/// Everything in the chunk.
pub(super) fn decoded(encoding: u8, data: &[u8]) -> Result<SampleBuffer, ChunkError> {
    let mut out = SampleBuffer::new();
    decode(encoding, data, TimeInterval::ALL, &mut out).map(|()| out)
}

/// Times and the values' bits: NaNs compare.
pub(super) fn value_bits(samples: &SampleBuffer) -> Vec<(i64, u64)> {
    samples.timestamps.iter().zip(&samples.floats).map(|(t, v)| (*t, v.to_bits())).collect()
}

/// That an interval gives what filtering gives.
pub(super) fn check_interval(encoding: u8, data: &[u8], interval: TimeInterval) {
    let mut part = SampleBuffer::new();
    part.push_float(7, 7.0);
    decode(encoding, data, interval, &mut part).unwrap();
    let mut filtered = SampleBuffer::new();
    filtered.push_float(7, 7.0);
    let all = decoded(encoding, data).unwrap();
    (0..all.len()).filter(|i| interval.contains(all.timestamps[*i])).for_each(|i| filtered.push_from(&all, i));
    assert_eq!(format!("{part:?}"), format!("{filtered:?}"), "{interval:?}");
}

/// That no truncation and no flipped bit does worse than an error or other samples.
pub(super) fn check_damage(encoding: u8, data: &[u8]) {
    let intact = decoded(encoding, data).unwrap();
    for len in 0..data.len() {
        let mut out = SampleBuffer::new();
        if decode(encoding, &data[..len], TimeInterval::ALL, &mut out).is_ok() {
            panic!("{len} of {} bytes decode to {} of {} samples", data.len(), out.len(), intact.len());
        }
    }
    let mut damaged = data.to_vec();
    for bit in 0..data.len() * 8 {
        damaged[bit / 8] ^= 0x80 >> (bit % 8);
        let mut out = SampleBuffer::new();
        let _ = decode(encoding, &damaged, TimeInterval::ALL, &mut out);
        let _ = decode_integer(encoding, &damaged, TimeInterval::ALL, &mut Vec::new());
        assert!(out.timestamps.is_sorted());
        assert_eq!(out.timestamps.len(), out.floats.len());
        damaged[bit / 8] ^= 0x80 >> (bit % 8);
    }
}

/// Encoding and payload of every chunk of the blocks in $QUIVER_SHARED/golden/bucket.
fn golden_chunks() -> Option<Vec<(u8, Vec<u8>)>> {
    let Some(shared) = std::env::var_os("QUIVER_SHARED") else {
        eprintln!("skipped: QUIVER_SHARED is not set");
        return None;
    };
    let mut chunks = Vec::new();
    let bucket = PathBuf::from(shared).join("golden/bucket");
    for block in std::fs::read_dir(bucket).unwrap() {
        let segment = std::fs::read(block.unwrap().path().join("chunks/000001")).unwrap();
        let mut rest = &segment[8..];
        while !rest.is_empty() {
            let mut reader = bits::BitReader::new(rest);
            let length = usize::try_from(reader.read_uvarint().unwrap()).unwrap();
            let body = &rest[reader.position() / 8..];
            let (body, after) = body.split_at(1 + length);
            let (checksum, after) = after.split_first_chunk::<4>().unwrap();
            assert_eq!(crc32c::crc32c(body), u32::from_be_bytes(*checksum));
            chunks.push((body[0], body[1..].to_vec()));
            rest = after;
        }
    }
    Some(chunks)
}

/// What an encoder makes of a chunk's samples.
fn encoded_again(encoding: u8, data: &[u8], samples: &SampleBuffer) -> Option<Vec<u8>> {
    let hint = || counter_reset_header(encoding, data).unwrap();
    match Encoding::try_from(encoding).unwrap() {
        Encoding::Xor => {
            let mut encoder = XorEncoder::new();
            samples.timestamps.iter().zip(&samples.floats).for_each(|(t, v)| encoder.push(*t, *v));
            Some(encoder.finish())
        }
        Encoding::Histogram => {
            let mut integers = Vec::new();
            decode_integer(encoding, data, TimeInterval::ALL, &mut integers).unwrap();
            let mut encoder = HistogramEncoder::with_header(hint());
            for (i, (t, histogram)) in integers.iter().enumerate() {
                if let Some(float) = samples.histogram(i) {
                    assert_eq!(**float, histogram.to_float());
                }
                assert_eq!(encoder.push(*t, histogram), Ok(PushOutcome::Appended));
            }
            Some(encoder.finish())
        }
        Encoding::FloatHistogram => {
            let mut encoder = FloatHistogramEncoder::with_header(hint());
            for (i, t) in samples.timestamps.iter().enumerate() {
                let stale = FloatHistogram { sum: samples.floats[i], ..FloatHistogram::default() };
                let histogram = samples.histogram(i).map_or(&stale, |histogram| histogram);
                assert_eq!(encoder.push(*t, histogram), Ok(PushOutcome::Appended));
            }
            Some(encoder.finish())
        }
        _ => None,
    }
}

#[test]
fn golden_chunks_decode_and_encode_to_the_same_bytes() {
    let Some(chunks) = golden_chunks() else { return };
    let mut seen = [0_usize; 256];
    for (encoding, data) in &chunks {
        seen[usize::from(*encoding)] += 1;
        let samples = decoded(*encoding, data).unwrap();
        assert_eq!(samples.len(), sample_count(*encoding, data).unwrap());
        assert!(samples.timestamps.is_sorted());
        if let Some(again) = encoded_again(*encoding, data, &samples) {
            assert_eq!(again, *data);
        }
    }
    assert!(seen[1] > 1000 && seen[2] > 0 && seen[3] > 0, "golden data has XOR and both kinds of histograms");
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_safe(encoding in prop::sample::select(vec![1_u8, 2, 3, 4, 5, 6, 255]),
                                data in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut out = SampleBuffer::new();
        let _ = decode(encoding, &data, TimeInterval::ALL, &mut out);
        let _ = sample_count(encoding, &data);
        prop_assert!(out.timestamps.is_sorted());
    }
}

#[test]
fn unknown_encodings_are_named() {
    for encoding in [0, 7, 254] {
        let error = decoded(encoding, &[0; 20]).unwrap_err();
        assert_eq!(error.to_string(), format!("chunk encoding {encoding} is unknown"));
    }
}
