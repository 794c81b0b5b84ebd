//! Tables of text: for people, with tabs, with commas, or as JSON.

use std::io::Write;

use compat::format_rfc3339;
use serde_json::{Map, Value};
use storage::model::Timestamp;

use crate::flags::TableFormat;

/// Rows of as many cells as there are columns.
#[derive(Debug)]
pub struct Table {
    /// The names of the columns.
    pub header: Vec<&'static str>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Writes it out.
    ///
    /// # Errors
    /// Where `out` takes no more.
    pub fn write(&self, out: &mut impl Write, format: TableFormat) -> std::io::Result<()> {
        match format {
            TableFormat::Table => self.write_aligned(out),
            TableFormat::Tsv => self.write_separated(out, '\t'),
            TableFormat::Csv => self.write_separated(out, ','),
            TableFormat::Json => {
                let object = |row: &Vec<String>| {
                    let cells = self
                        .header
                        .iter()
                        .zip(row)
                        .map(|(name, cell)| ((*name).to_owned(), Value::from(cell.as_str())));
                    Value::Object(cells.collect::<Map<_, _>>())
                };
                writeln!(out, "{:#}", Value::Array(self.rows.iter().map(object).collect()))
            }
        }
    }

    fn lines(&self) -> impl Iterator<Item = Vec<&str>> {
        let rows = self.rows.iter().map(|row| row.iter().map(String::as_str).collect());
        std::iter::once(self.header.clone()).chain(rows)
    }

    fn write_aligned(&self, out: &mut impl Write) -> std::io::Result<()> {
        let mut widths = vec![0; self.header.len()];
        for line in self.lines() {
            for (width, cell) in widths.iter_mut().zip(&line) {
                *width = cell.chars().count().max(*width);
            }
        }
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
        for (index, line) in self.lines().enumerate() {
            let cells: Vec<String> =
                line.iter().zip(&widths).map(|(cell, &width)| format!(" {cell:width$} ")).collect();
            writeln!(out, "|{}|", cells.join("|"))?;
            if index == 0 {
                writeln!(out, "|{}|", rule.join("|"))?;
            }
        }
        Ok(())
    }

    /// Cells that hold the separator, a quote or a line's end are quoted, as RFC 4180 says.
    fn write_separated(&self, out: &mut impl Write, separator: char) -> std::io::Result<()> {
        for line in self.lines() {
            let quoted = line.iter().map(|cell| match cell.contains([separator, '"', '\n', '\r']) {
                true => format!("\"{}\"", cell.replace('"', "\"\"")),
                false => (*cell).to_owned(),
            });
            writeln!(out, "{}", quoted.collect::<Vec<_>>().join(&separator.to_string()))?;
        }
        Ok(())
    }
}

/// RFC 3339, to the second.
pub fn time_text(t: Timestamp) -> String {
    format_rfc3339(t.div_euclid(1000).saturating_mul(1000)).replace(".000Z", "Z")
}

/// A duration as Go prints it: `2h0m0s`.
pub fn duration_text(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let (seconds, millis) = (ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = if millis == 0 { String::new() } else { format!(".{millis:03}").trim_end_matches('0').to_owned() };
    match (hours, minutes, seconds) {
        (0, 0, 0) if millis > 0 => format!("{sign}{millis}ms"),
        (0, 0, _) => format!("{sign}{seconds}{fraction}s"),
        (0, ..) => format!("{sign}{minutes}m{seconds}{fraction}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format() {
        let table = Table {
            header: vec!["A", "LONG"],
            rows: vec![vec!["x,y".into(), "1".into()], vec!["é".into(), "\"q\"".into()]],
        };
        let text = |format| {
            let mut out = Vec::new();
            table.write(&mut out, format).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(TableFormat::Table), "| A   | LONG |\n|-----|------|\n| x,y | 1    |\n| é   | \"q\"  |\n");
        assert_eq!(text(TableFormat::Csv), "A,LONG\n\"x,y\",1\né,\"\"\"q\"\"\"\n");
        assert_eq!(text(TableFormat::Tsv), "A\tLONG\nx,y\t1\né\t\"\"\"q\"\"\"\n");
        assert!(text(TableFormat::Json).contains("\"LONG\": \"1\""));
    }

    #[test]
    fn times_to_the_second() {
        assert_eq!(time_text(1_767_225_607_081), "2026-01-01T00:00:07Z");
    }

    #[test]
    fn durations_as_go_prints_them() {
        for (ms, text) in [
            (0, "0s"),
            (7_200_000, "2h0m0s"),
            (300_000, "5m0s"),
            (1_500, "1.5s"),
            (20, "20ms"),
            (-60_000, "-1m0s"),
            (172_800_001, "48h0m0.001s"),
        ] {
            assert_eq!(duration_text(ms), text);
        }
    }
}
