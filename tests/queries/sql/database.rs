//! The golden blocks as sqllogictest sees a database.

use std::sync::OnceLock;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use engine::sql::SqlRequest;
use sqllogictest::{DB, DBOutput, DefaultColumnType};
use storage::model::TenantScope;

use crate::served::{NOW_MS, Served, golden};

/// A connection: statements are answered one by one.
pub struct Database {
    served: &'static Served,
    tenant: TenantScope,
}

impl Database {
    /// Over all of the golden blocks.
    pub fn golden() -> Self {
        Self::over(Served::shared())
    }

    /// Over blocks whose series have a label or lack it.
    pub fn order() -> Self {
        static ORDER: OnceLock<Served> = OnceLock::new();
        Self::over(ORDER.get_or_init(|| Served::over(golden("order/bucket"), 2)))
    }

    fn over(served: &'static Served) -> Self {
        Self { served, tenant: TenantScope::All }
    }

    /// As [`golden`](Self::golden), for a tenant.
    pub fn golden_of(label: &str, tenant: &str) -> Self {
        Self { tenant: TenantScope::Only { label: label.into(), tenant: tenant.into() }, ..Self::golden() }
    }

    /// The answer of a statement, complete.
    pub fn answer(&self, sql: &str) -> engine::Result<Vec<RecordBatch>> {
        self.served.sql(SqlRequest { tenant: self.tenant.clone(), ..SqlRequest::new(sql, NOW_MS) })
    }

    /// The rows of a statement as text.
    pub fn rows(&self, sql: &str) -> engine::Result<Vec<Vec<String>>> {
        let options = FormatOptions::default().with_null("NULL");
        let mut rows = Vec::new();
        for batch in self.answer(sql)? {
            let columns: Vec<ArrayFormatter<'_>> =
                batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
            for row in 0..batch.num_rows() {
                rows.push(columns.iter().map(|column| shown(&column.value(row).to_string())).collect());
            }
        }
        Ok(rows)
    }
}

/// As a file of statements has it: an empty text would be no column at all.
fn shown(text: &str) -> String {
    if text.is_empty() { "(empty)".to_owned() } else { text.replace('\n', "\\n") }
}

impl DB for Database {
    type Error = engine::Error;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> engine::Result<DBOutput<DefaultColumnType>> {
        let mut rows = self.rows(sql)?;
        // plans are answers of many lines, and lines are rows here
        if sql.trim_start().starts_with("EXPLAIN") {
            let lines = |row: &Vec<String>| {
                let text = row.last().cloned().unwrap_or_default();
                let lines = text.split("\\n").filter(|line| !line.is_empty());
                lines.map(|line| vec![line.replace("  ", "--")]).collect::<Vec<_>>()
            };
            rows = rows.iter().flat_map(lines).collect();
        }
        let columns = rows.first().map_or(1, Vec::len);
        Ok(DBOutput::Rows { types: vec![DefaultColumnType::Text; columns], rows })
    }

    fn engine_name(&self) -> &str {
        "quiver"
    }
}
