// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an instruction defines, uses and contains: the one list of its parts for everything that only walks over code.
//!
//! In: an [`Inst`]. Out: values and blocks. The order of operands is the order in which the text form names them, except that the
//! right side of a store comes before its index and the end of a loop before its start.

use crate::core::{Inst, Val, View};

impl View {
    /// The values that choose the rows' batch entry and head.
    fn operands(self) -> Vec<Val> {
        match self {
            View::Tensor { batch, head, .. } => vec![batch, head],
            View::Work { .. } => Vec::new(),
        }
    }
}

impl Inst {
    /// The value that the instruction defines for the code after it.
    pub fn defines(&self) -> Option<Val> {
        match self {
            Inst::Const(v, _)
            | Inst::Arg(v, _)
            | Inst::Bin(v, ..)
            | Inst::Select(v, ..)
            | Inst::Table(v, ..)
            | Inst::Plan(v, ..)
            | Inst::Load(v, ..) => Some(*v),
            // Loop variables live inside.
            Inst::For { iv, .. } => Some(*iv),
            Inst::Walk { cur, .. } => Some(*cur),
            Inst::PlanStore(..)
            | Inst::Store(..)
            | Inst::If { .. }
            | Inst::Floats { .. }
            | Inst::Gather { .. }
            | Inst::Scatter { .. }
            | Inst::Fill { .. }
            | Inst::Call { .. } => None,
        }
    }

    /// The values that it reads before any block inside runs. A walk's next value is read at the end of its body, by nobody here.
    pub fn operands(&self) -> Vec<Val> {
        match self {
            Inst::Const(..) | Inst::Arg(..) => Vec::new(),
            Inst::Bin(_, _, a, b) => vec![*a, *b],
            Inst::Select(_, c, a, b) => vec![*c, *a, *b],
            Inst::Table(_, _, i) | Inst::Plan(_, _, i) | Inst::Load(_, _, i) => vec![*i],
            Inst::PlanStore(_, i, x) | Inst::Store(_, i, x) => vec![*x, *i],
            Inst::For { lo, hi, step, .. } => vec![*hi, *lo, *step],
            Inst::Walk { lo, hi, .. } => vec![*hi, *lo],
            Inst::If { cond, .. } => vec![*cond],
            Inst::Floats {
                dst, src, count, ..
            } => vec![dst.at, src.at, *count],
            Inst::Gather {
                dst,
                src,
                idx,
                live,
                flag,
                ..
            } => {
                let mut x = vec![dst.at];
                x.extend(src.operands());
                x.extend([idx.at, *live]);
                x.extend(flag.map(|f| f.at));
                x
            }
            Inst::Scatter {
                dst,
                idx,
                live,
                src,
                ..
            } => {
                let mut x = dst.operands();
                x.extend([idx.at, *live, src.at]);
                x
            }
            Inst::Fill { dst, idx, live, .. } => {
                let mut x = dst.operands();
                x.extend([idx.at, *live]);
                x
            }
            Inst::Call { tiles, scalars, .. } => {
                tiles.iter().map(|p| p.at).chain(scalars.iter().copied()).collect()
            }
        }
    }

    /// The blocks inside, in order.
    pub fn blocks(&self) -> Vec<&[Inst]> {
        match self {
            Inst::For { body, .. } | Inst::Walk { body, .. } => vec![body],
            Inst::If { then, els, .. } => vec![then, els],
            Inst::Const(..)
            | Inst::Arg(..)
            | Inst::Bin(..)
            | Inst::Select(..)
            | Inst::Table(..)
            | Inst::Plan(..)
            | Inst::PlanStore(..)
            | Inst::Load(..)
            | Inst::Store(..)
            | Inst::Floats { .. }
            | Inst::Gather { .. }
            | Inst::Scatter { .. }
            | Inst::Fill { .. }
            | Inst::Call { .. } => Vec::new(),
        }
    }
}
