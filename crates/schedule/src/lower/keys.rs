// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Keys: the regions of constant segment membership of a cell, their classes, and the panels that tiles step through.

use attnc_tile::core::{BufId, FnId, Lie, Place, Port, Val, View};

use super::classes::{self, Branches};
use super::parts::{Held, TAG};
use super::rows::{self, TileAt, each_tile, first_place};
use super::{Parts, Task, log_fn, stream};
use crate::code::Code;

/// What happens to the keys that a tile sees.
#[derive(Clone, Copy)]
pub(crate) enum Sweep {
    /// The rows' largest scores are found.
    Peak(FnId),
    /// The states go on.
    Step(FnId),
}

/// All keys that the rows `r0..r0+live` of the cell see, in every region. No row sees a position at or behind `limit` when causal.
pub(crate) fn cell(
    c: &mut Code,
    p: &Parts,
    task: &Task,
    g: Val,
    branches: Branches,
    sweep: Sweep,
    limit: Val,
    r0: Val,
    live: Val,
) {
    let count = branches.count;
    if let Held::Slots { passed, .. } = p.held {
        let zero = c.c(0);
        c.set(passed, zero);
    }
    c.upto(count, |c, i| {
        let (a, b) = (c.load(p.seg_start, i), end_of(c, p, i, limit));
        let a = c.min(a, task.n);
        c.store(p.ends, i, a);
        let at = c.add(i, count);
        c.store(p.ends, at, b);
    });
    let two = c.c(2);
    let ends = c.mul(count, two);
    sort(c, p, ends);
    let last = c.addc(ends, -1);
    c.upto(last, |c, x| {
        let a = c.load(p.ends, x);
        let next = c.addc(x, 1);
        let b = c.load(p.ends, next);
        let some = c.lt(a, b);
        c.when(some, |c| {
            region(c, p, task, g, branches, sweep, limit, a, b, r0, live)
        });
    });
    if let Held::Stages { .. } = p.held {
        stream::drain(c, p, sweep, r0, live);
    }
}

/// No panel is held at the start of a `run` call, or of a task where panels do not outlive it.
pub(crate) fn no_panels(c: &mut Code, p: &Parts) {
    let Held::Slots { tags, .. } = p.held else {
        return;
    };
    let all = c.c(i64::from(p.sched.slots) * TAG);
    c.upto(all, |c, i| {
        let none = c.c(-1);
        c.store(tags, i, none);
    });
}

/// The end of branch i's segment as far as any row sees it.
fn end_of(c: &mut Code, p: &Parts, i: Val, limit: Val) -> Val {
    let end = c.load(p.seg_end, i);
    if p.nest.causal {
        c.min(end, limit)
    } else {
        end
    }
}

/// Sorts the first `count` ends.
fn sort(c: &mut Code, p: &Parts, count: Val) {
    c.upto(count, |c, x| {
        let one = c.c(1);
        let after = c.addc(x, 1);
        c.range(after, count, one, |c, y| {
            let (a, b) = (c.load(p.ends, x), c.load(p.ends, y));
            let (low, high) = (c.min(a, b), c.max(a, b));
            c.store(p.ends, x, low);
            c.store(p.ends, y, high);
        });
    });
}

/// Positions a..b, which lie wholly inside or outside every segment of the cell.
fn region(
    c: &mut Code,
    p: &Parts,
    task: &Task,
    g: Val,
    branches: Branches,
    sweep: Sweep,
    limit: Val,
    a: Val,
    b: Val,
    r0: Val,
    live: Val,
) {
    let zero = c.c(0);
    c.set(p.any, zero);
    c.upto(branches.count, |c, i| {
        let (start, end) = (c.load(p.seg_start, i), end_of(c, p, i, limit));
        let from = c.le(start, a);
        let to = c.le(b, end);
        let inside = c.and(from, to);
        let branch = c.add(branches.begin, i);
        let r = c.at(p.dilation, branch);
        c.when(inside, |c| {
            let place = c.sub(a, start);
            let zero = c.c(0);
            let place = c.max(place, zero);
            first_place(c, p, i, r, place);
            let one = c.c(1);
            let bit = c.shl(one, i);
            let members = c.get(p.any);
            let members = c.or(members, bit);
            c.set(p.any, members);
        });
    });
    let members = c.get(p.any);
    c.when(members, |c| {
        let len = c.sub(b, a);
        classes::fill(c, p, branches, p.key_classes, len, members);
        let n = c.get(p.key_classes.count);
        c.upto(n, |c, class| {
            let mask = c.load(p.key_classes.mask, class);
            row_counts(c, p, branches, mask);
            let reached = c.get(p.any);
            c.when(reached, |c| {
                run(
                    c,
                    p,
                    task,
                    g,
                    branches,
                    sweep,
                    Class {
                        class,
                        mask,
                        members,
                    },
                    a,
                    b,
                    r0,
                    live,
                )
            });
        });
    });
}

