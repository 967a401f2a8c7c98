// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The backward pass, exact and with detached mixing weights.
//!
//! In: operator, inputs, `dout` `[B, N, H, D]`, optionally `dlse` `[B, H, N]`. Out: `dq` `[B, N, H, D]`, `dk` and `dv` `[B, N, H_kv, D]` in float64.
//! With P_i the softmax of branch i, alpha_i its mixing weight (section "Gradients" of the semantics):
//!
//! * dV[m] += alpha_i P_i[n,m] dout[n];
//! * dS_i\[n,m\] = alpha_i P_i\[n,m\] (<dout\[n\], v\[m\]> - delta), delta = <dout, out> - dlse exact, <dout, out_i> - dlse detached (dlse = 0 where lse = -inf);
//! * dQ[query of n] += scale dS k[m], dK[m] += scale dS q, where the query may stand elsewhere when rows are displaced; padding queries have no dQ and q = 0.

use attnc_spec::{Gradient, Operator};
use attnc_tensor::{Storage, Tensor, View};
use rayon::prelude::*;

use crate::index::Query;
use crate::inputs::{Inputs, OracleError, Rows4, add_scaled, dot};
use crate::row::{BranchRow, evaluate, kv_head};

/// Gradients of the inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// `[B, N, H, D]`, f64.
    pub dq: Tensor,
    /// `[B, N, H_kv, D]`, f64, summed over the heads of a group.
    pub dk: Tensor,
    /// `[B, N, H_kv, D]`, f64, summed over the heads of a group.
    pub dv: Tensor,
}

/// The gradients of one batch entry and one key/value head with its group of query heads.
struct Part {
    /// `[group, N, D]`
    dq: Vec<f64>,
    /// `[N, D]`
    dk: Vec<f64>,
    /// `[N, D]`
    dv: Vec<f64>,
}

/// Evaluates the backward pass over all rows. `dlse` is 0 if not given.
pub fn gradients(
    op: &Operator,
    x: &Inputs<'_>,
    dout: &View<'_>,
    dlse: Option<&View<'_>>,
) -> Result<Gradients, OracleError> {
    let (heads, kv_heads, dim) = (
        op.heads as usize,
        op.kv_heads as usize,
        op.head_dim as usize,
    );
    let (batch, n) = (x.batch, x.seq_len);
    let dout = Rows4::new("dout", dout, [batch, n, heads, dim])?;
    if let Some(d) = dlse
        && d.shape() != [batch, heads, n]
    {
        return Err(OracleError::WrongShape {
            tensor: "dlse",
            want: vec![batch, heads, n],
            found: d.shape().to_vec(),
        });
    }
    let group = heads / kv_heads;
    let mut g = Gradients {
        dq: Tensor::zeros(Storage::F64, &[batch, n, heads, dim])?,
        dk: Tensor::zeros(Storage::F64, &[batch, n, kv_heads, dim])?,
        dv: Tensor::zeros(Storage::F64, &[batch, n, kv_heads, dim])?,
    };
    let parts: Vec<Part> = (0..batch * kv_heads)
        .into_par_iter()
        .map(|i| part(op, x, &dout, dlse, i / kv_heads, i % kv_heads))
        .collect();
    for (i, p) in parts.iter().enumerate() {
        let (b, kv) = (i / kv_heads, i % kv_heads);
        for at in 0..n {
            let from = at * dim..(at + 1) * dim;
            copy_row(&mut g.dk, (b * n + at) * kv_heads + kv, &p.dk[from.clone()]);
            copy_row(&mut g.dv, (b * n + at) * kv_heads + kv, &p.dv[from]);
            for j in 0..group {
                let from = (j * n + at) * dim;
                let to = (b * n + at) * heads + kv * group + j;
                copy_row(&mut g.dq, to, &p.dq[from..from + dim]);
            }
        }
    }
    Ok(g)
}

fn copy_row(t: &mut Tensor, row: usize, from: &[f64]) {
    if let Some(to) = t.as_mut_slice::<f64>() {
        to[row * from.len()..(row + 1) * from.len()].copy_from_slice(from);
    }
}

fn part(
    op: &Operator,
    x: &Inputs<'_>,
    dout: &Rows4<'_>,
    dlse: Option<&View<'_>>,
    b: usize,
    kv: usize,
) -> Part {
    let (n, dim) = (x.seq_len, op.head_dim as usize);
    let group = op.heads / op.kv_heads;
    let mut p = Part {
        dq: vec![0.0; group as usize * n * dim],
        dk: vec![0.0; n * dim],
        dv: vec![0.0; n * dim],
    };
    for j in 0..group {
        let h = kv as u32 * group + j;
        for row in 0..n {
            let e = evaluate(op, x, b, h, row);
            let d = dout.row(b, row, h as usize);
            let dl = match dlse {
                Some(t) if e.lse != f64::NEG_INFINITY => t.get(&[b, h as usize, row]),
                Some(_) | None => 0.0,
            };
            let whole = dot(&d, &e.out) - dl;
            for r in e.branches.iter().filter(|r| r.alpha != 0.0) {
                let delta = match op.profile.gradient {
                    Gradient::Exact => whole,
                    Gradient::Detached => dot(&d, &r.out()) - dl,
                };
                let dq = &mut p.dq[j as usize * n * dim..(j as usize + 1) * n * dim];
                branch_backward(op, x, (b, h), r, &d, delta, (dq, &mut p.dk, &mut p.dv));
            }
        }
    }
    p
}

/// Adds what one branch of one row contributes. `dq`, `dk` and `dv` are `[N, D]`.
fn branch_backward(
    op: &Operator,
    x: &Inputs<'_>,
    (b, h): (usize, u32),
    r: &BranchRow,
    dout: &[f64],
    delta: f64,
    (dq, dk, dv): (&mut [f64], &mut [f64], &mut [f64]),
) {
    let s = r.seen;
    let (kv, dim) = (kv_head(op, h), dout.len());
    let keys = (s.first as usize, s.step as usize, s.count as usize);
    let row_of = |j: usize| (keys.0 + j * keys.1) * dim..(keys.0 + j * keys.1 + 1) * dim;
    let mut ds = vec![0.0; keys.2];
    x.v.walk((b, kv), keys, |j, v| {
        let p = r.alpha * r.weights[j] / r.sum;
        ds[j] = p * (dot(dout, v) - delta);
        add_scaled(&mut dv[row_of(j)], p, dout);
    });
    let Query::Real(at) = s.query else {
        return;
    };
    let at = at as usize;
    let q = x.q.row(b, at, h as usize);
    x.k.walk((b, kv), keys, |j, k| {
        let w = op.scale * ds[j];
        add_scaled(&mut dq[at * dim..(at + 1) * dim], w, k);
        add_scaled(&mut dk[row_of(j)], w, &q);
    });
}
