// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lowering: a nest and a schedule become a core program.
//!
//! A task is a chunk of rows of one (batch entry, head). Per group of branches the chunk is cut into cells between segment
//! boundaries (`rows`), the rows of a cell are sorted by the set of branches that cover them, the keys they see fall into regions of
//! constant segment membership and there into classes of constant mask (`keys`), and every (class, tile) pair is one run of steps with
//! log(count) as its weight: c[h,n,m] = popcount(mask(n) & mask(m) & E(n,m)), each distinct key scored once.

mod classes;
mod keys;
mod parts;
mod rows;
mod stream;
mod zeros;

use attnc_tile::core::{Arg, Core, CountFn, Lie, Port, Val, View};
use attnc_tile::step::{EMPTY, Panels};

use crate::code::Code;
use crate::nest::{Combine, Nest, Schedule};
pub(crate) use parts::Parts;

/// Values that are fixed for a task.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    /// Batch entry.
    pub(crate) b: Val,
    /// Query head.
    pub(crate) h: Val,
    /// Key/value head.
    pub(crate) kv: Val,
    /// First row.
    pub(crate) n0: Val,
    /// End of the rows.
    pub(crate) n1: Val,
    /// N.
    pub(crate) n: Val,
}

/// Why a nest cannot be lowered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    /// A group breaks the limits of masks.
    #[error(
        "a group of {branches} branches has no common period of at most 64; split it into smaller groups"
    )]
    Group {
        /// Branches in the group.
        branches: usize,
    },
    /// There is no group.
    #[error("the graph has no branch to attend to")]
    Empty,
    /// Displaced rows carry a query map of their own for each branch.
    #[error(
        "displaced rows cannot be shared between branches; give every branch a group of its own"
    )]
    DisplacedGroup,
    /// Transposed values stand one panel behind the other.
    #[error("a step under half panels takes a whole panel, and this one {nk} of {panel} keys")]
    Panel {
        /// Keys of a step.
        nk: u32,
        /// Keys of a panel.
        panel: u32,
    },
}

/// Lowers `nest` under `sched`.
///
/// # Errors
/// When a group breaks the limits of masks, or displaced branches are grouped, or a step under half panels takes a part of one.
pub fn lower(nest: &Nest, sched: &Schedule) -> Result<Core, LowerError> {
    if nest.groups.is_empty() {
        return Err(LowerError::Empty);
    }
    for group in &nest.groups {
        if group.period().is_none() || group.terms.is_empty() {
            return Err(LowerError::Group {
                branches: group.terms.len(),
            });
        }
        if nest.displaced && group.terms.len() > 1 {
            return Err(LowerError::DisplacedGroup);
        }
    }
    if sched.panels == Panels::Half && sched.nk != sched.panel {
        let (nk, panel) = (sched.nk, sched.panel);
        return Err(LowerError::Panel { nk, panel });
    }
    let mut code = Code::new(parts::empty_core(nest, sched), sched.spaces.ints);
    let p = Parts::new(&mut code, nest, sched);
    let tasks = plan(&mut code, &p);
    let plan = code.section();
    if sched.keep_panels {
        keys::no_panels(&mut code, &p);
    }
    let enter = code.section();
    body(&mut code, &p);
    let body = code.section();
    Ok(code.finish(|core| {
        core.plan = plan;
        core.tasks = tasks;
        core.enter = enter;
        core.body = body;
    }))
}

/// The launch plan: clipped segment lengths, chunks, tasks.
fn plan(c: &mut Code, p: &Parts) -> Val {
    let n = c.arg(Arg::SeqLen);
    let branches = c.c(p.branches);
    c.upto(branches, |c, i| {
        let w = c.at(p.segment, i);
        let w = c.min(w, n);
        c.plan_store(p.clipped, i, w);
    });
    let chunk = c.c(i64::from(p.sched.chunk));
    let chunks = c.ceil_div(n, chunk);
    let batch = c.arg(Arg::Batch);
    let heads = c.c(i64::from(p.nest.heads));
    let rows = c.mul(batch, heads);
    c.mul(rows, chunks)
}

fn body(c: &mut Code, p: &Parts) {
    let task = decode(c, p);
    if !p.sched.keep_panels {
        keys::no_panels(c, p);
    }
    let rows = c.sub(task.n1, task.n0);
    c.upto(rows, |c, r| {
        let zero = c.c(0);
        c.store(p.covered, r, zero);
        let cap = c.c(i64::from(p.sched.chunk) - 1);
        let at = c.min(r, cap);
        c.store(p.iota, r, at);
    });
    if let Some(s) = p.chunk_state {
        let idx = c.start(p.iota);
        for (buf, value) in [(s.m, EMPTY), (s.l, 0.0)] {
            c.fill(View::Work { buf, width: 1 }, idx, rows, value);
        }
        let width = p.nest.head_dim;
        c.fill(View::Work { buf: s.o, width }, idx, rows, 0.0);
        if let Some((e, _)) = p.chunk_errors {
            let l = View::Work { buf: e.l, width: 1 };
            c.fill(l, idx, rows, 0.0);
            c.fill(View::Work { buf: e.o, width }, idx, rows, 0.0);
        }
        if let Some(x) = p.mixing {
            c.fill(
                View::Work {
                    buf: x.fallback,
                    width,
                },
                idx,
                rows,
                0.0,
            );
            c.fill(
                View::Work {
                    buf: x.seen,
                    width: 1,
                },
                idx,
                rows,
                0.0,
            );
        }
    }
    let groups = c.c(p.nest.groups.len() as i64);
    c.upto(groups, |c, g| rows::group(c, p, &task, g));
    rest(c, p, &task, rows);
}

