// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One row of the operator: every branch on its own, then their mixture.
//!
//! In: operator, inputs, (batch, head, position). Out: per branch the unnormalised weights, their sum and the branch's output; the weights alpha with which
//! branches are mixed; the combined output and log-sum-exp. Forward and backward both start here.
//!
//! Special values: a NaN or +inf score makes `out` and `lse` of the row NaN, and so does a row whose scores are all -inf; -inf beside finite scores has
//! weight 0; a visible NaN value makes the whole `out` row NaN (the lse stays).

use attnc_spec::{Operator, ZeroLse};

use crate::index::{Query, Seen, seen};
use crate::inputs::{Inputs, add_scaled, dot};

/// One branch's part of a row.
#[derive(Clone, Debug)]
pub(crate) struct BranchRow {
    /// Index of the branch.
    pub(crate) branch: usize,
    /// What the row sees in it.
    pub(crate) seen: Seen,
    /// exp(s - max) of the visible keys, in order.
    pub(crate) weights: Vec<f64>,
    /// Largest score, zero keys included; -inf if every score is.
    pub(crate) max: f64,
    /// Sum of exp(s - max), zero keys included.
    pub(crate) sum: f64,
    /// sum of exp(s - max) v.
    pub(crate) acc: Vec<f64>,
    /// The mixing weight.
    pub(crate) alpha: f64,
}

impl BranchRow {
    /// The branch's own log-sum-exp.
    pub(crate) fn lse(&self) -> f64 {
        self.max + self.sum.ln()
    }

    /// The branch's own output.
    pub(crate) fn out(&self) -> Vec<f64> {
        self.acc.iter().map(|a| a / self.sum).collect()
    }
}

/// A row, evaluated.
#[derive(Clone, Debug)]
pub(crate) struct Evaluated {
    /// The branches that cover it.
    pub(crate) branches: Vec<BranchRow>,
    pub(crate) out: Vec<f64>,
    pub(crate) lse: f64,
    /// Visible keys, counted once per branch, zero keys included.
    pub(crate) keys: u64,
    /// Largest finite |score|.
    pub(crate) max_abs_score: f64,
}

/// Evaluates row `n` of head `h` in batch entry `b`.
pub(crate) fn evaluate(op: &Operator, x: &Inputs<'_>, b: usize, h: u32, n: usize) -> Evaluated {
    let mut row = Evaluated {
        branches: Vec::new(),
        out: vec![0.0; op.head_dim as usize],
        lse: f64::NEG_INFINITY,
        keys: 0,
        max_abs_score: 0.0,
    };
    let mut poisoned = false;
    for (i, branch) in op.branches.iter().enumerate() {
        if let Some(s) = seen(op, branch, h, n as u64, x.seq_len as u64) {
            let (one, bad) = branch_row(op, x, (b, h), i, s, &mut row.max_abs_score);
            row.keys += s.count + s.zeros;
            row.branches.push(one);
            poisoned |= bad;
        }
    }
    if row.branches.is_empty() {
        return row;
    }
    mix(op, &mut row);
    if poisoned {
        row.lse = f64::NAN;
    }
    if row.lse.is_nan()
        || (row.out.iter().any(|o| o.is_nan()) && sees_nan_value(op, x, (b, h), &row))
    {
        row.out.fill(f64::NAN);
    }
    row
}

/// Whether a visible value holds a NaN (as opposed to an `inf - inf` or `0 * inf` in one component).
fn sees_nan_value(op: &Operator, x: &Inputs<'_>, (b, h): (usize, u32), row: &Evaluated) -> bool {
    let mut found = false;
    for r in &row.branches {
        let s = r.seen;
        let keys = (s.first as usize, s.step as usize, s.count as usize);
        x.v.walk((b, kv_head(op, h)), keys, |_, v| {
            found |= v.iter().any(|e| e.is_nan());
        });
    }
    found
}

/// The key/value head of a query head.
pub(crate) fn kv_head(op: &Operator, h: u32) -> usize {
    (h / (op.heads / op.kv_heads)) as usize
}

/// Scores, weights and output of one branch; whether a score poisons the row.
fn branch_row(
    op: &Operator,
    x: &Inputs<'_>,
    (b, h): (usize, u32),
    branch: usize,
    s: Seen,
    max_abs: &mut f64,
) -> (BranchRow, bool) {
    let kv = kv_head(op, h);
    let q = match s.query {
        Query::Real(at) => x.q.row(b, at as usize, h as usize),
        Query::Padding => vec![0.0; op.head_dim as usize],
    };
    let keys = (s.first as usize, s.step as usize, s.count as usize);
    let mut weights = vec![0.0; keys.2];
    // A zero key scores 0.
    let mut max = if s.zeros > 0 { 0.0 } else { f64::NEG_INFINITY };
    let mut poisoned = false;
    x.k.walk((b, kv), keys, |j, k| {
        let score = op.scale * dot(&q, k);
        weights[j] = score;
        max = f64::max(max, score);
        poisoned |= score.is_nan() || score == f64::INFINITY;
        if score.is_finite() {
            *max_abs = max_abs.max(score.abs());
        }
    });
    for w in &mut weights {
        // All -inf: nothing has weight in this branch; the mixture decides what that means for the row.
        *w = if *w == f64::NEG_INFINITY {
            0.0
        } else {
            (*w - max).exp()
        };
    }
    let mut sum: f64 = weights.iter().sum();
    if s.zeros > 0 {
        sum += s.zeros as f64 * (-max).exp();
    }
    let mut acc = vec![0.0; op.head_dim as usize];
    x.v.walk((b, kv), keys, |j, v| add_scaled(&mut acc, weights[j], v));
    let row = BranchRow {
        branch,
        seen: s,
        weights,
        max,
        sum,
        acc,
        alpha: 0.0,
    };
    (row, poisoned)
}

/// Whether a covering branch counts as covering: not under `zero_lse = uncovered` if it shows exactly one key, whose score is exactly 0.
pub(crate) fn counts(op: &Operator, row: &BranchRow) -> bool {
    match op.profile.zero_lse {
        ZeroLse::Covered => true,
        ZeroLse::Uncovered => row.seen.count + row.seen.zeros != 1 || row.max != 0.0,
    }
}

/// Fills in the mixing weights, `out` and `lse`.
fn mix(op: &Operator, row: &mut Evaluated) {
    let counted: Vec<usize> = (0..row.branches.len())
        .filter(|&i| counts(op, &row.branches[i]))
        .collect();
    if counted.is_empty() {
        // Every branch gets the same weight, those that truly do not cover the row included (their output is 0).
        let alpha = 1.0 / op.branches.len() as f64;
        for r in &mut row.branches {
            r.alpha = alpha;
            add_scaled(&mut row.out, alpha, &r.out());
        }
        row.lse = f64::NEG_INFINITY;
        return;
    }
    let max = counted
        .iter()
        .map(|&i| row.branches[i].max)
        .fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        row.lse = f64::NAN;
        return;
    }
    let mut total = 0.0;
    for &i in &counted {
        let r = &mut row.branches[i];
        let factor = (r.max - max).exp();
        total += factor * r.sum;
        add_scaled(&mut row.out, factor, &r.acc);
        r.alpha = factor * r.sum;
    }
    row.out.iter_mut().for_each(|o| *o /= total);
    row.branches.iter_mut().for_each(|r| r.alpha /= total);
    row.lse = max + total.ln();
}
