// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The forward pass: all rows, or those asked for.
//!
//! In: operator and inputs. Out: `out` and `lse` in float64, with what the tolerances need to know of each row.

use attnc_spec::Operator;
use attnc_tensor::{Storage, Tensor};
use rayon::prelude::*;

use crate::inputs::{Inputs, OracleError};
use crate::row::{Evaluated, counts, evaluate};

/// Names one row of `out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId {
    /// Batch entry b.
    pub batch: usize,
    /// Query head h.
    pub head: u32,
    /// Position n.
    pub position: usize,
}

/// One row of the result.
#[derive(Clone, Debug, PartialEq)]
pub struct RowResult {
    /// D elements.
    pub out: Vec<f64>,
    /// Natural log of the summed weights; -inf where nothing covers the row.
    pub lse: f64,
    /// Keys the row sees, once per branch, zero keys included; 0 exactly where no branch covers it.
    pub keys: u64,
    /// Largest finite |score| among them.
    pub max_abs_score: f64,
}

impl RowResult {
    /// Whether some branch covers the row.
    pub fn covered(&self) -> bool {
        self.keys > 0
    }
}

impl From<Evaluated> for RowResult {
    fn from(e: Evaluated) -> RowResult {
        RowResult {
            out: e.out,
            lse: e.lse,
            keys: e.keys,
            max_abs_score: e.max_abs_score,
        }
    }
}

/// The whole result.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// `[B, N, H, D]`, f64.
    pub out: Tensor,
    /// `[B, H, N]`, f64.
    pub lse: Tensor,
    /// Most keys a row sees.
    pub keys: u64,
    /// Largest finite |score|.
    pub max_abs_score: f64,
}

/// Evaluates the rows asked for, in their order, on all cores. `done` hears how many rows were finished, from any thread.
pub fn forward_rows(
    op: &Operator,
    x: &Inputs<'_>,
    rows: &[RowId],
    done: &(dyn Fn(u64) + Sync),
) -> Result<Vec<RowResult>, OracleError> {
    let exists = |r: &&RowId| r.batch < x.batch && r.head < op.heads && r.position < x.seq_len;
    if let Some(r) = rows.iter().find(|r| !exists(r)) {
        return Err(OracleError::NoSuchRow {
            batch: r.batch,
            head: r.head,
            position: r.position,
        });
    }
    Ok(rows
        .par_iter()
        .map(|r| {
            let row = evaluate(op, x, r.batch, r.head, r.position).into();
            done(1);
            row
        })
        .collect())
}

/// Evaluates every row.
pub fn forward(
    op: &Operator,
    x: &Inputs<'_>,
    done: &(dyn Fn(u64) + Sync),
) -> Result<Forward, OracleError> {
    let (heads, dim) = (op.heads as usize, op.head_dim as usize);
    let mut out = Tensor::zeros(Storage::F64, &[x.batch, x.seq_len, heads, dim])?;
    let mut lse = Tensor::zeros(Storage::F64, &[x.batch, heads, x.seq_len])?;
    let (mut keys, mut max_abs_score) = (0, 0.0f64);
    if let (Some(out), Some(lse)) = (out.as_mut_slice::<f64>(), lse.as_mut_slice::<f64>()) {
        // One work item is one position with all its heads, which lie together in `out`; lse has another order and is filled after.
        let stats: Vec<Vec<(f64, u64, f64)>> = out
            .par_chunks_mut(heads * dim)
            .enumerate()
            .map(|(bn, part)| {
                let (b, n) = (bn / x.seq_len, bn % x.seq_len);
                let one = |(h, to): (usize, &mut [f64])| {
                    let e = evaluate(op, x, b, h as u32, n);
                    to.copy_from_slice(&e.out);
                    (e.lse, e.keys, e.max_abs_score)
                };
                let stats = part.chunks_mut(dim).enumerate().map(one).collect();
                done(heads as u64);
                stats
            })
            .collect();
        for (bn, row) in stats.iter().enumerate() {
            let (b, n) = (bn / x.seq_len, bn % x.seq_len);
            for (h, &(l, k, s)) in row.iter().enumerate() {
                lse[(b * heads + h) * x.seq_len + n] = l;
                keys = keys.max(k);
                max_abs_score = max_abs_score.max(s);
            }
        }
    }
    Ok(Forward {
        out,
        lse,
        keys,
        max_abs_score,
    })
}

/// Each branch's own log-sum-exp, `[branches, B, H, N]` in f64; -inf where the branch does not cover the row
/// or, by `zero_lse = uncovered`, counts as not covering it.
pub fn branch_lse(op: &Operator, x: &Inputs<'_>) -> Result<Tensor, OracleError> {
    let heads = op.heads as usize;
    let shape = [op.branches.len(), x.batch, heads, x.seq_len];
    let mut t = Tensor::zeros(Storage::F64, &shape)?;
    if let Some(t) = t.as_mut_slice::<f64>() {
        t.fill(f64::NEG_INFINITY);
        for b in 0..x.batch {
            for h in 0..heads {
                for n in 0..x.seq_len {
                    let row = evaluate(op, x, b, h as u32, n);
                    for r in row.branches.iter().filter(|r| counts(op, r)) {
                        t[((r.branch * x.batch + b) * heads + h) * x.seq_len + n] = r.lse();
                    }
                }
            }
        }
    }
    Ok(t)
}
