//! The module graph has no upward edge: each module uses only those of lower rows, and modules of
//! one row do not use each other in circles. A new edge is a visible change of [`ROWS`]; a module
//! that is missing there fails. Code under `#[cfg(test)]` may use what it likes.

#[path = "layers/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom to the top. `lib` is the map of them all and stands outside.
const ROWS: [&[&str]; 15] = [
    &["types", "error", "gauge", "lines"],
    &["metrics", "wire", "config", "nodes"],
    &["tls", "logs"],
    &["auth", "stream"],
    &["tenant", "audit"],
    &["session"],
    &["upstream"],
    &["worker"],
    &["cancel", "fleet"],
    &["console", "http", "lifecycle", "demo"],
    &["front"],
    &["takeover", "systemd"],
    &["app"],
    &["cli"],
    &["main"],
];

/// Which module uses which others.
type Graph = BTreeMap<String, BTreeSet<String>>;

fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// Every breach of the table, one sentence each.
fn breaches(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for (module, used) in graph {
        let Some(own) = row(module) else {
            found.push(format!("module `{module}` has no row in the table"));
            continue;
        };
        for other in used.iter().filter(|other| *other != module) {
            match row(other) {
                None => found.push(format!("`{module}` uses `{other}`, which has no row")),
                Some(up) if up > own => found.push(format!("`{module}` uses `{other}`, above it")),
                Some(_) => {}
            }
        }
        if reaches(graph, module, module, &mut BTreeSet::new()) {
            found.push(format!("`{module}` uses itself through others"));
        }
    }
    found
}

fn reaches(graph: &Graph, from: &str, to: &str, seen: &mut BTreeSet<String>) -> bool {
    let next = graph
        .get(from)
        .into_iter()
        .flatten()
        .filter(|next| *next != from);
    next.into_iter()
        .any(|next| next == to || (seen.insert(next.clone()) && reaches(graph, next, to, seen)))
}

/// The graph of all files below a directory.
fn graph_of(src: &Path) -> Graph {
    let mut files = Vec::new();
    collect(src, &mut files);
    let mut sources = Vec::new();
    let mut test_files = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a readable source");
        let (code, tests) = source::without_tests(&source::code_only(&text));
        let dir = submodule_dir(&file);
        for name in tests {
            // And all that is below it. Those with a `path` of their own are named `.._tests.rs`.
            test_files.insert(dir.join(format!("{name}.rs")));
            test_files.insert(dir.join(name));
        }
        sources.push((file, code));
    }
    let mut graph = Graph::new();
    for (file, code) in sources
        .iter()
        .filter(|(file, _)| !file.to_string_lossy().ends_with("_tests.rs"))
        .filter(|(file, _)| !file.ancestors().any(|path| test_files.contains(path)))
    {
        let path = module_path(file.strip_prefix(src).expect("a file below src"));
        if path[0] != "lib" {
            let used = source::used_modules(code, path.len());
            graph.entry(path[0].clone()).or_default().extend(used);
        }
    }
    graph
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a readable directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// `a/b.rs` and `a/b/mod.rs` are `[a, b]`.
fn module_path(file: &Path) -> Vec<String> {
    let mut path: Vec<String> = file
        .with_extension("")
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    if path.len() > 1 && path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    path
}

/// Where the files of a module's own modules are.
fn submodule_dir(file: &Path) -> PathBuf {
    match file.file_stem().and_then(|stem| stem.to_str()) {
        Some("mod" | "lib" | "main") => file.parent().expect("a directory").to_owned(),
        _ => file.with_extension(""),
    }
}

#[test]
fn no_module_uses_one_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let graph = graph_of(&src);
    assert!(
        graph.contains_key("types") && graph.contains_key("main"),
        "nothing was read"
    );
    assert!(
        graph["upstream"].contains("types"),
        "the scanner finds no edges: {graph:?}"
    );
    let found = breaches(&graph);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn graph(edges: &[(&str, &[&str])]) -> Graph {
    let names = |used: &[&str]| used.iter().map(|name| (*name).to_owned()).collect();
    edges
        .iter()
        .map(|(module, used)| ((*module).to_owned(), names(used)))
        .collect()
}

#[test]
fn upward_edges_circles_and_strangers_are_breaches() {
    assert_eq!(
        breaches(&graph(&[("session", &["types", "session", "wire"])])),
        [""; 0]
    );
    assert_eq!(
        breaches(&graph(&[("wire", &["session"])])),
        ["`wire` uses `session`, above it"]
    );
    assert_eq!(breaches(&graph(&[("util", &[])])).len(), 1);
    assert_eq!(breaches(&graph(&[("wire", &["util"])])).len(), 1);
    let circle = graph(&[
        ("wire", &["config"]),
        ("config", &["metrics"]),
        ("metrics", &["wire"]),
    ]);
    assert_eq!(breaches(&circle).len(), 3);
}

#[test]
fn every_way_to_name_a_module_is_seen() {
    let code = "use crate::{types::{A, B}, error};\nfn f(x: crate::wire::X) { tenantry::app::run() }\n\
                use super::super::tls; use super::near; pub(in crate::auth) fn g() {}\n\
                my_crate::no(); use a::tenantry::no;";
    let mut used = source::used_modules(code, 2);
    used.sort();
    assert_eq!(used, ["app", "auth", "error", "tls", "types", "wire"]);
    assert_eq!(source::used_modules("use super::session;", 1), ["session"]);
}

#[test]
fn comments_literals_and_test_code_are_not_seen() {
    let text = r##"
        //! [`crate::one`]
        /* crate::two /* crate::three */ */
        const A: &str = "crate::four \" crate::five";
        const B: &str = r#"crate::six " crate::seven"#;
        fn f<'a>(x: &'a str) -> char { '"' }
        use crate::eight;
        #[cfg(test)]
        mod tests { use crate::nine; fn g() { let _ = [1; 2]; } }
        #[cfg(test)]
        mod cases;
        #[cfg(test)]
        use crate::ten;
        use crate::eleven;
    "##;
    let (code, files) = source::without_tests(&source::code_only(text));
    assert_eq!(source::used_modules(&code, 1), ["eight", "eleven"]);
    assert_eq!(files, ["cases"]);
}
