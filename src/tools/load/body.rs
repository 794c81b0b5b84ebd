//! The body of a request: compressed once, after which only samples and generations are written into it.
//!
//! Steps: put the message together with zeros where samples go, note those places as holes, compress around them
//! ([`super::snappy`]). For a request, write value, timestamp and, where pods were replaced, the generation in place. So a sample
//! costs a hash and 16 bytes, whatever number of labels its series has.

use std::collections::HashMap;
use std::ops::Range;

use super::snappy::{Compressed, compress};
use super::workload::{GENERATION_DIGITS, SLOTS_PER_TARGET, Workload};

/// Versions of remote write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// `prometheus.WriteRequest`.
    #[value(name = "1.0")]
    V1,
    /// `io.prometheus.write.v2.Request`.
    #[value(name = "2.0")]
    V2,
}

impl Protocol {
    /// The headers `Content-Type` and `X-Prometheus-Remote-Write-Version`.
    pub const fn headers(self) -> (&'static str, &'static str) {
        match self {
            Self::V1 => ("application/x-protobuf", "0.1.0"),
            Self::V2 => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
        }
    }
}

/// Value, tag of the timestamp, timestamp.
const SAMPLE_HOLE: usize = 8 + 1 + TIME_BYTES;
/// Bytes of a timestamp as varint, for all that a workload has.
const TIME_BYTES: usize = 6;

/// What fills a hole.
#[derive(Debug, Clone, Copy)]
enum Hole {
    /// The sample of a slot.
    Sample { slot: u64 },
    /// The generation of a target.
    Generation { target: u64 },
}

/// A request of one batch, ready but for its samples.
#[derive(Debug)]
pub struct Body {
    compressed: Compressed,
    holes: Vec<Hole>,
    samples: u64,
}

impl Body {
    /// The request of a batch.
    pub fn new(workload: &Workload, batch: u64, protocol: Protocol) -> Self {
        let mut draft = Draft::default();
        match protocol {
            Protocol::V1 => draft.v1(workload, workload.slots(batch)),
            Protocol::V2 => draft.v2(workload, workload.slots(batch)),
        }
        let slots = workload.slots(batch);
        let mut compressed = compress(&draft.bytes, &draft.ranges);
        compressed.bytes.shrink_to_fit();
        Self { compressed, holes: draft.holes, samples: slots.end - slots.start }
    }

    /// Samples of the request.
    pub const fn samples(&self) -> u64 {
        self.samples
    }

    /// The request at a time, compressed.
    pub fn at(&mut self, workload: &Workload, t: i64) -> &[u8] {
        let mut end = [0_u8; 1 + TIME_BYTES];
        end[0] = 2 << 3;
        end[1..].copy_from_slice(&time_varint(t));
        // the slots of a target follow each other
        let (mut target, mut generation) = (u64::MAX, 0);
        let mut generation_of = |of: u64| {
            if of != target {
                (target, generation) = (of, workload.generation(of, t));
            }
            generation
        };
        for (hole, &at) in self.holes.iter().zip(&self.compressed.holes) {
            match *hole {
                Hole::Sample { slot } => {
                    let value = workload.value(slot, generation_of(slot / SLOTS_PER_TARGET), t);
                    let (value_bytes, rest) = self.compressed.bytes[at..at + SAMPLE_HOLE].split_at_mut(8);
                    value_bytes.copy_from_slice(&value.to_le_bytes());
                    rest.copy_from_slice(&end);
                }
                Hole::Generation { target } => {
                    let text = generation_text(generation_of(target));
                    self.compressed.bytes[at..at + GENERATION_DIGITS].copy_from_slice(&text);
                }
            }
        }
        &self.compressed.bytes
    }
}

/// A generation as the end of a pod's name.
pub fn generation_text(generation: u16) -> [u8; GENERATION_DIGITS] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [12, 8, 4, 0].map(|shift| DIGITS[usize::from(generation >> shift & 15)])
}

