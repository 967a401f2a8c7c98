// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Text to tree to text: `parse(print(m)) == m` over every PTX file of the test corpus.

use std::path::{Path, PathBuf};

/// Every `.ptx` file under `tests/ptx`.
fn corpus() -> Vec<PathBuf> {
    fn walk(d: &Path, out: &mut Vec<PathBuf>) {
        let mut entries: Vec<_> = std::fs::read_dir(d)
            .expect("test folder")
            .map(|e| e.expect("entry").path())
            .collect();
        entries.sort();
        for p in entries {
            if p.is_dir() {
                walk(&p, out);
            } else if p.extension().is_some_and(|x| x == "ptx") {
                out.push(p);
            }
        }
    }
    let mut out = Vec::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/ptx"),
        &mut out,
    );
    out
}

#[test]
fn every_file_survives_printing() {
    let files = corpus();
    assert!(files.len() >= 3);
    for f in files {
        let text = std::fs::read_to_string(&f).expect("readable");
        let m = attnc_ptx::parse(&text).unwrap_or_else(|e| panic!("{}:{e}", f.display()));
        let printed = attnc_ptx::print(&m);
        let again =
            attnc_ptx::parse(&printed).unwrap_or_else(|e| panic!("{} printed:{e}", f.display()));
        assert!(
            m == again,
            "{}: the printed text is another module",
            f.display()
        );
        assert_eq!(printed, attnc_ptx::print(&again));
    }
}