/// class_count[row class] = how often its rows count a key of `mask`; `any` = whether one of them does.
fn row_counts(c: &mut Code, p: &Parts, branches: Branches, mask: Val) {
    let zero = c.c(0);
    c.set(p.low, zero);
    let n = c.get(p.row_classes.count);
    c.upto(n, |c, class| {
        let rows = c.load(p.row_classes.mask, class);
        let both = c.and(rows, mask);
        classes::weight(c, p, branches, both);
        let w = c.get(p.any);
        let zero = c.c(0);
        let w = c.max(w, zero);
        c.store(p.class_count, class, w);
        let all = c.get(p.low);
        let all = c.or(all, w);
        c.set(p.low, all);
    });
    let all = c.get(p.low);
    c.set(p.any, all);
}

/// A class of keys of a region.
#[derive(Clone, Copy)]
pub(crate) struct Class {
    /// Its number.
    class: Val,
    /// Its branches.
    mask: Val,
    /// Branches whose segments hold the region.
    members: Val,
}

/// One class of keys in one region, panel by panel. A panel holds whole periods.
fn run(
    c: &mut Code,
    p: &Parts,
    task: &Task,
    g: Val,
    branches: Branches,
    sweep: Sweep,
    keys: Class,
    a: Val,
    b: Val,
    r0: Val,
    live: Val,
) {
    let next = c.addc(keys.class, 1);
    let (from, to) = (
        c.load(p.key_classes.begin, keys.class),
        c.load(p.key_classes.begin, next),
    );
    let last = c.c(63);
    let from = c.min(from, last);
    let width = c.sub(to, from);
    let one = c.c(1);
    let width = c.max(width, one);
    let capacity = c.c(i64::from(p.sched.panel));
    let periods = c.div(capacity, width);
    let periods = c.max(periods, one);
    let stretch = c.mul(periods, branches.period);
    let first = c.load(p.key_classes.residue, from);
    let base = c.add(a, first);
    c.range(base, b, stretch, |c, lo| {
        // lo - first is the panel's period boundary.
        let start = c.sub(lo, first);
        let zero = c.c(0);
        let start = c.max(start, zero);
        let stretch = Stretch {
            start,
            step: stretch,
            b,
            from,
            to,
        };
        match p.held {
            Held::Slots {
                tags,
                careful,
                passed,
            } => {
                let slot = next_slot(c, p, branches, passed);
                let end = stretch.end(c);
                pack(
                    c, p, task, g, branches, tags, careful, slot, keys, stretch, end,
                );
                let at = c.mul(slot, capacity);
                let count = held(c, p, tags, slot);
                let panel = Panel {
                    at,
                    count,
                    careful: Care::Load(careful, slot),
                    counts: p.class_count,
                };
                each_tile(c, p, live, |c, t| tile(c, p, sweep, panel, r0, t));
            }
            Held::Stages { .. } => {
                stream::panel(c, p, task, branches, sweep, stretch, r0, live);
            }
        }
    });
}

/// The slot of the next panel of a sweep. A group has a share of the slots, and its panels take them in the order in which every sweep
/// goes through them: the next block of rows finds them where the last one left them, as far as there are slots.
fn next_slot(c: &mut Code, p: &Parts, branches: Branches, passed: BufId) -> Val {
    let (slots, all) = (c.c(i64::from(p.sched.slots)), c.c(p.branches));
    let one = c.c(1);
    let zero = c.c(0);
    let share = |c: &mut Code, n: Val| {
        let n = c.max(n, zero);
        let n = c.mul(n, slots);
        c.div(n, all)
    };
    let own = share(c, branches.count);
    let own = c.max(own, one);
    let first = share(c, branches.begin);
    let number = c.get(passed);
    let next = c.addc(number, 1);
    let most = c.c(i64::MAX >> 1);
    let next = c.min(next, most);
    c.set(passed, next);
    let turn = c.rem(number, own);
    let slot = c.add(first, turn);
    c.rem(slot, slots)
}

/// The positions of a class that one panel holds, and the class's residues.
#[derive(Clone, Copy)]
pub(crate) struct Stretch {
    /// The period boundary at which it starts.
    pub(crate) start: Val,
    /// Whole periods that fit into a panel.
    step: Val,
    /// End of the region.
    b: Val,
    /// First residue.
    pub(crate) from: Val,
    /// End of the residues.
    pub(crate) to: Val,
}

impl Stretch {
    /// Its end.
    pub(crate) fn end(self, c: &mut Code) -> Val {
        let end = c.add(self.start, self.step);
        c.min(end, self.b)
    }
}

