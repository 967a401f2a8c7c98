// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rows: cells between segment boundaries, the rows of a cell sorted by mask, and the states of their tiles.

use attnc_tile::core::{Place, Port, Val, View};

use super::classes::{self, Branches};
use super::parts::{BEHIND, TileState};
use super::{Parts, Task, columns, keys, log_fn, through_chunk};
use crate::code::Code;
use crate::nest::Combine;

/// One group of branches over the rows of a task.
pub(crate) fn group(c: &mut Code, p: &Parts, task: &Task, g: Val) {
    let begin = c.at(p.group, g);
    // No group is empty, so this changes nothing but what is known of the value.
    let last = c.c(p.branches - 1);
    let begin = c.min(begin, last);
    let next = c.addc(g, 1);
    let end = c.at(p.group, next);
    let count = c.sub(end, begin);
    let most = c.c(64);
    let count = c.min(count, most);
    let one = c.c(1);
    let branches = Branches {
        begin,
        count,
        period: c.at(p.period, g),
        lone: c.eq(count, one),
    };
    c.upto(count, |c, i| {
        let branch = c.add(begin, i);
        let r = c.at(p.dilation, branch);
        let offset = if p.nest.blocked {
            let heads = c.c(i64::from(p.nest.heads));
            let share = c.ceil_div(heads, r);
            c.div(task.h, share)
        } else {
            c.rem(task.h, r)
        };
        c.store(p.offset, i, offset);
    });
    c.walk(task.n0, task.n1, |c, lo| cell(c, p, task, g, branches, lo));
}

/// The rows from `lo` to the next boundary of any segment; yields that boundary.
fn cell(c: &mut Code, p: &Parts, task: &Task, g: Val, branches: Branches, lo: Val) -> Val {
    c.set(p.high, task.n1);
    c.upto(branches.count, |c, i| {
        let branch = c.add(branches.begin, i);
        let w = c.plan(p.clipped, branch);
        let r = c.at(p.dilation, branch);
        // Displaced rows lie on a grid of segments filled up to a multiple of r.
        let grid = if p.nest.displaced {
            let g = c.ceil_div(w, r);
            c.mul(g, r)
        } else {
            w
        };
        let segment = c.div(lo, grid);
        let row0 = c.mul(segment, grid);
        let start = if p.nest.displaced {
            c.mul(segment, w)
        } else {
            row0
        };
        c.store(p.seg_start, i, start);
        let end = c.add(start, w);
        let end = c.min(end, task.n);
        c.store(p.seg_end, i, end);
        let boundary = c.add(row0, grid);
        let high = c.get(p.high);
        let high = c.min(high, boundary);
        c.set(p.high, high);
        let place = c.sub(lo, row0);
        first_place(c, p, i, r, place);
    });
    let hi = c.get(p.high);
    let after = c.addc(lo, 1);
    let hi = c.max(hi, after);
    let len = c.sub(hi, lo);
    let members = c.c(-1);
    classes::fill(c, p, branches, p.row_classes, len, members);
    let zero = c.c(0);
    c.set(p.count, zero);
    c.set(p.high, zero);
    let n_classes = c.get(p.row_classes.count);
    c.upto(n_classes, |c, class| {
        let next = c.addc(class, 1);
        let (a, b) = (
            c.load(p.row_classes.begin, class),
            c.load(p.row_classes.begin, next),
        );
        let mask = c.load(p.row_classes.mask, class);
        let zero = c.c(0);
        c.range(zero, len, branches.period, |c, base| {
            let one = c.c(1);
            c.range(a, b, one, |c, j| {
                let x = c.load(p.row_classes.residue, j);
                let x = c.add(base, x);
                let inside = c.lt(x, len);
                c.when(inside, |c| row(c, p, task, branches, lo, x, class, mask));
            });
        });
    });
    let rows = c.get(p.count);
    let limit = c.get(p.high);
    let limit = c.max(limit, zero);
    let limit = c.addc(limit, 1);
    let block = c.c(i64::from(p.sched.rows));
    let zero = c.c(0);
    c.range(zero, rows, block, |c, r0| {
        let live = c.sub(rows, r0);
        let live = c.min(live, block);
        c.barrier();
        each_tile(c, p, live, |c, t| begin_tile(c, p, task, r0, t));
        if let Some(peak) = p.fns.peak {
            let sweep = keys::Sweep::Peak(peak);
            keys::cell(c, p, task, g, branches, sweep, limit, r0, live);
        }
        if p.fns.zeros.is_some() {
            each_tile(c, p, live, |c, t| take_zeros(c, p, r0, t));
        }
        let sweep = keys::Sweep::Step(p.fns.step);
        keys::cell(c, p, task, g, branches, sweep, limit, r0, live);
        each_tile(c, p, live, |c, t| end_tile(c, p, task, r0, t));
    });
    hi
}