/// `b, h, n0, n1 = decode t`. Chunks of one head follow each other, so that a worker's range finds its panels packed; when causal the
/// late chunks, which are long, come first.
fn decode(c: &mut Code, p: &Parts) -> Task {
    let n = c.arg(Arg::SeqLen);
    let t = c.arg(Arg::Task);
    let size = c.c(i64::from(p.sched.chunk));
    let chunks = c.ceil_div(n, size);
    let place = c.rem(t, chunks);
    let chunk = if p.nest.causal {
        let last = c.addc(chunks, -1);
        c.sub(last, place)
    } else {
        place
    };
    let row = c.div(t, chunks);
    let heads = c.c(i64::from(p.nest.heads));
    let h = c.rem(row, heads);
    let b = c.div(row, heads);
    let batch = c.arg(Arg::Batch);
    let last = c.addc(batch, -1);
    let b = c.min(b, last);
    let share = c.c(i64::from(p.nest.heads / p.nest.kv_heads));
    let kv = c.div(h, share);
    let n0 = c.mul(chunk, size);
    let n1 = c.add(n0, size);
    let n1 = c.min(n1, n);
    Task {
        b,
        h,
        kv,
        n0,
        n1,
        n,
    }
}

/// The rows of the chunk that no group finished: covered ones are finished from the chunk's state, the others are 0 and -inf.
fn rest(c: &mut Code, p: &Parts, task: &Task, rows: Val) {
    let zero = c.c(0);
    c.set(p.count, zero);
    c.set(p.count2, zero);
    c.upto(rows, |c, r| {
        let covered = c.load(p.covered, r);
        let n = c.add(task.n0, r);
        let last = c.addc(task.n, -1);
        let n = c.min(n, last);
        let list = |c: &mut Code, count, out, idx| {
            let k = c.get(count);
            let cap = c.c(i64::from(p.sched.chunk) - 1);
            let k = c.min(k, cap);
            c.store(out, k, n);
            if let Some(idx) = idx {
                let at = c.min(r, cap);
                c.store(idx, k, at);
            }
            let k = c.addc(k, 1);
            c.set(count, k);
        };
        c.either(
            covered,
            |c| list(c, p.count, p.rout, Some(p.ridx)),
            |c| list(c, p.count2, p.bare, None),
        );
    });
    let out = View::Tensor {
        port: Port::Out,
        batch: task.b,
        head: task.h,
    };
    let lse = View::Tensor {
        port: Port::Lse,
        batch: task.b,
        head: task.h,
    };
    let bare = c.get(p.count2);
    let bare = c.min(bare, rows);
    let idx = c.start(p.bare);
    c.fill(out, idx, bare, 0.0);
    c.fill(lse, idx, bare, f32::NEG_INFINITY);
    let Some(_) = p.chunk_state else { return };
    c.barrier();
    let covered = c.get(p.count);
    let mq = c.c(i64::from(p.sched.mq));
    let first = c.c(0);
    c.range(first, covered, mq, |c, i| {
        let live = c.sub(covered, i);
        let live = c.min(live, mq);
        let zero = c.c(0);
        let t = p.tile_state(zero, zero);
        rows::load_chunk(c, p, t, i, live);
        let mut tiles = vec![t.m, t.l, t.o];
        if p.mixing.is_some() {
            tiles.extend(rows::load_mixing(c, p, i, live));
        }
        tiles.push(c.start(p.lse));
        c.call(p.fns.finish, tiles, vec![live]);
        rows::emit(c, p, task, t.o, i, live);
    });
}

/// The functions that weights and zero counts go through: logarithms in the base of the softmax.
pub(crate) fn log_fn(nest: &Nest) -> CountFn {
    if nest.base2 {
        CountFn::Log2
    } else {
        CountFn::Ln
    }
}

/// Lanes = queries.
pub(crate) fn columns(sched: &Schedule) -> Lie {
    Lie::Cols { stride: sched.mq }
}

/// Whether states go through the chunk's memory instead of being finished where they are made.
pub(crate) fn through_chunk(nest: &Nest) -> bool {
    nest.groups.len() > 1 || nest.combine != Combine::Stream
}
