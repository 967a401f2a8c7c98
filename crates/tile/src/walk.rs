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
            | Inst::Load(v, ..)
            | Inst::Inspect(v, ..)
            | Inst::Queued(v) => Some(*v),
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
            | Inst::Call { .. }
            | Inst::Commit
            | Inst::Wait(_)
            | Inst::Release
            | Inst::Barrier => None,
        }
    }

    /// The values that it reads before any block inside runs. A walk's next value is read at the end of its body, by nobody here.
    pub fn operands(&self) -> Vec<Val> {
        match self {
            Inst::Const(..)
            | Inst::Arg(..)
            | Inst::Queued(_)
            | Inst::Commit
            | Inst::Wait(_)
            | Inst::Release
            | Inst::Barrier => Vec::new(),
            Inst::Inspect(_, src, _, live) => vec![src.at, *live],
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
            Inst::Call { tiles, scalars, .. } => tiles
                .iter()
                .map(|p| p.at)
                .chain(scalars.iter().copied())
                .collect(),
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
            | Inst::Call { .. }
            | Inst::Inspect(..)
            | Inst::Queued(_)
            | Inst::Commit
            | Inst::Wait(_)
            | Inst::Release
            | Inst::Barrier => Vec::new(),
        }
    }
}

impl View {
    fn rename(&mut self, f: &mut impl FnMut(Val) -> Val) {
        match self {
            View::Tensor { batch, head, .. } => {
                *batch = f(*batch);
                *head = f(*head);
            }
            View::Work { .. } => {}
        }
    }
}

impl Inst {
    /// Applies `f` to every value that the instruction itself names, defined or used, but not inside its blocks.
    pub fn rename(&mut self, f: &mut impl FnMut(Val) -> Val) {
        let mut go = |vals: Vec<&mut Val>| vals.into_iter().for_each(|v| *v = f(*v));
        match self {
            Inst::Const(v, _) | Inst::Arg(v, _) | Inst::Queued(v) => go(vec![v]),
            Inst::Commit | Inst::Wait(_) | Inst::Release | Inst::Barrier => {}
            Inst::Inspect(v, src, _, live) => go(vec![&mut src.at, live, v]),
            Inst::Bin(v, _, a, b) => go(vec![a, b, v]),
            Inst::Select(v, c, a, b) => go(vec![c, a, b, v]),
            Inst::Table(v, _, i) | Inst::Plan(v, _, i) | Inst::Load(v, _, i) => go(vec![i, v]),
            Inst::PlanStore(_, i, x) | Inst::Store(_, i, x) => go(vec![x, i]),
            Inst::For {
                iv, lo, hi, step, ..
            } => go(vec![hi, lo, step, iv]),
            Inst::Walk {
                cur, lo, hi, next, ..
            } => go(vec![hi, lo, cur, next]),
            Inst::If { cond, .. } => go(vec![cond]),
            Inst::Floats {
                dst, src, count, ..
            } => go(vec![&mut dst.at, &mut src.at, count]),
            Inst::Gather {
                dst,
                src,
                idx,
                live,
                flag,
                ..
            } => {
                go(vec![&mut dst.at, &mut idx.at, live]);
                go(flag.iter_mut().map(|p| &mut p.at).collect());
                src.rename(f);
            }
            Inst::Scatter {
                dst,
                idx,
                live,
                src,
                ..
            } => {
                go(vec![&mut idx.at, live, &mut src.at]);
                dst.rename(f);
            }
            Inst::Fill { dst, idx, live, .. } => {
                go(vec![&mut idx.at, live]);
                dst.rename(f);
            }
            Inst::Call { tiles, scalars, .. } => {
                go(tiles.iter_mut().map(|p| &mut p.at).collect());
                go(scalars.iter_mut().collect());
            }
        }
    }

    /// The blocks inside, in order, to be changed.
    pub fn blocks_mut(&mut self) -> Vec<&mut Vec<Inst>> {
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
            | Inst::Call { .. }
            | Inst::Inspect(..)
            | Inst::Queued(_)
            | Inst::Commit
            | Inst::Wait(_)
            | Inst::Release
            | Inst::Barrier => Vec::new(),
        }
    }
}
