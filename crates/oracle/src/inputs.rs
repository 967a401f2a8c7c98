// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tensors an operator reads, checked against it, and the two products over their rows in float64.
//!
//! In: strided views of q `[B, N, H, D]`, k and v `[B, N, H_kv, D]` in any storage type. Out: rows as `f64`, scores of a progression of keys,
//! weighted sums of a progression of values. Elements are widened where they are read; nothing is copied.

use attnc_spec::Operator;
use attnc_tensor::{Elem, Slice, TensorError, View};

/// Why the oracle cannot evaluate what it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OracleError {
    /// A tensor's shape does not belong to the operator or to the other tensors.
    #[error("`{tensor}` has shape {found:?}, the operator needs {want:?}")]
    WrongShape {
        /// Which tensor.
        tensor: &'static str,
        /// The shape needed.
        want: Vec<usize>,
        /// The shape given.
        found: Vec<usize>,
    },
    /// `q` has not four axes.
    #[error("`q` has shape {found:?}, the operator needs [B, N, {heads}, {head_dim}]")]
    WrongQuery {
        /// Query heads of the operator.
        heads: u32,
        /// Head dimension of the operator.
        head_dim: u32,
        /// The shape given.
        found: Vec<usize>,
    },
    /// A row that the tensors do not have.
    #[error("there is no row (batch {batch}, head {head}, position {position})")]
    NoSuchRow {
        /// Batch entry.
        batch: usize,
        /// Query head.
        head: u32,
        /// Position.
        position: usize,
    },
    /// No memory for the result.
    #[error(transparent)]
    Memory(#[from] TensorError),
}

/// One tensor with axes batch, position, head, dimension.
#[derive(Clone, Debug)]
pub(crate) struct Rows4<'a> {
    data: Slice<'a>,
    strides: [usize; 4],
    dim: usize,
}

impl<'a> Rows4<'a> {
    pub(crate) fn new(
        tensor: &'static str,
        view: &View<'a>,
        want: [usize; 4],
    ) -> Result<Rows4<'a>, OracleError> {
        match *view.strides() {
            [b, n, h, d] if view.shape() == want => Ok(Rows4 {
                data: view.data(),
                strides: [b, n, h, d],
                dim: want[3],
            }),
            _ => Err(OracleError::WrongShape {
                tensor,
                want: want.to_vec(),
                found: view.shape().to_vec(),
            }),
        }
    }

    fn at(&self, b: usize, n: usize, h: usize) -> usize {
        b * self.strides[0] + n * self.strides[1] + h * self.strides[2]
    }

    /// One row as `f64`.
    pub(crate) fn row(&self, b: usize, n: usize, h: usize) -> Vec<f64> {
        let at = self.at(b, n, h);
        (0..self.dim)
            .map(|d| self.data.get(at + d * self.strides[3]))
            .collect()
    }

    /// Calls `f(j, row)` for the rows at positions `first + j * step`, j < count. `row` is only valid within the call.
    pub(crate) fn walk(
        &self,
        (b, h): (usize, usize),
        (first, step, count): (usize, usize, usize),
        f: impl FnMut(usize, &[f64]),
    ) {
        if count == 0 {
            return;
        }
        let at = self.at(b, first, h);
        // Strides of views are within their data, so this product fits wherever a second row exists.
        let by = if count > 1 { step * self.strides[1] } else { 0 };
        let place = (at, by, count, self.strides[3], self.dim);
        match self.data {
            Slice::F32(x) => walk(x, place, f),
            Slice::Bf16(x) => walk(x, place, f),
            Slice::F16(x) => walk(x, place, f),
            Slice::F64(x) => walk(x, place, f),
        }
    }
}

fn walk<T: Elem>(
    data: &[T],
    (at, by, count, stride, dim): (usize, usize, usize, usize, usize),
    mut f: impl FnMut(usize, &[f64]),
) {
    let mut row = vec![0.0; dim];
    for j in 0..count {
        let from = at + j * by;
        if stride == 1 {
            for (r, x) in row.iter_mut().zip(&data[from..from + dim]) {
                *r = x.to_f64();
            }
        } else {
            for (d, r) in row.iter_mut().enumerate() {
                *r = data[from + d * stride].to_f64();
            }
        }
        f(j, &row);
    }
}

/// The inner product, in eight partial sums.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (head_a, tail_a) = a.as_chunks::<8>();
    let (head_b, tail_b) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (x, y) in head_a.iter().zip(head_b) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    let tail: f64 = tail_a.iter().zip(tail_b).map(|(x, y)| x * y).sum();
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + e) + (c + g)) + ((b + f) + (d + h)) + tail
}

/// `to += weight * row`.
pub(crate) fn add_scaled(to: &mut [f64], weight: f64, row: &[f64]) {
    for (t, r) in to.iter_mut().zip(row) {
        *t += weight * r;
    }
}

/// q, k and v of one evaluation. Elements may be of any storage type; casting them to the operator's dtype is the caller's part.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    pub(crate) q: Rows4<'a>,
    pub(crate) k: Rows4<'a>,
    pub(crate) v: Rows4<'a>,
    /// Batch entries B.
    pub(crate) batch: usize,
    /// Sequence length N.
    pub(crate) seq_len: usize,
}

impl<'a> Inputs<'a> {
    /// Checks the shapes: q `[B, N, H, D]` gives B and N; k and v are `[B, N, H_kv, D]`.
    pub fn new(
        op: &Operator,
        q: &View<'a>,
        k: &View<'a>,
        v: &View<'a>,
    ) -> Result<Inputs<'a>, OracleError> {
        let (heads, dim) = (op.heads as usize, op.head_dim as usize);
        let &[batch, seq_len, _, _] = q.shape() else {
            return Err(OracleError::WrongQuery {
                heads: op.heads,
                head_dim: op.head_dim,
                found: q.shape().to_vec(),
            });
        };
        let keys = [batch, seq_len, op.kv_heads as usize, dim];
        Ok(Inputs {
            q: Rows4::new("q", q, [batch, seq_len, heads, dim])?,
            k: Rows4::new("k", k, keys)?,
            v: Rows4::new("v", v, keys)?,
            batch,
            seq_len,
        })
    }

    /// B.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// N.
    pub fn seq_len(&self) -> usize {
        self.seq_len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_counts_every_element_once() {
        for n in [0, 1, 7, 8, 9, 64, 200] {
            let a: Vec<f64> = (0..n).map(|i| f64::from(i) + 1.0).collect();
            let b = vec![1.0; n as usize];
            assert_eq!(dot(&a, &b), f64::from(n * (n + 1) / 2));
        }
    }
}
