// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The order of the house: who may import whom, how files open, how long they are, where `unsafe` stands.
//!
//! In: the manifests and sources of this repository. Out: every breach, by file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Floors, lowest first (ARCHITECTURE.md): a crate imports only from lower ones.
const FLOORS: [(&str, u32); 18] = [
    ("diag", 0),
    ("tensor", 0),
    ("ptx", 1),
    ("syntax", 1),
    ("tile", 1),
    ("spec", 2),
    ("oracle", 3),
    ("graph", 3),
    ("rewrite", 4),
    ("schedule", 4),
    ("interp", 4),
    ("lsp", 4),
    ("codegen-cpu", 5),
    ("runtime", 6),
    ("attnc", 7),
    ("cli", 8),
    ("ptx-emu", 8),
    ("tests", 9),
];

/// Imports that a crate exists to forbid, beyond the floors.
const FORBIDDEN: [(&str, &str); 7] = [
    ("schedule", "spec"),
    ("interp", "spec"),
    ("codegen-cpu", "spec"),
    ("codegen-cpu", "graph"),
    ("runtime", "spec"),
    ("ptx", "tile"),
    ("tile", "syntax"),
];

/// Where `unsafe` may stand; each block names the invariant that it leans on.
const UNSAFE: [&str; 5] = [
    "crates/codegen-cpu/src/jit.rs",
    "crates/runtime/src/",
    "crates/tensor/src/file.rs",
    "benches/src/ceiling.rs",
    "examples/",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file with this ending below `folder`, build folders left out.
fn files(folder: &Path, ending: &str, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a folder")
        .map(|e| e.expect("readable").path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                files(&path, ending, out);
            }
        } else if path.extension().is_some_and(|e| e == ending) {
            out.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    files(&root(), "rs", &mut paths);
    let read = |p: PathBuf| {
        let name = p.strip_prefix(root()).expect("below").display().to_string();
        (name, fs::read_to_string(p).expect("UTF-8"))
    };
    let all: Vec<_> = paths.into_iter().map(read).collect();
    assert!(all.len() > 100);
    all
}

fn nothing(what: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{what}:\n{}", breaches.join("\n"));
}

#[test]
fn crates_import_from_lower_floors_only() {
    let floors: BTreeMap<&str, u32> = FLOORS.into_iter().collect();
    let mut breaches = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(root().join("crates")).expect("crates") {
        let folder = entry.expect("readable").path();
        let name = folder
            .file_name()
            .and_then(|n| n.to_str())
            .expect("UTF-8")
            .to_string();
        let Some(floor) = floors.get(name.as_str()) else {
            breaches.push(format!("{name} has no floor"));
            continue;
        };
        seen += 1;
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        let manifest: toml::Table = manifest.parse().expect("TOML");
        let Some(toml::Value::Table(imports)) = manifest.get("dependencies") else {
            continue;
        };
        for import in imports.keys() {
            let import = match import.as_str() {
                "attnc" => "attnc",
                other => match other.strip_prefix("attnc-") {
                    Some(import) => import,
                    None => continue,
                },
            };
            if floors.get(import).is_none_or(|f| f >= floor) {
                breaches.push(format!("{name} imports {import}"));
            }
            let lone = name == "oracle" && !["spec", "tensor"].contains(&import)
                || name == "ptx" && import != "diag";
            if lone || FORBIDDEN.contains(&(name.as_str(), import)) {
                breaches.push(format!("{name} may not know {import}"));
            }
        }
    }
    assert_eq!(seen, FLOORS.len() - 1);
    nothing("floors", &breaches);
}

#[test]
fn files_open_with_their_licence_and_what_they_hold() {
    let mut breaches = Vec::new();
    for (name, text) in sources() {
        let mut lines = text.lines();
        let licence = lines.next() == Some("// SPDX-License-Identifier: Apache-2.0 OR MIT");
        let head = lines.next().is_some_and(|l| l.starts_with("//!"));
        if !licence || !head {
            breaches.push(name);
        }
    }
    nothing("heads", &breaches);
}

#[test]
fn files_have_at_most_eight_hundred_lines() {
    let long = |(name, text): (String, String)| {
        let lines = text.lines().count();
        (lines > 800).then(|| format!("{name}: {lines}"))
    };
    nothing(
        "length",
        &sources().into_iter().filter_map(long).collect::<Vec<_>>(),
    );
}

#[test]
fn unsafe_stands_only_where_the_house_allows_it() {
    let keyword = concat!("un", "safe ");
    let mut breaches = Vec::new();
    for (name, text) in sources() {
        if UNSAFE.iter().any(|a| name.starts_with(a)) {
            continue;
        }
        for (i, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            let word =
                code.trim_start().starts_with(keyword) || code.contains(&format!(" {keyword}"));
            if word && (code.contains('{') || code.contains("fn") || code.contains("impl")) {
                breaches.push(format!("{name}:{}: {}", i + 1, line.trim()));
            }
        }
    }
    nothing("unsafe", &breaches);
}

#[test]
fn nothing_is_left_unsaid() {
    let marks = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
    ];
    let mut breaches = Vec::new();
    for (name, text) in sources() {
        for mark in marks.iter().filter(|m| text.contains(**m)) {
            breaches.push(format!("{name}: {mark}"));
        }
    }
    nothing("marks", &breaches);
}
