//! Every input of the fuzz corpus, with the targets as they are compiled here: what fuzzing once
//! found, or found to be worth keeping, holds in every test run.

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "elsewhere it is a crate of its own")]
mod fuzz;

use std::path::{Path, PathBuf};

/// An input may be anything, so the corpus stays small enough to be read at once.
const MOST_BYTES: u64 = 1 << 20;

#[test]
fn what_fuzzing_has_found_holds() {
    let mut bytes = 0;
    for (name, target) in fuzz::TARGETS {
        let inputs = inputs(name);
        assert!(!inputs.is_empty(), "fuzz/corpus/{name} is empty");
        for input in inputs {
            let data = std::fs::read(&input).expect("a file of the corpus can be read");
            bytes += data.len() as u64;
            let held = std::panic::catch_unwind(|| target(&data));
            assert!(held.is_ok(), "{} breaks a promise", input.display());
        }
    }
    assert!(bytes < MOST_BYTES, "{bytes} bytes of corpus");
}

#[test]
fn every_target_is_built_and_has_a_corpus() {
    let mut listed: Vec<String> = fuzz::TARGETS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    listed.sort();
    let mut built: Vec<String> = inputs("../targets")
        .iter()
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    built.sort();
    assert_eq!(listed, built);
}

fn inputs(folder: &str) -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let Ok(files) = std::fs::read_dir(corpus.join(folder)) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = files
        .map(|file| file.expect("its folder can be read").path())
        .collect();
    found.sort();
    found
}