/// first[i] = the first place at or behind the base, itself `place` places into a segment, that has the branch's phase.
pub(crate) fn first_place(c: &mut Code, p: &Parts, i: Val, r: Val, place: Val) {
    let offset = c.load(p.offset, i);
    let phase = c.rem(place, r);
    let first = c.add(offset, r);
    let first = c.sub(first, phase);
    let first = c.rem(first, r);
    c.store(p.first, i, first);
}

/// Enters row `lo + x` into the cell's list.
fn row(
    c: &mut Code,
    p: &Parts,
    task: &Task,
    branches: Branches,
    lo: Val,
    x: Val,
    class: Val,
    mask: Val,
) {
    let n = c.add(lo, x);
    // The cell lies inside the chunk, so this changes nothing but what is known of the value.
    let own = c.addc(task.n1, -1);
    let n = c.min(n, own);
    let (source, padding) = if p.nest.displaced {
        // A displaced group is one branch: its segment and place give the query that returns to row n.
        let w = c.plan(p.clipped, branches.begin);
        let start = c.get(p.seg_start);
        let r = c.at(p.dilation, branches.begin);
        let filled = c.ceil_div(w, r);
        let grid = c.mul(filled, r);
        let place = c.rem(n, grid);
        let source = c.add(start, place);
        let inside = c.lt(place, w);
        let exists = c.lt(source, task.n);
        let real = c.and(inside, exists);
        (source, Some(c.is_zero(real)))
    } else {
        (n, None)
    };
    let enter = |c: &mut Code| {
        let at = c.get(p.count);
        let cap = c.c(i64::from(p.sched.chunk) - 1);
        let at = c.min(at, cap);
        c.store(p.rout, at, n);
        let r = c.sub(n, task.n0);
        let r = c.min(r, cap);
        let zero = c.c(0);
        let r = c.max(r, zero);
        c.store(p.ridx, at, r);
        let one = c.c(1);
        c.store(p.covered, r, one);
        c.store(p.rclass, at, class);
        // Displaced sources lie anywhere.
        let most = if p.nest.displaced {
            c.addc(task.n, -1)
        } else {
            own
        };
        let clamped = c.min(source, most);
        let (row, compare) = match padding {
            Some(pad) => {
                let none = c.c(-1);
                let behind = c.c(BEHIND);
                (c.select(pad, none, clamped), c.select(pad, behind, clamped))
            }
            None => (clamped, clamped),
        };
        c.store(p.rsrc, at, row);
        c.store(p.rpos, at, compare);
        let high = c.get(p.high);
        let high = c.max(high, compare);
        c.set(p.high, high);
        if p.nest.zero_keys || p.mixing.is_some() {
            zero_keys(c, p, branches, n, compare, mask, at);
        }
        let at = c.addc(at, 1);
        c.set(p.count, at);
    };
    match padding {
        // Without zero keys a padding query covers nothing.
        Some(pad) if !p.nest.zero_keys => {
            let real = c.is_zero(pad);
            c.when(real, enter);
        }
        Some(_) | None => enter(c),
    }
}