/// Whether the panel in hand needs care.
#[derive(Clone, Copy)]
pub(crate) enum Care {
    /// A flag says it.
    Load(BufId, Val),
    /// Known.
    Known(Val),
}

/// A panel in hand.
#[derive(Clone, Copy)]
pub(crate) struct Panel {
    /// Its first key in the buffers of panels.
    pub(crate) at: Val,
    /// Its keys.
    pub(crate) count: Val,
    /// Whether it needs care.
    pub(crate) careful: Care,
    /// How often each row class counts its keys.
    pub(crate) counts: BufId,
}

/// Keys in the panel of a slot.
fn held(c: &mut Code, p: &Parts, tags: BufId, slot: Val) -> Val {
    let tag = c.c(TAG);
    let tag = c.mul(slot, tag);
    let count = c.load(tags, tag);
    let zero = c.c(0);
    let count = c.max(count, zero);
    let most = c.c(i64::from(p.sched.panel));
    c.min(count, most)
}

/// Packs the panel of positions start..end of the class into its slot, unless it is there.
fn pack(
    c: &mut Code,
    p: &Parts,
    task: &Task,
    g: Val,
    branches: Branches,
    tags: BufId,
    careful: BufId,
    slot: Val,
    keys: Class,
    stretch: Stretch,
    end: Val,
) {
    let Stretch { start, from, .. } = stretch;
    // A lone branch's keys depend on the head by its phase only, so heads that share keys, values and phase share the panel.
    let residue = c.load(p.key_classes.residue, from);
    let phase = c.add(start, residue);
    let own = c.addc(task.h, 1);
    let zero = c.c(0);
    let own = c.select(branches.lone, zero, own);
    let key = [task.b, task.kv, g, phase, end, keys.mask, keys.members, own];
    let tag = c.c(TAG);
    let tag = c.mul(slot, tag);
    let mut same = c.c(i64::from(p.nest.panels));
    for (j, x) in key.iter().enumerate() {
        let at = c.addc(tag, 2 + j as i64);
        let held = c.load(tags, at);
        let equal = c.eq(held, *x);
        same = c.and(same, equal);
    }
    let valid = c.addc(tag, 1);
    let held = c.load(tags, valid);
    let one = c.c(1);
    let is_valid = c.eq(held, one);
    same = c.and(same, is_valid);
    let miss = c.is_zero(same);
    c.when(miss, |c| {
        let one = c.c(1);
        c.store(tags, valid, one);
        for (j, x) in key.iter().enumerate() {
            let at = c.addc(tag, 2 + j as i64);
            c.store(tags, at, *x);
        }
        let capacity = c.c(i64::from(p.sched.panel));
        let at = c.mul(slot, capacity);
        let count = positions(c, p, task, branches, stretch, end, at, capacity);
        c.store(tags, tag, count);
        let zero = c.c(0);
        c.store(careful, slot, zero);
        let panels = panels(c, p, at);
        let idx = Place { buf: p.kpos, at };
        let flag = Some(Place {
            buf: careful,
            at: slot,
        });
        for (place, port) in panels.into_iter().zip([Port::K, Port::V]) {
            let view = rows_of(task, port);
            c.gather(place, Lie::Rows, view, idx, count, flag);
        }
    });
}

/// Where keys and values stand whose first is key `at` of the panels.
fn panels(c: &mut Code, p: &Parts, at: Val) -> [Place; 2] {
    let (panel, d) = (u64::from(p.sched.panel), u64::from(p.nest.head_dim));
    let [k, v] = [p.packed.k, p.packed.v].map(|l| (l.room(panel, d) / panel) as i64);
    let width = c.c(k);
    let wide_k = c.mul(at, width);
    let wide_v = if v == k {
        wide_k
    } else {
        let width = c.c(v);
        c.mul(at, width)
    };
    let place = |buf, at| Place { buf, at };
    [place(p.k, wide_k), place(p.v, wide_v)]
}

/// A tensor of keys or values as the task sees it.
pub(crate) fn rows_of(task: &Task, port: Port) -> View {
    View::Tensor {
        port,
        batch: task.b,
        head: task.kv,
    }
}

