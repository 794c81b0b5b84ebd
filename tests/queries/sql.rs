//! SQL over the golden blocks: the files of tests/sql, and what needs more than a file says.
//!
//! A file is run by one runner of sqllogictest, over blocks that nothing changes. With `QUIVER_SQL_COMPLETE=1` the answers that differ are
//! written into the files instead, to be read before they are committed.

mod database;
mod flight;
mod hostile;
mod http;
mod promql_twin;
mod tenants;

use std::path::PathBuf;

use sqllogictest::{Runner, default_column_validator, default_normalizer, default_validator};

use database::Database;

#[test]
fn the_files_of_statements_hold() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sql");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    files.sort();
    assert!(files.len() >= 8, "only {} files in tests/sql", files.len());
    let mut failures = Vec::new();
    for file in files {
        let of_order = file.file_stem().is_some_and(|name| name == "missing_labels");
        let connect = move || async move { Ok(if of_order { Database::order() } else { Database::golden() }) };
        let mut runner = Runner::new(connect);
        if std::env::var_os("QUIVER_SQL_COMPLETE").is_some() {
            let update =
                runner.update_test_file(&file, " ", default_validator, default_normalizer, default_column_validator);
            futures::executor::block_on(update).unwrap();
        } else if let Err(error) = runner.run_file(&file) {
            failures.push(error.display(false).to_string());
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