/// How many zero keys row `at` sees, by weight, and whether it sees exactly one key at all.
///
/// The phase of a branch has ceil(w'/r) places in a filled segment (semantics.md, `ragged = zero_keys`); the real ones come first, and
/// a causal row sees the places up to its own.
fn zero_keys(
    c: &mut Code,
    p: &Parts,
    branches: Branches,
    n: Val,
    compare: Val,
    mask: Val,
    at: Val,
) {
    let zero = c.c(0);
    c.set(p.any, zero);
    c.set(p.low, zero);
    c.upto(branches.count, |c, i| {
        let bit = c.shr(mask, i);
        let one = c.c(1);
        let bit = c.and(bit, one);
        c.when(bit, |c| {
            let branch = c.add(branches.begin, i);
            let (w, r) = (c.plan(p.clipped, branch), c.at(p.dilation, branch));
            let (start, end) = (c.load(p.seg_start, i), c.load(p.seg_end, i));
            let offset = c.load(p.offset, i);
            let zero = c.c(0);
            // Real keys: places below the segment's real length with the phase.
            let real_len = c.sub(end, start);
            let real = c.sub(real_len, offset);
            let real = c.max(real, zero);
            let real = c.ceil_div(real, r);
            let filled = c.ceil_div(w, r);
            let places = if p.nest.causal {
                // A padding query compares as behind everything: its own place counts from the row.
                let place = if p.nest.displaced {
                    let grid = c.mul(filled, r);
                    c.rem(n, grid)
                } else {
                    let place = c.sub(compare, start);
                    c.max(place, zero)
                };
                let behind = c.sub(place, offset);
                let behind = c.max(behind, zero);
                let behind = c.div(behind, r);
                c.addc(behind, 1)
            } else {
                filled
            };
            let seen = c.min(real, places);
            let zeros = c.sub(places, seen);
            let zeros = c.max(zeros, zero);
            let weight = c.at(p.weight, branch);
            let weighted = c.mul(zeros, weight);
            let sum = c.get(p.any);
            let sum = c.add(sum, weighted);
            c.set(p.any, sum);
            let all = if p.nest.zero_keys { places } else { seen };
            let keys = c.get(p.low);
            let keys = c.add(keys, all);
            c.set(p.low, keys);
        });
    });
    if p.nest.zero_keys {
        let zeros = c.get(p.any);
        let zero = c.c(0);
        let zeros = c.max(zeros, zero);
        c.store(p.rzeros, at, zeros);
    }
    if let Some(x) = p.mixing {
        let keys = c.get(p.low);
        let one = c.c(1);
        let single = c.eq(keys, one);
        c.store(x.one, at, single);
    }
}

/// A tile of a row block.
#[derive(Clone, Copy)]
pub(crate) struct TileAt {
    /// First lane within the block.
    pub(crate) lane: Val,
    /// `lane * D`.
    pub(crate) wide: Val,
    /// `lane / mq`.
    pub(crate) number: Val,
    /// Rows.
    pub(crate) live: Val,
}

/// For each tile of a block of `live` rows.
pub(crate) fn each_tile(c: &mut Code, p: &Parts, live: Val, body: impl FnOnce(&mut Code, TileAt)) {
    let mq = c.c(i64::from(p.sched.mq));
    let tiles = c.ceil_div(live, mq);
    let most = c.c(i64::from(p.sched.rows / p.sched.mq));
    let tiles = c.min(tiles, most);
    c.upto(tiles, |c, number| {
        let lane = c.mul(number, mq);
        let d = c.c(i64::from(p.nest.head_dim));
        let wide = c.mul(lane, d);
        let left = c.sub(live, lane);
        let left = c.min(left, mq);
        body(
            c,
            TileAt {
                lane,
                wide,
                number,
                live: left,
            },
        );
    });
}

/// Gathers the queries of a tile and begins, or takes up, its states.
fn begin_tile(c: &mut Code, p: &Parts, task: &Task, r0: Val, t: TileAt) {
    let row = c.add(r0, t.lane);
    let zero = c.c(0);
    c.store(p.qflag, t.number, zero);
    let q = View::Tensor {
        port: Port::Q,
        batch: task.b,
        head: task.h,
    };
    let idx = Place {
        buf: p.rsrc,
        at: row,
    };
    let flag = Place {
        buf: p.qflag,
        at: t.number,
    };
    c.gather(
        Place {
            buf: p.q,
            at: t.wide,
        },
        columns(p.sched),
        q,
        idx,
        t.live,
        Some(flag),
    );
    let state = p.tile_state(t.lane, t.wide);
    if p.chunk_state.is_some() && p.nest.combine == Combine::Stream {
        load_chunk(c, p, state, row, t.live);
    } else {
        c.call(p.fns.init, vec![state.m, state.l, state.o], vec![t.live]);
    }
}

/// Takes the zero keys of a tile's rows into its states.
fn take_zeros(c: &mut Code, p: &Parts, r0: Val, t: TileAt) {
    let Some(f) = p.fns.zeros else { return };
    let at = c.add(r0, t.lane);
    let state = p.tile_state(t.lane, t.wide);
    let z = c.start(p.z);
    let counts = Place { buf: p.rzeros, at };
    c.counts(z, counts, t.live, log_fn(p.nest));
    c.call(f, vec![state.m, state.l, state.o, z], vec![t.live]);
}

