// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How an instruction uses buffers: the one list for rules that follow buffers through a program.
//!
//! In: an instruction. Out: each buffer that it names itself, not in its blocks, with the way it is used, in the order of the effects.

use crate::core::{BufId, Core, Inst, View};

/// A way to use a buffer. Scalar code loads and stores; all else is done by the warps together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Read by scalar code.
    Load,
    /// Written by scalar code.
    Store,
    /// Read by a move or call.
    Read,
    /// Written by a move or call.
    Write,
    /// A flag that a move may set.
    Raise,
    /// Written by an asynchronous copy.
    Fill,
    /// Row numbers of an asynchronous copy.
    FillRows,
}

/// The uses of an instruction; buffers that do not exist are left out.
pub(super) fn uses(core: &Core, inst: &Inst) -> Vec<(BufId, Use)> {
    let view = |v: &View, how| match v {
        View::Work { buf, .. } => Some((*buf, how)),
        View::Tensor { .. } => None,
    };
    let mut out = match inst {
        Inst::Load(_, b, _) => vec![(*b, Use::Load)],
        Inst::Store(b, ..) => vec![(*b, Use::Store)],
        Inst::Floats { dst, src, .. } => vec![(src.buf, Use::Read), (dst.buf, Use::Write)],
        Inst::Gather {
            dst,
            src,
            idx,
            flag,
            ahead,
            ..
        } => {
            let (rows, to) = if *ahead {
                (Use::FillRows, Use::Fill)
            } else {
                (Use::Read, Use::Write)
            };
            let mut out = vec![(idx.buf, rows)];
            out.extend(view(src, Use::Read));
            out.push((dst.buf, to));
            out.extend(flag.map(|f| (f.buf, Use::Raise)));
            out
        }
        Inst::Scatter { dst, idx, src, .. } => {
            let mut out = vec![(idx.buf, Use::Read), (src.buf, Use::Read)];
            out.extend(view(dst, Use::Write));
            out
        }
        Inst::Fill { dst, idx, .. } => {
            let mut out = vec![(idx.buf, Use::Read)];
            out.extend(view(dst, Use::Write));
            out
        }
        Inst::Inspect(_, src, ..) => vec![(src.buf, Use::Read)],
        Inst::Call { f, tiles, .. } => {
            let Some(f) = core.fns.get(f.0 as usize) else {
                return Vec::new();
            };
            let (mut reads, mut writes) = (vec![false; f.tiles.len()], vec![false; f.tiles.len()]);
            super::function::uses(f, &mut reads, &mut writes);
            let pick = |which: &[bool], how| -> Vec<(BufId, Use)> {
                let used = tiles.iter().zip(which).filter(|(_, used)| **used);
                used.map(|(p, _)| (p.buf, how)).collect()
            };
            [pick(&reads, Use::Read), pick(&writes, Use::Write)].concat()
        }
        Inst::Const(..)
        | Inst::Arg(..)
        | Inst::Bin(..)
        | Inst::Select(..)
        | Inst::Table(..)
        | Inst::Plan(..)
        | Inst::PlanStore(..)
        | Inst::For { .. }
        | Inst::Walk { .. }
        | Inst::If { .. }
        | Inst::Queued(_)
        | Inst::Commit
        | Inst::Wait(_)
        | Inst::Release
        | Inst::Barrier => Vec::new(),
    };
    out.retain(|(b, _)| (b.0 as usize) < core.bufs.len());
    out
}
