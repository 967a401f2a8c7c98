// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The op table: every operation a graph can hold, what it takes and what it gives.
//!
//! Values are typed by [`Type`]. Lengths are symbolic: a branch (w, r) has segments of w' = min(w, N) tokens and rows of
//! ceil(w'/r); the offset of a head stays symbolic too, so that one graph serves every head, batch and sequence length.

use std::fmt;

use attnc_spec::{Branch, Segment};
use serde::{Deserialize, Serialize};

/// A tensor of the operator's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Port {
    /// Queries `[B,N,H,D]`.
    Q,
    /// Keys `[B,N,H_kv,D]`.
    K,
    /// Values `[B,N,H_kv,D]`.
    V,
}

impl Port {
    /// Name in every text form.
    pub fn name(self) -> &'static str {
        match self {
            Port::Q => "q",
            Port::K => "k",
            Port::V => "v",
        }
    }
}

/// Which rows a gather takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Query rows: with `rows = displaced` they bring the displaced row map.
    Query,
    /// Key and value rows.
    Key,
}

/// The exponential of a softmax, with the factor of q.k that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exponential {
    /// 2^x instead of e^x; then `scale` holds log2 e.
    pub base2: bool,
    /// Factor of q.k.
    pub scale: f64,
}

/// Where the rows of a fused branch return to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowMap {
    /// Their own position.
    Aligned,
    /// The grid of filled segments.
    Displaced,
}

/// A branch that counts `weight` times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// The branch.
    pub branch: Branch,
    /// At least 1.
    pub weight: u32,
}

/// A bag in which every distinct key is scored once, with the sum of the weights of the branches that show it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Once {
    /// Sorted.
    pub terms: Vec<Term>,
    /// Row map of all of them.
    pub map: RowMap,
    /// Zero keys behind short segments are members of the bag.
    pub zero_keys: bool,
}

/// Type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// `[B,N,H,D]` or `[B,N,H_kv,D]`.
    Tensor,
    /// Rows of one branch, `[B,H,segments,ceil(w'/r),D]`.
    Gathered(Branch),
    /// `[B,H,segments,rows,keys]` of one branch.
    Scores(Branch),
    /// Probabilities of one branch, with the log-sum-exp of each row.
    Probs(Branch),
    /// (out, lse) in the rows of one branch.
    BranchPair(Branch),
    /// (out, lse) over `[B,N,H]`.
    Pair,
    /// (m, l, o) over `[B,N,H]`, or over the rows of one branch.
    State(Option<Branch>),
    /// A bag of keys, or of the gathered keys of one branch.
    Bag(Option<Branch>),
    /// Nothing: outputs.
    Unit,
}

/// An operation. Operands are the node's, in the order given here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// () -> Tensor.
    Input(Port),
    /// Tensor -> Gathered. Rows behind the end of a segment are zero.
    Gather(Branch, Side),
    /// (Gathered q, Gathered k) -> Scores.
    Qk,
    /// Scores -> Scores.
    Scale(f64),
    /// Scores -> Scores: hides what a query does not see (later keys when causal; padding keys unless `ragged = zero_keys`).
    Mask,
    /// Scores -> Probs.
    Softmax,
    /// (Probs, Gathered v) -> BranchPair.
    Pv,
    /// BranchPair -> Pair.
    Scatter,
    /// (Pair, Pair) -> Pair, weighted by exp(lse).
    Merge,
    /// n Pairs -> Pair under zero_lse = uncovered.
    Mix,
    /// The keys of a gathered branch, each once: the bag of an attend over gathered rows.
    Local(Branch),
    /// Bag.
    Once(Once),
    /// Every key, `weight` times: dense attention.
    Dense(u32),
    /// (Bag, Bag) -> Bag.
    Sum,
    /// (q, k, v, Bag) -> State.
    Attend(Exponential),
    /// (State, State) -> State.
    Join,
    /// (State, q, k, v, Bag) -> State: goes on with the same online softmax.
    Fold(Exponential),
    /// State -> Pair.
    Finish,
    /// Tensor -> Tensor: packed once per panel and kept for the tasks that need it again.
    Panels,
    /// Pair -> Unit.
    Output,
}

/// `br(w, r)`.
pub(crate) struct Shown(pub(crate) Branch);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "br({}, {})", self.0.segment, self.0.dilation)
    }
}

/// Whether r divides every possible w': then filled segments are as long as segments, and rows never move.
pub fn divides(branch: Branch) -> bool {
    match branch.segment {
        Segment::Whole => true,
        Segment::Finite(w) => w % branch.dilation == 0,
    }
}
