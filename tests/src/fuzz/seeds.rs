// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where inputs start from: the corpus of the language, the printed stages, tensor files, and what once went wrong.
//!
//! In: a target's name. Out: named inputs. `tests/fuzz/TARGET/` holds the seeds of a target's own, regressions among them.

use std::fs;
use std::path::{Path, PathBuf};

/// The seeds of a target, by name.
pub fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    let own = tests.join("fuzz").join(target);
    if own.is_dir() {
        files(&own, "", &mut paths);
    }
    let snapshots =
        |ending: &str, paths: &mut Vec<PathBuf>| files(&tests.join("snapshots"), ending, paths);
    match target {
        "tokens" | "resolve" | "format" | "editor" => {
            files(&tests.join("../dsl"), ".attn", &mut paths);
            files(&tests.join("diagnostics"), ".attn", &mut paths);
        }
        "graph_text" | "lowered_graph" => {
            snapshots("-graph.snap", &mut paths);
            snapshots("-fused.snap", &mut paths);
        }
        "tile_text" => snapshots("-tile.x86_64.snap", &mut paths),
        _ => {}
    }
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).expect("a seed can be read");
        let name = path
            .strip_prefix(tests)
            .unwrap_or(&path)
            .display()
            .to_string();
        (name, without_head(bytes))
    };
    paths.into_iter().map(read).collect()
}

/// A snapshot without what insta writes above it.
fn without_head(bytes: Vec<u8>) -> Vec<u8> {
    let text = std::str::from_utf8(&bytes).unwrap_or("");
    match text
        .strip_prefix("---\n")
        .and_then(|rest| rest.split_once("\n---\n"))
    {
        Some((_, body)) => body.as_bytes().to_vec(),
        None => bytes,
    }
}

fn files(folder: &Path, ending: &str, out: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).expect("a folder of seeds");
    let mut entries: Vec<PathBuf> = entries.map(|e| e.expect("readable").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, ending, out);
        } else if path.to_string_lossy().ends_with(ending) {
            out.push(path);
        }
    }
}
