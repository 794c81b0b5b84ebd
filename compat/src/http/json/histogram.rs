//! Native histograms as JSON.
//!
//! ```text
//! {"count":"42","sum":"34593.34","buckets":[[3,"-0.25","0.25","3"],[0,"0.25","0.5","12"]]}
//! ```
//!
//! The first number of a bucket tells which bounds belong to it: 0 the upper, 1 the lower, 2 neither, 3 both. Buckets
//! without observations are left out, and `buckets` itself where there are none.

use storage::model::FloatHistogram;

use crate::http::number::push_quoted_float;

/// Appends `histogram`.
pub fn push_histogram(out: &mut Vec<u8>, histogram: &FloatHistogram) {
    out.extend_from_slice(br#"{"count":"#);
    push_quoted_float(out, histogram.count);
    out.extend_from_slice(br#","sum":"#);
    push_quoted_float(out, histogram.sum);
    let mut found = false;
    // most buckets begin where the one before ends, whose text is copied: half of the digits need not be made again
    let (mut last_upper, mut text) = (f64::NAN, 0..0);
    for bucket in histogram.iter_all().filter(|bucket| bucket.count != 0.0) {
        out.extend_from_slice(if found { b"," } else { br#","buckets":["# });
        found = true;
        out.extend_from_slice(match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => b"[0,",
            (true, false) => b"[1,",
            (false, false) => b"[2,",
            (true, true) => b"[3,",
        });
        if bucket.lower.to_bits() == last_upper.to_bits() {
            out.extend_from_within(text);
        } else {
            push_quoted_float(out, bucket.lower);
        }
        out.push(b',');
        let start = out.len();
        push_quoted_float(out, bucket.upper);
        (last_upper, text) = (bucket.upper, start..out.len());
        out.push(b',');
        push_quoted_float(out, bucket.count);
        out.push(b']');
    }
    if found {
        out.push(b']');
    }
    out.push(b'}');
}
