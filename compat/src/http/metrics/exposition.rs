//! The two text formats of metrics: OpenMetrics for who asks for it, Prometheus's own 0.0.4 for everybody else.
//!
//! The registry writes OpenMetrics. The older format differs in what the header lines name: a counter's type stands
//! with its `_total`, an info's with its `_info` (as a gauge), there are no units and there is no end mark.

/// The content type of OpenMetrics.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of Prometheus's text format.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a client's `Accept` asks for OpenMetrics.
#[must_use]
pub fn wants_openmetrics(accept: &str) -> bool {
    accept
        .split(',')
        .any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == "application/openmetrics-text"))
}

/// OpenMetrics text as Prometheus's text format.
#[must_use]
pub fn to_text_format(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    // HELP comes before TYPE, which decides what HELP must name
    let mut help: Option<(&str, &str)> = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest.split_once(' ').unwrap_or((rest, "")));
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, words)) = help.take().filter(|(helped, _)| *helped == name) {
                text.push_str(&format!("# HELP {name}{suffix} {words}\n"));
            }
            text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_what_samples_are_called() {
        let openmetrics = "# HELP requests Requests.\n# TYPE requests counter\n# UNIT requests seconds\nrequests_total{a=\"b\"} 1\n\
                           # HELP build What runs.\n# TYPE build info\nbuild_info{v=\"1\"} 1\n\
                           # HELP up Whether.\n# TYPE up gauge\nup 1\n# EOF\n";
        let text = "# HELP requests_total Requests.\n# TYPE requests_total counter\nrequests_total{a=\"b\"} 1\n\
                    # HELP build_info What runs.\n# TYPE build_info gauge\nbuild_info{v=\"1\"} 1\n\
                    # HELP up Whether.\n# TYPE up gauge\nup 1\n";
        assert_eq!(to_text_format(openmetrics), text);
    }

    #[test]
    fn a_scraper_says_which_it_wants() {
        assert!(wants_openmetrics("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2"));
        assert!(!wants_openmetrics("*/*"));
        assert!(!wants_openmetrics(""));
    }
}
