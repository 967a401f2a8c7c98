// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a run tells: one object, the same for the table and for `--json`.
//!
//! In: the engine, the sizes, the times, the verification. Out: a [`RunReport`] whose serde form has the keys of the command line's contract, in its order.

use serde::Serialize;

use crate::engine::{Backend, Engine};
use crate::execute::{Outcome, median};
use crate::inputs::Inputs;
use crate::signature::Signature;
use crate::verify::Verified;

/// The report of one run. Counts are integers; non-finite numbers become `null` in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunReport {
    /// The operator's name.
    pub operator: String,
    /// What the target became.
    pub target: String,
    /// Name of the kernel.
    pub kernel: String,
    /// The backend.
    pub backend: String,
    /// Storage type.
    pub dtype: String,
    /// B.
    pub batch: u64,
    /// N.
    pub seq_len: u64,
    /// H.
    pub heads: u32,
    /// H_kv.
    pub kv_heads: u32,
    /// D.
    pub head_dim: u32,
    /// Whether the operator is causal.
    pub causal: bool,
    /// Worker threads.
    pub threads: u64,
    /// Milliseconds to make the engine.
    pub compile_ms: f64,
    /// Median milliseconds of a call.
    pub run_ms: f64,
    /// Milliseconds of every call.
    pub run_ms_all: Vec<f64>,
    /// 2 * madds_formula / run time / 1e9; none where the formula is unknown (stage text carries no operator).
    pub gflops: Option<f64>,
    /// Multiply-adds by formula; none where it is unknown.
    pub madds_formula: Option<u128>,
    /// Multiply-adds issued, padding included.
    pub madds_executed: u128,
    /// Bytes allocated beyond q, k, v, out and lse.
    pub peak_extra_bytes: u64,
    /// `hit`, `miss` or `off`.
    pub cache: String,
    /// What the verification found, if there was one.
    #[serde(flatten)]
    pub verification: Option<Verification>,
}

/// The verification's part of a report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verification {
    /// Whether everything is within its bound.
    pub verified: bool,
    /// Relative Frobenius error of out.
    pub error: f64,
    /// Largest error of lse, relative to max(1, |lse|).
    pub lse_error: f64,
    /// Rows compared.
    pub rows_checked: u64,
}

impl From<&Verified> for Verification {
    fn from(v: &Verified) -> Verification {
        Verification {
            verified: v.verdict.passed,
            error: v.verdict.error,
            lse_error: v.verdict.lse_error,
            rows_checked: v.rows_checked,
        }
    }
}

/// What a report is made of.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// What was called.
    pub signature: &'a Signature,
    /// With what.
    pub inputs: &'a Inputs,
    /// By what.
    pub engine: &'a dyn Engine,
    /// Which backend that is.
    pub backend: Backend,
    /// Worker threads.
    pub threads: usize,
    /// Milliseconds to make the engine.
    pub compile_ms: f64,
    /// What came of it.
    pub outcome: &'a Outcome,
    /// Multiply-adds by formula.
    pub madds_formula: Option<u128>,
    /// The verification.
    pub verified: Option<&'a Verified>,
}

impl RunReport {
    /// Puts the facts together.
    pub fn new(f: Facts<'_>) -> RunReport {
        let run_ms = median(&f.outcome.run_ms);
        let rate = |madds: u128| 2.0 * madds as f64 / (run_ms / 1e3) / 1e9;
        RunReport {
            operator: f.signature.name.clone(),
            target: f.engine.target().to_owned(),
            kernel: f.engine.kernel().to_owned(),
            backend: f.backend.name().to_owned(),
            dtype: f.signature.dtype.name().to_owned(),
            batch: f.inputs.batch as u64,
            seq_len: f.inputs.seq_len as u64,
            heads: f.signature.heads,
            kv_heads: f.signature.kv_heads,
            head_dim: f.signature.head_dim,
            causal: f.signature.causal,
            threads: f.threads as u64,
            compile_ms: f.compile_ms,
            run_ms,
            run_ms_all: f.outcome.run_ms.clone(),
            gflops: f.madds_formula.map(rate),
            madds_formula: f.madds_formula,
            madds_executed: f.outcome.executed.madds,
            peak_extra_bytes: f.outcome.executed.peak_extra_bytes,
            cache: f.engine.cache().name().to_owned(),
            verification: f.verified.map(Verification::from),
        }
    }
}
