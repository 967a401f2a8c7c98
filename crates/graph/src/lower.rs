// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a checked operator to its unfused graph.
//!
//! In: an [`Operator`]. Out: one gather-qk-scale-mask-softmax-pv-scatter chain a branch, merged from left to right (or mixed at once
//! where zero_lse = uncovered). Nothing is brought together here: that is what rewriting is for.

use attnc_spec::{Operator, ZeroLse};

use crate::graph::{GraphError, Header, NodeRef, OpGraph};
use crate::op::{Op, Port, Side};

/// The unfused graph of `op`.
///
/// # Errors
/// When the operator breaks a rule of the graph, such as a scale that is not finite; checked operators never do.
pub fn lower(op: &Operator) -> Result<OpGraph, GraphError> {
    let mut g = OpGraph::new(Header::of(op));
    let q = g.add(Op::Input(Port::Q), &[])?;
    let k = g.add(Op::Input(Port::K), &[])?;
    let v = g.add(Op::Input(Port::V), &[])?;
    let mut pairs: Vec<NodeRef> = Vec::new();
    for &branch in &op.branches {
        let gq = g.add(Op::Gather(branch, Side::Query), &[q])?;
        let gk = g.add(Op::Gather(branch, Side::Key), &[k])?;
        let gv = g.add(Op::Gather(branch, Side::Key), &[v])?;
        let s = g.add(Op::Qk, &[gq, gk])?;
        let s = g.add(Op::Scale(op.scale), &[s])?;
        let s = g.add(Op::Mask, &[s])?;
        let p = g.add(Op::Softmax, &[s])?;
        let o = g.add(Op::Pv, &[p, gv])?;
        pairs.push(g.add(Op::Scatter, &[o])?);
    }
    let all = match op.profile.zero_lse {
        ZeroLse::Uncovered => g.add(Op::Mix, &pairs)?,
        ZeroLse::Covered => {
            let mut rest = pairs.into_iter();
            let first = rest.next().ok_or(GraphError::Output)?;
            rest.try_fold(first, |a, b| g.add(Op::Merge, &[a, b]))?
        }
    };
    g.add(Op::Output, &[all])?;
    Ok(g)
}
