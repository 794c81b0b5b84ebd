//! What there is: catalogs, schemas, tables, types of tables, keys.

use std::sync::{Arc, LazyLock};

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::sql::metadata::XdbcTypeInfoData;
use arrow_flight::sql::{CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables};
use engine::sql::{CATALOG, METRICS, SYSTEM, SYSTEM_TABLES, SqlRequest};
use tonic::Status;

use super::{DoGet, FlightSql, one_batch};
use crate::metadata::{TABLE_TYPES, XDBC_TYPES};
use crate::status::{internal, status};

/// Of primary keys, of which there are none.
pub(super) static PRIMARY_KEYS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text("catalog_name", true),
        text("db_schema_name", true),
        text("table_name", false),
        text("column_name", false),
        text("key_name", true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
});

/// Of foreign keys, of which there are none either.
pub(super) static FOREIGN_KEYS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text("pk_catalog_name", true),
        text("pk_db_schema_name", true),
        text("pk_table_name", false),
        text("pk_column_name", false),
        text("fk_catalog_name", true),
        text("fk_db_schema_name", true),
        text("fk_table_name", false),
        text("fk_column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("fk_key_name", true),
        text("pk_key_name", true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
});

pub(super) fn xdbc_types() -> Result<&'static XdbcTypeInfoData, Status> {
    XDBC_TYPES.as_ref().map_err(internal)
}

pub(super) fn catalogs(query: CommandGetCatalogs) -> Result<DoGet, Status> {
    let mut catalogs = query.into_builder();
    catalogs.append(CATALOG);
    one_batch(catalogs.build())
}

pub(super) fn schemas(query: CommandGetDbSchemas) -> Result<DoGet, Status> {
    let mut schemas = query.into_builder();
    for schema in [METRICS, SYSTEM] {
        schemas.append(CATALOG, schema);
    }
    one_batch(schemas.build())
}

pub(super) fn table_types(query: CommandGetTableTypes) -> Result<DoGet, Status> {
    let mut types = query.into_builder();
    TABLE_TYPES.iter().for_each(|name| types.append(name));
    one_batch(types.build())
}

impl FlightSql {
    /// The tables that pass, with their columns where they are wanted. Columns are looked up for those that pass only.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` where too many statements run, and the engine's.
    pub(super) async fn tables(&self, query: CommandGetTables, request: SqlRequest) -> Result<DoGet, Status> {
        let _pass = self.admit(request.timeout).await?;
        let [table, view] = TABLE_TYPES;
        let none = Schema::empty();
        let metrics = self.sql.metric_names(request.clone()).await.map_err(status)?;
        let mut names = CommandGetTables { include_schema: false, ..query.clone() }.into_builder();
        for metric in metrics {
            names.append(CATALOG, METRICS, metric, table, &none).map_err(internal)?;
        }
        for name in SYSTEM_TABLES {
            names.append(CATALOG, SYSTEM, name, view, &none).map_err(internal)?;
        }
        let passing = names.build().map_err(internal)?;
        if !query.include_schema {
            return one_batch(Ok(passing));
        }
        let text = |column: usize| passing.column(column).as_string::<i32>();
        let (schemas, tables) = (text(1), text(2));
        let mut described = query.into_builder();
        for (schema, kind) in [(METRICS, table), (SYSTEM, view)] {
            let of_schema = (0..passing.num_rows()).filter(|&row| schemas.value(row) == schema);
            let names = of_schema.map(|row| tables.value(row).to_owned()).collect();
            for (name, columns) in self.sql.table_schemas(request.clone(), schema, names).await.map_err(status)? {
                described.append(CATALOG, schema, name, kind, &columns).map_err(internal)?;
            }
        }
        one_batch(described.build())
    }
}
