// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which keys a row sees in one branch: the oracle's own index arithmetic.
//!
//! In: an operator's switches, one branch, a query head, a row, the sequence length. Out: the query that stands in the row and the keys it sees,
//! as an arithmetic progression of positions and a number of zero keys. Written from the semantics, sharing nothing with the compiler.

use attnc_spec::{Branch, Offsets, Operator, Ragged, Rows};

/// The query whose result a row takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// The query at this position.
    Real(u64),
    /// A zero row behind the end of a segment.
    Padding,
}

/// What one branch lets a row see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The query that stands in the row.
    pub query: Query,
    /// Position of the first visible key.
    pub first: u64,
    /// Distance between visible keys.
    pub step: u64,
    /// Number of visible keys.
    pub count: u64,
    /// Number of visible zero keys (score 0, value 0).
    pub zeros: u64,
}

/// The offset o(h, r).
fn head_offset(op: &Operator, head: u64, dilation: u64) -> u64 {
    match op.profile.offsets {
        Offsets::Modulo => head % dilation,
        Offsets::Blocked => {
            // Contiguous groups of ceil(H / r) heads.
            let heads = u64::from(op.heads);
            let group = heads / dilation + u64::from(heads % dilation != 0);
            head / group
        }
    }
}

/// How many places below `limit` have the given phase.
fn places(limit: u64, phase: u64, dilation: u64) -> u64 {
    if limit > phase {
        (limit - 1 - phase) / dilation + 1
    } else {
        0
    }
}

/// What `branch` lets row `row` of head `head` see in a sequence of `n` tokens (`row < n`); `None` where it does not cover the row.
pub fn seen(op: &Operator, branch: &Branch, head: u32, row: u64, n: u64) -> Option<Seen> {
    let dilation = branch.dilation;
    let phase = head_offset(op, u64::from(head), dilation);
    let width = match branch.segment {
        attnc_spec::Segment::Finite(w) if w < n => w,
        attnc_spec::Segment::Finite(_) | attnc_spec::Segment::Whole => n,
    };
    // Every segment filled up to a multiple of the dilation.
    let filled = width.div_ceil(dilation) * dilation;
    let (segment, place) = match op.profile.rows {
        Rows::Aligned => (row / width, row % width),
        Rows::Displaced => (row / filled, row % filled),
    };
    if place % dilation != phase {
        return None;
    }
    let start = segment * width;
    // A segment starts at or before the row it is asked for, so within the sequence.
    let real = width.min(n - start);
    let query = if place < real {
        Query::Real(start + place)
    } else {
        match op.profile.ragged {
            Ragged::Masked => return None,
            Ragged::ZeroKeys => Query::Padding,
        }
    };
    let end = if op.causal { place + 1 } else { filled };
    let zeros = match op.profile.ragged {
        Ragged::Masked => 0,
        Ragged::ZeroKeys if end > real => {
            places(end, phase, dilation) - places(real, phase, dilation)
        }
        Ragged::ZeroKeys => 0,
    };
    Some(Seen {
        query,
        first: start + phase,
        step: dilation,
        count: places(end.min(real), phase, dilation),
        zeros,
    })
}
