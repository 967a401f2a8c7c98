// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One corpus, every engine: each case of `dsl/examples/` and `tests/cases/` and each golden file, on every engine, against the float64
//! oracle; golden files against the original's tensors, too. Every row and every lse obeys its bound.

use std::path::Path;

use attnc_tensor::Bounds;
use attnc_tensor::measure::{Comparison, Row};
use attnc_tests::corpus::{Golden, cases, golden};
use attnc_tests::engines::Engine;

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn agrees(path: &Path) -> TestResult {
    let cases = cases(path);
    for engine in Engine::all() {
        for c in cases.iter().filter(|c| engine.skips(c).is_none()) {
            engine
                .check(c)
                .map_err(|e| format!("{} at N = {}: {e}", c.op.name, c.seq_len))?;
        }
    }
    Ok(())
}

fn reproduces(path: &Path) -> TestResult {
    for g in golden(path) {
        for engine in Engine::all() {
            assert_eq!(engine.skips(&g.case), None, "golden data is small");
            let got = engine.run(&g.case, &g.x)?;
            let found = engine.judge(&g.case, &g.x, &got)?;
            original(&g, &got, found.verdict.bounds).map_err(|e| format!("{engine:?}: {e}"))?;
        }
    }
    Ok(())
}

/// Compares with the stored tensors under the bounds that the oracle's figures give.
fn original(g: &Golden, got: &attnc::Outcome, bounds: Bounds) -> Result<(), String> {
    let (h, d) = (g.case.op.heads as usize, g.case.op.head_dim as usize);
    let (want, want_lse) = (g.out.to_f64(), g.lse.to_f64());
    let (have, have_lse) = (got.out.to_f64(), got.lse.to_f64());
    let mut rows = Comparison::new();
    for (i, (got, want)) in have.chunks(d).zip(want.chunks(d)).enumerate() {
        let (b, n, head) = (i / h / g.x.seq_len, i / h % g.x.seq_len, i % h);
        let at = (b * h + head) * g.x.seq_len + n;
        let minus_infinity = want_lse[at] <= -9e7;
        rows.push(Row {
            got,
            want,
            got_lse: have_lse[at],
            want_lse: if minus_infinity {
                f64::NEG_INFINITY
            } else {
                want_lse[at]
            },
            covered: !minus_infinity || want.iter().any(|x| *x != 0.0),
        });
    }
    let verdict = rows.finish(bounds);
    if verdict.passed {
        Ok(())
    } else {
        Err(format!("against the original: {verdict:?}"))
    }
}

datatest_stable::harness! {
    { test = agrees, root = "../dsl/examples", pattern = r"\.attn$" },
    { test = agrees, root = "cases", pattern = r"\.attn$" },
    { test = reproduces, root = "golden", pattern = r"\.safetensors$" },
}
