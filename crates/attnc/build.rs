// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names the compiler that this library is, for the keys of the kernel cache.
//!
//! In: the sources of every crate that has a part in making kernels, and the lock file. Out: their SHA-256 as `ATTNC_COMPILER`, so that
//! a kernel that another compiler made, be it one of an uncommitted change, is never taken for this one's.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The crates whose code decides what a kernel is.
const CRATES: [&str; 8] = [
    "tensor",
    "tile",
    "spec",
    "graph",
    "rewrite",
    "schedule",
    "codegen-cpu",
    "attnc",
];

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() {
            files(&path, out);
        } else {
            out.push(path);
        }
    }
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all = Vec::new();
    for name in CRATES {
        let folder = root.join(name);
        for part in ["src", "Cargo.toml"].map(|part| folder.join(part)) {
            // Where the crates do not stand side by side, the version has to do.
            if part.exists() {
                println!("cargo::rerun-if-changed={}", part.display());
            }
            if part.is_file() {
                all.push(part);
            } else {
                files(&part, &mut all);
            }
        }
    }
    let lock = root.join("../Cargo.lock");
    if lock.exists() {
        println!("cargo::rerun-if-changed={}", lock.display());
        all.push(lock);
    }
    println!("cargo::rerun-if-changed=build.rs");
    let name = |path: &PathBuf| {
        let below = path.strip_prefix(&root).unwrap_or(path);
        below.to_string_lossy().into_owned()
    };
    all.sort_by_cached_key(name);
    let mut hash = Sha256::new();
    for path in &all {
        let (name, text) = (name(path), fs::read(path).unwrap_or_default());
        for part in [name.as_bytes(), &text] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    let digest: String = (hash.finalize().iter())
        .map(|b| format!("{b:02x}"))
        .collect();
    println!("cargo::rustc-env=ATTNC_COMPILER={digest}");
}
