// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a host must know of an operator to call it: names and sizes of its tensors, nothing of its branches.
//!
//! In: a checked operator, or what the text of a later stage says about its arguments. Out: the shapes of q, k, v, out and lse for any B and N.

use attnc_spec::Operator;
use attnc_tensor::DType;

/// The tensors an operator takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The operator's name.
    pub name: String,
    /// Query heads H.
    pub heads: u32,
    /// Key/value heads H_kv, a divisor of H.
    pub kv_heads: u32,
    /// Head dimension D.
    pub head_dim: u32,
    /// Storage type of q, k, v and out; lse is always f32.
    pub dtype: DType,
    /// Whether queries see later keys.
    pub causal: bool,
}

impl From<&Operator> for Signature {
    fn from(op: &Operator) -> Signature {
        Signature {
            name: op.name.clone(),
            heads: op.heads,
            kv_heads: op.kv_heads,
            head_dim: op.head_dim,
            dtype: op.dtype,
            causal: op.causal,
        }
    }
}

impl Signature {
    /// Shape of q and out, `[B, N, H, D]`.
    pub fn query_shape(&self, batch: usize, seq_len: usize) -> [usize; 4] {
        [batch, seq_len, self.heads as usize, self.head_dim as usize]
    }

    /// Shape of k and v, `[B, N, H_kv, D]`.
    pub fn key_shape(&self, batch: usize, seq_len: usize) -> [usize; 4] {
        [
            batch,
            seq_len,
            self.kv_heads as usize,
            self.head_dim as usize,
        ]
    }

    /// Shape of lse, `[B, H, N]`.
    pub fn lse_shape(&self, batch: usize, seq_len: usize) -> [usize; 3] {
        [batch, self.heads as usize, seq_len]
    }

    /// Bytes of q, k, v, out and lse together; `u128` because nobody has checked the sizes yet.
    pub fn bytes(&self, batch: u64, seq_len: u64) -> u128 {
        let tokens = u128::from(batch) * u128::from(seq_len);
        let (h, kv, d) = (
            u128::from(self.heads),
            u128::from(self.kv_heads),
            u128::from(self.head_dim),
        );
        let element = self.dtype.bytes() as u128;
        // At most 2^128 / 2^12 / 2^8 ... would overflow only for token counts near 2^128.
        tokens.saturating_mul((2 * h + 2 * kv) * d * element + 4 * h)
    }
}
