// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The operations of an unfused branch, on its gathered rows.
//!
//! In: tensors and the values that the operations before made. Out: the next value, rows in the order (b, h, segment, row).

use attnc_graph::Branch;

use super::state::Pair;
use super::{Dense, Probs, Scores, Sizes};

/// The rows of a branch; those filled in are zero.
pub(crate) fn gather(z: &Sizes<'_>, branch: Branch, t: &Dense) -> Vec<Vec<f64>> {
    let mut rows = Vec::new();
    for (b, h, s) in z.segments(branch) {
        let grid = z.grid(branch, h);
        for j in 0..grid.rows() {
            rows.push(match grid.position(s as u64, j) {
                Some(n) => z.read(t, b, h, n as usize).to_vec(),
                None => vec![0.0; z.head_dim()],
            });
        }
    }
    rows
}

/// q.k of every two rows of a segment.
pub(crate) fn products(z: &Sizes<'_>, branch: Branch, q: &[Vec<f64>], k: &[Vec<f64>]) -> Scores {
    let rows = z.grid(branch, 0).rows() as usize;
    let segments = q.chunks(rows).zip(k.chunks(rows));
    segments
        .flat_map(|(q, k)| {
            q.iter()
                .map(move |q| k.iter().map(|k| Some(dot(q, k))).collect())
        })
        .collect()
}

/// The inner product.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Hides what a row does not see.
pub(crate) fn mask(z: &Sizes<'_>, branch: Branch, scores: &Scores) -> Scores {
    let mut out = Vec::with_capacity(scores.len());
    for (b, h, s) in z.segments(branch) {
        let grid = z.grid(branch, h);
        let at = z.segment_at(&grid, b, h, s);
        for i in 0..grid.rows() {
            let row = scores[at + i as usize].iter().zip(0..);
            let seen = |(x, j): (&Option<f64>, u64)| x.filter(|_| grid.sees(s as u64, i, j));
            out.push(row.map(seen).collect());
        }
    }
    out
}

/// exp(s - max) / sum over the scores that are not hidden.
pub(crate) fn softmax(scores: &[Option<f64>], head_dim: usize) -> Probs {
    let seen: Vec<f64> = scores.iter().copied().flatten().collect();
    let m = seen.iter().copied().fold(f64::MIN, f64::max);
    let sum: f64 = seen.iter().map(|s| (s - m).exp()).sum();
    let mut pair = Pair::uncovered(head_dim);
    if !seen.is_empty() {
        pair.lse = if sum == 0.0 { f64::NAN } else { m + sum.ln() };
        pair.covered = true;
        pair.lone_zero = seen == [0.0];
    }
    let p = |s: &Option<f64>| s.map(|s| (s - m).exp() / sum);
    Probs {
        p: scores.iter().map(p).collect(),
        pair,
    }
}

/// The weighted sum of the values that a row sees.
pub(crate) fn values(z: &Sizes<'_>, branch: Branch, p: &[Probs], v: &[Vec<f64>]) -> Vec<Pair> {
    let rows = z.grid(branch, 0).rows() as usize;
    let mut out = Vec::with_capacity(p.len());
    for (p, v) in p.chunks(rows).zip(v.chunks(rows)) {
        for row in p {
            let mut pair = row.pair.clone();
            for (p, v) in row.p.iter().zip(v) {
                let Some(p) = p else { continue };
                for (o, v) in pair.out.iter_mut().zip(v) {
                    *o += p * v;
                }
            }
            out.push(pair);
        }
    }
    out
}

/// The rows of a branch at the positions that they return to; rows that no branch row returns to are uncovered.
pub(crate) fn scatter(z: &Sizes<'_>, branch: Branch, rows: &[Pair]) -> Vec<Pair> {
    let mut out = Vec::with_capacity(z.batch * z.heads() * z.seq_len);
    for b in 0..z.batch {
        for h in 0..z.heads() {
            let grid = z.grid(branch, h);
            for n in 0..z.seq_len as u64 {
                out.push(match grid.returns_to(n) {
                    Some((s, j)) => {
                        rows[z.segment_at(&grid, b, h, s as usize) + j as usize].clone()
                    }
                    None => Pair::uncovered(z.head_dim()),
                });
            }
        }
    }
    out
}
