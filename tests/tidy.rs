//! Checks what no compiler checks: which crate may see which, how long files are, and that each says what it is for.
//!
//! Everything is read as text, so that this runs in a moment. A place that cannot follow a rule yet stands in
//! [`EXCEPTIONS`], which may only shrink: one that is no longer needed fails the test too.

#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Most lines of a file without its tests.
const FILE_LINES_MAX: usize = 600;

/// Most lines of tests in the file that they test; more stand in `foo/tests.rs`.
const INLINE_TEST_LINES_MAX: usize = 200;

/// Rule and path of what may break it for now.
const EXCEPTIONS: &[(Rule, &str)] = &[];

/// Folder of a crate and the crates of this workspace that it may name. Edges point downward only.
const EDGES: &[(&str, &[&str])] = &[
    ("storage", &[]),
    ("promql", &["quiver-storage"]),
    ("engine", &["quiver-promql", "quiver-storage"]),
    ("flight", &["quiver-engine", "quiver-promql", "quiver-storage"]),
    ("compat", &["quiver-engine", "quiver-promql", "quiver-storage"]),
    (".", &["quiver-compat", "quiver-flight", "quiver-engine", "quiver-promql", "quiver-storage"]),
];

/// Folder of a crate and the beginnings of names of foreign crates that it may not name, not even in its tests.
const FOREIGN: &[(&str, &[&str])] = &[
    ("storage", &["datafusion", "tonic", "axum", "hyper", "prost", "tower"]),
    (
        "promql",
        &["datafusion", "arrow", "tokio", "futures", "async-", "object_store", "tonic", "axum", "hyper", "prost"],
    ),
    ("engine", &["tonic", "axum", "hyper", "prost", "tower"]),
];

/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    CrateEdge,
    FileLength,
    InlineTests,
    ModuleDoc,
    ModuleName,
    Unfinished,
}

/// One place that breaks a rule.
struct Violation {
    rule: Rule,
    path: String,
    what: String,
}

#[test]
fn the_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = crate_edges(root);
    for path in rust_files(root) {
        let text = fs::read_to_string(root.join(&path)).unwrap();
        found.extend(check_file(&path, &text));
    }
    let broken: BTreeSet<(Rule, &str)> = found.iter().map(|v| (v.rule, v.path.as_str())).collect();
    let unlisted = found.iter().filter(|v| !EXCEPTIONS.contains(&(v.rule, v.path.as_str())));
    let mut report: Vec<String> = unlisted.map(|v| format!("{}: {:?}: {}", v.path, v.rule, v.what)).collect();
    for (rule, path) in EXCEPTIONS.iter().filter(|exception| !broken.contains(exception)) {
        report.push(format!("{path}: {rule:?}: this exception is no longer needed: take it off the list"));
    }
    assert!(report.is_empty(), "\n{}\n", report.join("\n"));
}

/// What the manifests and the imports say of who sees whom.
fn crate_edges(root: &Path) -> Vec<Violation> {
    let mut found = Vec::new();
    for (folder, allowed) in EDGES {
        let path = if *folder == "." { "Cargo.toml".to_owned() } else { format!("{folder}/Cargo.toml") };
        let Ok(manifest) = fs::read_to_string(root.join(&path)) else {
            assert!(!root.join(folder).join("src").exists(), "{path} cannot be read");
            continue;
        };
        let foreign = FOREIGN.iter().find(|(of, _)| of == folder).map_or(&[][..], |(_, names)| names);
        for name in dependency_names(&manifest) {
            let ours = name.starts_with("quiver");
            let forbidden = foreign.iter().any(|prefix| name.starts_with(prefix));
            if (ours && !allowed.contains(&name.as_str())) || forbidden {
                let what = format!("may not depend on {name}");
                found.push(Violation { rule: Rule::CrateEdge, path: path.clone(), what });
            }
        }
    }
    found
}

/// The names in every table of dependencies of a manifest, without those of the workspace.
fn dependency_names(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            inside = table.ends_with("dependencies") && !table.starts_with("workspace");
            if let Some((kind, name)) = table.rsplit_once('.')
                && kind.ends_with("dependencies")
                && !kind.starts_with("workspace")
            {
                names.insert(name.to_owned());
            }
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let end = line.find(['.', '=', ' ']).unwrap_or(line.len());
            names.insert(line[..end].to_owned());
        }
    }
    names
}

