//! Bodies of remote write, put together by hand.

/// The headers of version 1.0.
pub const REMOTE_WRITE: &str = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n";

/// The headers of version 2.0.
pub const REMOTE_WRITE_2: &str = "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n\
    Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 2.0.0\r\n";

/// A request with one sample for each of `series` series named `written`, compressed.
pub fn request(series: usize, t: i64, value: f64) -> Vec<u8> {
    let labels = (0..series).map(|n| [("__name__", "written".to_owned()), ("n", n.to_string())]);
    request_of(labels, t, value)
}

/// A request with one sample for each label set, compressed.
pub fn request_of<const N: usize>(
    series: impl Iterator<Item = [(&'static str, String); N]>,
    t: i64,
    value: f64,
) -> Vec<u8> {
    let mut body = Vec::new();
    for labels in series {
        let mut timeseries = Vec::new();
        for (name, value) in labels {
            let mut label = Vec::new();
            field(&mut label, 1, name.as_bytes());
            field(&mut label, 2, value.as_bytes());
            field(&mut timeseries, 1, &label);
        }
        field(&mut timeseries, 2, &sample(t, value));
        field(&mut body, 1, &timeseries);
    }
    compress(&body)
}

/// A `Sample`.
pub fn sample(t: i64, value: f64) -> Vec<u8> {
    let mut sample = vec![1 << 3 | 1];
    sample.extend(value.to_le_bytes());
    sample.push(2 << 3);
    varint(&mut sample, t as u64);
    sample
}

/// A snappy block.
pub fn compress(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).unwrap()
}

/// Appends a field of bytes.
pub fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// Appends a varint.
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
