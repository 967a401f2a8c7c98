// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The checked operator: what resolution yields and every later stage starts from.
//!
//! In: values that the checks of this crate have accepted. Out: plain data, no spans, no names but the operator's own.

use std::fmt;

use attnc_tensor::DType;
use serde::{Deserialize, Serialize};

/// How much accuracy the code may trade for speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The bounds of the accuracy section of the semantics.
    Standard,
    /// A coarser exponential for bf16 and f16.
    Fast,
    /// f32 products on tensor cores.
    Tf32,
}

/// Which offset a head has in a branch of dilation `r`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Offsets {
    /// `o = h mod r` (LongNet, eq. 13-15).
    Modulo,
    /// `o = floor(h / ceil(H / r))` (the original code).
    Blocked,
}

/// What stands behind the end of a short segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ragged {
    /// Nothing: no keys, no queries.
    Masked,
    /// Zero rows that take part in the softmax.
    ZeroKeys,
}

/// Where a branch's rows return to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// Their own position.
    Aligned,
    /// Position `s*g + u` of segments filled up to a multiple of the dilation.
    Displaced,
}

/// How the mixing weights of the branches enter the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gradient {
    /// The true derivative.
    Exact,
    /// Mixing weights are constants.
    Detached,
}

/// What a branch whose only visible key scores exactly 0 counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZeroLse {
    /// A branch like any other.
    Covered,
    /// Not covering the row.
    Uncovered,
}

/// The five switches in which implementations of dilated attention differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Profile {
    /// Head offsets.
    pub offsets: Offsets,
    /// Short segments.
    pub ragged: Ragged,
    /// Row placement.
    pub rows: Rows,
    /// Backward pass.
    pub gradient: Gradient,
    /// The zero log-sum-exp case.
    pub zero_lse: ZeroLse,
}

impl Profile {
    /// `semantics = paper`.
    pub const PAPER: Profile = Profile {
        offsets: Offsets::Modulo,
        ragged: Ragged::Masked,
        rows: Rows::Aligned,
        gradient: Gradient::Exact,
        zero_lse: ZeroLse::Covered,
    };
    /// `semantics = torchscale`.
    pub const TORCHSCALE: Profile = Profile {
        offsets: Offsets::Blocked,
        ragged: Ragged::ZeroKeys,
        rows: Rows::Displaced,
        gradient: Gradient::Detached,
        zero_lse: ZeroLse::Uncovered,
    };
}

/// Segment length of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Segment {
    /// `w` tokens, 1..=2^40; `min(w, N)` at run time.
    Finite(u64),
    /// The whole sequence, whatever its length.
    Whole,
}

impl Segment {
    /// `w' = min(w, N)`, in tokens; at least 1 so that divisions stay defined when N = 0.
    pub fn clipped(self, seq_len: u64) -> u64 {
        match self {
            Segment::Finite(w) => w.min(seq_len).max(1),
            Segment::Whole => seq_len.max(1),
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Segment::Finite(w) => write!(f, "{w}"),
            Segment::Whole => f.write_str("whole"),
        }
    }
}

/// One branch: attention within segments of `segment` tokens, every `dilation`-th of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Branch {
    /// Segment length w.
    pub segment: Segment,
    /// Dilation rate r, 1..=2^40.
    pub dilation: u64,
}

/// A checked attention operator. One serves every batch and sequence length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operator {
    /// Its name in the file.
    pub name: String,
    /// Query heads H, 1..=4096.
    pub heads: u32,
    /// Key/value heads, a divisor of `heads`.
    pub kv_heads: u32,
    /// Head dimension D, 1..=256.
    pub head_dim: u32,
    /// Storage type of q, k, v and out.
    pub dtype: DType,
    /// Accuracy opt-ins.
    pub precision: Precision,
    /// Whether a query sees only keys at or before its own position.
    pub causal: bool,
    /// Score scale, kept in f64.
    pub scale: f64,
    /// The switches.
    pub profile: Profile,
    /// The branches in the order written, at least one.
    pub branches: Vec<Branch>,
}

impl Operator {
    /// The offset o(h, r) of query head `head` in a branch of dilation `dilation`. Offsets at or beyond the dilation cannot occur.
    pub fn offset(&self, head: u32, dilation: u64) -> u64 {
        let (h, heads) = (u64::from(head), u64::from(self.heads));
        match self.profile.offsets {
            Offsets::Modulo => h % dilation,
            Offsets::Blocked => h / heads.div_ceil(dilation),
        }
    }

    /// The key/value head that query head `head` reads.
    pub fn kv_head(&self, head: u32) -> u32 {
        head / (self.heads / self.kv_heads)
    }
}