/// Everything that a single file may break.
fn check_file(path: &str, text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut say = |rule, what: String| found.push(Violation { rule, path: path.to_owned(), what });
    let lines: Vec<&str> = text.lines().collect();
    let name = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".rs");

    let code = code_lines(&lines);
    if code > FILE_LINES_MAX {
        say(Rule::FileLength, format!("{code} lines, {FILE_LINES_MAX} are the end: split it by what it holds"));
    }
    let tests = lines.len() - code;
    if tests > INLINE_TEST_LINES_MAX {
        say(Rule::InlineTests, format!("{tests} lines of tests: move them to {name}/tests.rs"));
    }
    // foo/tests.rs says by its place what it tests
    let first = lines.iter().find(|line| !line.starts_with("#!["));
    if name != "tests" && !first.is_some_and(|line| line.starts_with("//! ")) {
        say(Rule::ModuleDoc, "does not begin with what it is for (//!)".to_owned());
    }
    if name == "mod" || EMPTY_NAMES.contains(&name) {
        say(Rule::ModuleName, format!("no file is called {name}.rs here"));
    }
    for (number, line) in lines.iter().enumerate() {
        for mark in unfinished_marks() {
            if line.contains(mark) {
                say(Rule::Unfinished, format!("line {}: {mark}", number + 1));
            }
        }
        if path.starts_with("promql/src/") && names_storage_past_model(line) {
            say(Rule::CrateEdge, format!("line {}: promql sees only storage::model", number + 1));
        }
    }
    found
}

/// Marks of work that was put off, written so that this file does not hold them.
fn unfinished_marks() -> [&'static str; 4] {
    [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[ig", "nore"), concat!("FIX", "ME")]
}

/// How many lines come before the tests, which stand at the end.
fn code_lines(lines: &[&str]) -> usize {
    let starts = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    lines.windows(2).position(starts).unwrap_or(lines.len())
}

/// Whether a line reaches into storage elsewhere than its model.
fn names_storage_past_model(line: &str) -> bool {
    line.match_indices("storage::").any(|(at, matched)| {
        let before = line[..at].chars().next_back();
        let whole_word = !before.is_some_and(|c| c.is_alphanumeric() || c == '_');
        whole_word && !line[at + matched.len()..].starts_with("model")
    })
}

/// Every Rust file of the repository, relative to its root.
fn rust_files(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if kind.is_file() && name.ends_with(".rs") {
                let relative = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
                files.push(relative);
            }
        }
    }
    assert!(files.len() > 50, "only {} Rust files under {}", files.len(), root.display());
    files.sort();
    files
}

#[test]
fn dependencies_are_read_from_every_table() {
    let manifest = "[workspace.dependencies]\na = \"1\"\n[dependencies]\nb.workspace = true\nc = { path = \"c\" }\n\n# d = \"1\"\n\
                    [dev-dependencies]\ne = \"1\"\n[target.'cfg(unix)'.dependencies]\nf=\"1\"\n[dependencies.g]\nversion = \"1\"\n[lints]\nh = 1\n";
    let names: Vec<String> = dependency_names(manifest).into_iter().collect();
    assert_eq!(names, ["b", "c", "e", "f", "g"]);
}

#[test]
fn every_rule_bites() {
    let long = format!("//! Doc.\n{}", "//\n".repeat(FILE_LINES_MAX));
    let tests = format!("//! Doc.\n#[cfg(test)]\nmod tests {{\n{}", "//\n".repeat(INLINE_TEST_LINES_MAX));
    let unfinished = format!("//! Doc.\n{}\n", unfinished_marks()[3]);
    for (path, text, rule) in [
        ("a/src/a.rs", long.as_str(), Rule::FileLength),
        ("a/src/a.rs", tests.as_str(), Rule::InlineTests),
        ("a/src/a.rs", "fn a() {}\n", Rule::ModuleDoc),
        ("a/src/b/mod.rs", "//! Doc.\n", Rule::ModuleName),
        ("a/src/utils.rs", "//! Doc.\n", Rule::ModuleName),
        ("a/src/a.rs", unfinished.as_str(), Rule::Unfinished),
        ("promql/src/a.rs", "//! Doc.\nuse storage::Store;\n", Rule::CrateEdge),
    ] {
        let rules: Vec<Rule> = check_file(path, text).into_iter().map(|v| v.rule).collect();
        assert_eq!(rules, [rule], "{path}");
    }
    for (path, text) in
        [("a/src/a/tests.rs", "fn a() {}\n"), ("promql/src/a.rs", "//! Doc.\nuse storage::model::Matcher;\n")]
    {
        assert!(check_file(path, text).is_empty(), "{path}");
    }
}