/// A timestamp as varint of its only length.
fn time_varint(t: i64) -> [u8; TIME_BYTES] {
    let mut bytes = [0; TIME_BYTES];
    for (i, byte) in bytes.iter_mut().enumerate() {
        let more = if i + 1 < TIME_BYTES { 0x80 } else { 0 };
        *byte = (t.cast_unsigned() >> (7 * i)).to_le_bytes()[0] & 0x7f | more;
    }
    bytes
}

/// Appends a varint.
pub fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends bytes, a text or a message.
fn push_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A message under construction.
#[derive(Default)]
struct Draft {
    bytes: Vec<u8>,
    ranges: Vec<Range<usize>>,
    holes: Vec<Hole>,
}

impl Draft {
    fn hole(&mut self, at: usize, len: usize, hole: Hole) {
        self.ranges.push(at..at + len);
        self.holes.push(hole);
    }

    /// Appends a series of field `field` that ends with its sample, which is field 2 in both versions.
    fn series(&mut self, field: u8, labels: &[u8], slot: u64) {
        let sample = [2 << 3 | 2, SAMPLE_HOLE.to_le_bytes()[0] + 1, 1 << 3 | 1];
        self.bytes.push(field << 3 | 2);
        push_varint(&mut self.bytes, (labels.len() + sample.len() + SAMPLE_HOLE) as u64);
        self.bytes.extend_from_slice(labels);
        self.bytes.extend_from_slice(&sample);
        let at = self.bytes.len();
        self.bytes.resize(at + SAMPLE_HOLE, 0);
        self.hole(at, SAMPLE_HOLE, Hole::Sample { slot });
    }

    fn v1(&mut self, workload: &Workload, slots: Range<u64>) {
        for slot in slots {
            let (pairs, pod) = workload.labels(slot);
            let (mut labels, mut generation) = (Vec::new(), 0);
            for (i, (name, mut value)) in pairs.into_iter().enumerate() {
                if i == pod {
                    value.push_str("0000");
                }
                let mut label = Vec::with_capacity(name.len() + value.len() + 8);
                push_bytes(&mut label, 1, name.as_bytes());
                push_bytes(&mut label, 2, value.as_bytes());
                push_bytes(&mut labels, 1, &label);
                if i == pod {
                    generation = labels.len() - GENERATION_DIGITS;
                }
            }
            let before = self.bytes.len();
            // the sample's hole comes after that of the generation
            let target = slot / SLOTS_PER_TARGET;
            self.hole(0, GENERATION_DIGITS, Hole::Generation { target });
            let index = self.ranges.len() - 1;
            self.series(1, &labels, slot);
            let labels_end = self.bytes.len() - SAMPLE_HOLE - 3;
            let at = labels_end - labels.len() + generation;
            debug_assert!(at > before, "the generation lies within its series");
            self.ranges[index] = at..at + GENERATION_DIGITS;
        }
    }

    fn v2(&mut self, workload: &Workload, slots: Range<u64>) {
        // the first text is always the empty one
        push_bytes(&mut self.bytes, 4, b"");
        let mut symbols: HashMap<String, u64> = HashMap::new();
        let mut series = Vec::new();
        for slot in slots {
            let (pairs, pod) = workload.labels(slot);
            let mut references = Vec::with_capacity(pairs.len() * 4);
            for (i, (name, value)) in pairs.into_iter().enumerate() {
                for (text, is_pod) in [(name, false), (value, i == pod)] {
                    let next = symbols.len() as u64 + 1;
                    let reference = *symbols.entry(text).or_insert_with_key(|text| {
                        let digits = if is_pod { "0000" } else { "" };
                        push_bytes(&mut self.bytes, 4, format!("{text}{digits}").as_bytes());
                        if is_pod {
                            let at = self.bytes.len() - GENERATION_DIGITS;
                            self.ranges.push(at..at + GENERATION_DIGITS);
                            self.holes.push(Hole::Generation { target: slot / SLOTS_PER_TARGET });
                        }
                        next
                    });
                    push_varint(&mut references, reference);
                }
            }
            let mut labels = Vec::with_capacity(references.len() + 4);
            push_bytes(&mut labels, 1, &references);
            series.push((slot, labels));
        }
        for (slot, labels) in series {
            self.series(5, &labels, slot);
        }
    }
}
