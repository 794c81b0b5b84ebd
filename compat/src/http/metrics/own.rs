//! The metrics of this process as samples, for a head of its own.

use prometheus_client::registry::Registry;

/// A sample: name and labels, and the value.
pub type OwnSample = (Vec<(String, String)>, f64);

/// Everything in the registry. Nothing where it cannot be written as text.
#[must_use]
pub fn own_samples(registry: &Registry) -> Vec<OwnSample> {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect(),
        Err(_) => Vec::new(),
    }
}

/// Reads `name{label="value",…} value`, which may have a timestamp or exemplar behind it.
fn sample(line: &str) -> Option<OwnSample> {
    let end = line.find(['{', ' '])?;
    let mut labels = vec![("__name__".to_owned(), line[..end].to_owned())];
    let mut rest = &line[end..];
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (name, after) = rest.trim_start_matches(',').split_once("=\"")?;
            let (value, after) = quoted(after)?;
            if !value.is_empty() {
                labels.push((name.to_owned(), value));
            }
            rest = after;
        }
        rest = &rest[1..];
    }
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some((labels, value))
}

/// The text up to the closing quote, unescaped, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            (_, other) => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(sample("up 1"), Some((vec![pair("__name__", "up")], 1.0)));
        let (labels, value) = sample("a_total{b=\"x\\\"y\\n\\\\\",c=\"\",d=\"}\"} 2.5 # {trace=\"1\"} 1").unwrap();
        assert_eq!(labels, [pair("__name__", "a_total"), pair("b", "x\"y\n\\"), pair("d", "}")]);
        assert!((value - 2.5).abs() < 1e-9);
        assert_eq!(sample("a{b=\"c} 1"), None);
        assert_eq!(sample("# EOF"), None);
    }
}
