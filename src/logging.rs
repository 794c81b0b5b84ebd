//! The log: one line a message on standard error, as logfmt or JSON.
//!
//! ```text
//! ts=2026-01-01T00:00:00.000Z level=info caller=quiver::server msg="listening" address=0.0.0.0:10902
//! ```

use std::fmt::{self, Write};

use compat::format_rfc3339;
use serde_json::{Map, Value};
use storage::{Clock, SystemClock};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::flags::{LogFlags, LogFormat, LogLevel};

/// Writes messages from now on. A second call changes nothing.
pub fn start(flags: LogFlags) {
    let level = match flags.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .event_format(LineFormat { format: flags.format });
    // fails only where a log was started before
    let _ = subscriber.try_init();
}

struct LineFormat {
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            _ => "debug",
        };
        let head = [
            ("ts", format_rfc3339(SystemClock.now())),
            ("level", level.to_owned()),
            ("caller", event.metadata().target().to_owned()),
            ("msg", fields.message),
        ];
        let head = head.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value)));
        let all = head.chain(fields.rest);
        match self.format {
            LogFormat::Logfmt => writeln!(writer, "{}", logfmt(all)),
            LogFormat::Json => writeln!(writer, "{}", Value::Object(all.collect::<Map<String, Value>>())),
        }
    }
}

/// `name=value`, with quotes around a value that needs them.
fn logfmt(fields: impl Iterator<Item = (String, Value)>) -> String {
    let mut line = String::new();
    for (name, value) in fields {
        if !line.is_empty() {
            line.push(' ');
        }
        let text = match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let plain = !text.is_empty() && text.chars().all(|c| c > ' ' && !matches!(c, '"' | '=' | '\\' | '\u{7f}'));
        // writing to a string cannot fail
        let _ = if plain { write!(line, "{name}={text}") } else { write!(line, "{name}={}", Value::String(text)) };
    }
    line
}

/// What an event holds.
#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(String, Value)>,
}

impl Fields {
    fn push(&mut self, field: &Field, value: Value) {
        self.rest.push((field.name().to_owned(), value));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.push(field, Value::String(text));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.push(field, Value::String(value.to_owned()));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Value::from(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_they_must_be() {
        let fields =
            [("a", "plain"), ("b", "two words"), ("c", "say \"x\""), ("d", ""), ("e", "line\nbreak"), ("f", "k=v")];
        let line = logfmt(fields.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))));
        assert_eq!(line, r#"a=plain b="two words" c="say \"x\"" d="" e="line\nbreak" f="k=v""#);
    }
}