/// Finishes the rows of a tile, or gives their states back to the chunk.
fn end_tile(c: &mut Code, p: &Parts, task: &Task, r0: Val, t: TileAt) {
    let row = c.add(r0, t.lane);
    let state = p.tile_state(t.lane, t.wide);
    if !through_chunk(p.nest) {
        let lse = c.start(p.lse);
        c.call(
            p.fns.finish,
            vec![state.m, state.l, state.o, lse],
            vec![t.live],
        );
        emit(c, p, task, state.o, row, t.live);
        return;
    }
    if let Some(f) = p.fns.normalize {
        c.call(f, vec![state.m, state.l, state.o], vec![t.live]);
    }
    let (Some(other), Some(join)) = (p.other, p.fns.join) else {
        c.barrier();
        store_chunk(c, p, state, row, t.live);
        return;
    };
    let chunk = TileState {
        m: c.start(other.m),
        l: c.start(other.l),
        o: c.start(other.o),
    };
    load_chunk(c, p, chunk, row, t.live);
    let mut tiles = vec![chunk.m, chunk.l, chunk.o];
    let mixing = p.mixing.map(|x| (x, load_mixing(c, p, row, t.live)));
    if let Some((_, places)) = &mixing {
        tiles.extend(places.iter().copied());
    }
    tiles.extend([state.m, state.l, state.o]);
    if let Some((x, _)) = &mixing {
        let one = c.start(x.tile_one);
        c.counts(
            one,
            Place {
                buf: x.one,
                at: row,
            },
            t.live,
            attnc_tile::core::CountFn::Float,
        );
        tiles.push(one);
    }
    c.call(join, tiles, vec![t.live]);
    c.barrier();
    store_chunk(c, p, chunk, row, t.live);
    if let Some((x, places)) = mixing {
        let idx = Place {
            buf: p.ridx,
            at: row,
        };
        let width = p.nest.head_dim;
        c.scatter(
            View::Work {
                buf: x.fallback,
                width,
            },
            idx,
            t.live,
            places[0],
            columns(p.sched),
        );
        c.scatter(
            View::Work {
                buf: x.seen,
                width: 1,
            },
            idx,
            t.live,
            places[1],
            columns(p.sched),
        );
    }
}

/// The three parts of the chunk's state as views, beside the tile's.
fn parts_of(c: &Parts, t: TileState) -> Vec<(View, Place)> {
    let Some(s) = c.chunk_state else {
        return Vec::new();
    };
    let row = |buf| View::Work { buf, width: 1 };
    vec![
        (row(s.m), t.m),
        (row(s.l), t.l),
        (
            View::Work {
                buf: s.o,
                width: c.nest.head_dim,
            },
            t.o,
        ),
    ]
}

/// Rows `row..row+live` of the list: states from the chunk into a tile.
pub(crate) fn load_chunk(c: &mut Code, p: &Parts, t: TileState, row: Val, live: Val) {
    for (view, place) in parts_of(p, t) {
        c.gather(
            place,
            columns(p.sched),
            view,
            Place {
                buf: p.ridx,
                at: row,
            },
            live,
            None,
        );
    }
}

fn store_chunk(c: &mut Code, p: &Parts, t: TileState, row: Val, live: Val) {
    for (view, place) in parts_of(p, t) {
        c.scatter(
            view,
            Place {
                buf: p.ridx,
                at: row,
            },
            live,
            place,
            columns(p.sched),
        );
    }
}

/// Loads the fallback sums and counts of `live` rows; yields their places in the order that `mix` and `finish_mix` take.
pub(crate) fn load_mixing(c: &mut Code, p: &Parts, row: Val, live: Val) -> Vec<Place> {
    let Some(x) = p.mixing else { return Vec::new() };
    let idx = Place {
        buf: p.ridx,
        at: row,
    };
    let (fallback, seen) = (c.start(x.tile_fallback), c.start(x.tile_seen));
    let width = p.nest.head_dim;
    c.gather(
        fallback,
        columns(p.sched),
        View::Work {
            buf: x.fallback,
            width,
        },
        idx,
        live,
        None,
    );
    c.gather(
        seen,
        columns(p.sched),
        View::Work {
            buf: x.seen,
            width: 1,
        },
        idx,
        live,
        None,
    );
    vec![fallback, seen]
}

/// Writes `live` finished rows of the list.
pub(crate) fn emit(c: &mut Code, p: &Parts, task: &Task, o: Place, row: Val, live: Val) {
    let idx = Place {
        buf: p.rout,
        at: row,
    };
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
    c.scatter(out, idx, live, o, columns(p.sched));
    let from = c.start(p.lse);
    c.scatter(lse, idx, live, from, columns(p.sched));
}