/// Lists the positions of a stretch from element `at` on; yields how many.
pub(crate) fn positions(
    c: &mut Code,
    p: &Parts,
    task: &Task,
    branches: Branches,
    stretch: Stretch,
    end: Val,
    at: Val,
    capacity: Val,
) -> Val {
    let zero = c.c(0);
    c.set(p.count2, zero);
    c.range(stretch.start, end, branches.period, |c, base| {
        let one = c.c(1);
        c.range(stretch.from, stretch.to, one, |c, j| {
            let x = c.load(p.key_classes.residue, j);
            let pos = c.add(base, x);
            let inside = c.lt(pos, end);
            c.when(inside, |c| {
                let last = c.addc(task.n, -1);
                let pos = c.min(pos, last);
                let k = c.get(p.count2);
                let most = c.addc(capacity, -1);
                let k = c.min(k, most);
                let to = c.add(at, k);
                c.store(p.kpos, to, pos);
                let k = c.addc(k, 1);
                c.set(p.count2, k);
            });
        });
    });
    let count = c.get(p.count2);
    c.min(count, capacity)
}

/// How many of the `live` keys at `here`, whose positions ascend and whose first one is seen, lie no further than `high`: those behind
/// are hidden from all rows of the tile. Writes `any`.
fn reached_keys(c: &mut Code, p: &Parts, here: Val, live: Val, high: Val) -> Val {
    c.set(p.any, live);
    let last = c.add(here, live);
    let last = c.addc(last, -1);
    let last = c.load(p.kpos, last);
    let beyond = c.lt(high, last);
    c.when(beyond, |c| {
        c.upto(live, |c, i| {
            let at = c.add(here, i);
            let pos = c.load(p.kpos, at);
            let seen = c.le(pos, high);
            c.when(seen, |c| {
                let n = c.addc(i, 1);
                c.set(p.any, n);
            });
        });
    });
    let n = c.get(p.any);
    let one = c.c(1);
    let n = c.max(n, one);
    c.min(n, live)
}

/// The steps of one tile over one panel.
pub(crate) fn tile(c: &mut Code, p: &Parts, sweep: Sweep, panel: Panel, r0: Val, t: TileAt) {
    let Panel { at, count, .. } = panel;
    let row = c.add(r0, t.lane);
    let zero = c.c(0);
    c.set(p.any, zero);
    let highest = c.c(i64::MAX >> 1);
    c.set(p.low, highest);
    let lowest = c.c(-1);
    c.set(p.high, lowest);
    c.upto(t.live, |c, lane| {
        let at = c.add(row, lane);
        let class = c.load(p.rclass, at);
        let n = c.load(panel.counts, class);
        c.store(p.lane_count, lane, n);
        c.when(n, |c| {
            let one = c.c(1);
            c.set(p.any, one);
            let pos = c.load(p.rpos, at);
            let low = c.get(p.low);
            let low = c.min(low, pos);
            c.set(p.low, low);
            let high = c.get(p.high);
            let high = c.max(high, pos);
            c.set(p.high, high);
        });
    });
    let reached = c.get(p.any);
    c.when(reached, |c| {
        let weights = c.start(p.t);
        let counts = c.start(p.lane_count);
        c.counts(weights, counts, t.live, log_fn(p.nest));
        let qf = c.load(p.qflag, t.number);
        let kf = match panel.careful {
            Care::Load(flags, slot) => c.load(flags, slot),
            Care::Known(flag) => flag,
        };
        let careful = c.or(qf, kf);
        let (low, high) = (c.get(p.low), c.get(p.high));
        let nk = c.c(i64::from(p.sched.nk));
        match sweep {
            Sweep::Peak(_) => {}
            Sweep::Step(_) => rows::settle(c, p, t, count),
        }
        let zero = c.c(0);
        c.range(zero, count, nk, |c, kb| {
            let live_k = c.sub(count, kb);
            let live_k = c.min(live_k, nk);
            let here = c.add(at, kb);
            let call = |c: &mut Code, live_k: Val, mixed: Val| {
                let [k, v] = panels(c, p, here);
                let s = p.tile_state(t.lane, t.wide);
                let keys = [
                    weights,
                    Place {
                        buf: p.kpos,
                        at: here,
                    },
                    Place {
                        buf: p.rpos,
                        at: row,
                    },
                ];
                let q = Place {
                    buf: p.q,
                    at: t.wide,
                };
                let (f, mut tiles) = match sweep {
                    Sweep::Peak(f) => (f, vec![s.m, q, k]),
                    Sweep::Step(f) => (f, vec![s.m, s.l, s.o, q, k, v]),
                };
                tiles.extend(keys);
                c.call(f, tiles, vec![t.live, live_k, mixed, careful]);
            };
            if p.nest.causal {
                let first = c.load(p.kpos, here);
                let seen = c.le(first, high);
                c.when(seen, |c| {
                    let live_k = reached_keys(c, p, here, live_k, high);
                    let last = c.add(here, live_k);
                    let last = c.addc(last, -1);
                    let last = c.load(p.kpos, last);
                    let mixed = c.lt(low, last);
                    call(c, live_k, mixed);
                });
            } else {
                let zero = c.c(0);
                call(c, live_k, zero);
            }
        });
    });
}
