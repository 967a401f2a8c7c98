// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Zero keys (`ragged = zero_keys`): how many each row sees, and their part in its state.
//!
//! In: a row as it is listed; a tile of rows. Out: its count of zero keys; a step of its state.

use attnc_tile::core::{Place, Val};

use super::classes::Branches;
use super::rows::TileAt;
use super::{Parts, log_fn};
use crate::code::Code;

/// How many zero keys row `at` sees, by weight, and whether it sees exactly one key at all.
///
/// The phase of a branch has ceil(w'/r) places in a filled segment (semantics.md, `ragged = zero_keys`); the real ones come first, and
/// a causal row sees the places up to its own.
pub(crate) fn count(
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

/// Takes the zero keys of a tile's rows into its states.
pub(crate) fn take(c: &mut Code, p: &Parts, r0: Val, t: TileAt) {
    let Some(f) = p.fns.zeros else { return };
    let at = c.add(r0, t.lane);
    let state = p.tile_state(t.lane, t.wide);
    let z = c.start(p.z);
    let counts = Place { buf: p.rzeros, at };
    c.counts(z, counts, t.live, log_fn(p.nest));
    c.call(f, vec![state.m, state.l, state.o, z], vec![t.live]);
}
