// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Classes: the places of a stretch of the sequence, sorted by the set of branches whose phase they have.
//!
//! Masks repeat with the least common multiple of the dilations (at most 64, or the dilation of a lone branch), so a class is a list
//! of residues within one period, and its k-th place needs no table.

use attnc_tile::core::Val;

use super::Parts;
use super::parts::Classes;
use crate::code::Code;

/// The branches of the group at hand.
#[derive(Clone, Copy)]
pub(crate) struct Branches {
    /// First in the branch tables.
    pub(crate) begin: Val,
    /// How many.
    pub(crate) count: Val,
    /// Period of the masks.
    pub(crate) period: Val,
    /// 1 when there is only one.
    pub(crate) lone: Val,
}

/// Makes `out` from `p.first` (each branch's first place behind the base): the classes of `len` places, of branches in `members`.
pub(crate) fn fill(c: &mut Code, p: &Parts, g: Branches, out: Classes, len: Val, members: Val) {
    let zero = c.c(0);
    c.store(out.begin, zero, zero);
    c.either(
        g.lone,
        |c| {
            let first = c.get(p.first);
            let some = c.lt(first, len);
            let mask = c.c(1);
            let zero = c.c(0);
            c.store(out.mask, zero, mask);
            c.store(out.residue, zero, first);
            let one = c.c(1);
            c.store(out.begin, one, one);
            c.set(out.count, some);
        },
        |c| {
            let most = c.c(64);
            let span = c.min(g.period, len);
            let span = c.min(span, most);
            c.upto(span, |c, x| {
                let none = c.c(0);
                c.store(p.masks, x, none);
                c.upto(g.count, |c, i| {
                    let branch = c.add(g.begin, i);
                    let r = c.at(p.dilation, branch);
                    let phase = c.rem(x, r);
                    let first = c.load(p.first, i);
                    let hit = c.eq(phase, first);
                    let bit = c.shl(hit, i);
                    let bit = c.and(bit, members);
                    let mask = c.load(p.masks, x);
                    let mask = c.or(mask, bit);
                    c.store(p.masks, x, mask);
                });
            });
            let none = c.c(0);
            c.set(out.count, none);
            c.upto(span, |c, x| {
                let mask = c.load(p.masks, x);
                c.when(mask, |c| {
                    let last = c.c(63);
                    let class = c.get(out.count);
                    let class = c.min(class, last);
                    c.store(out.mask, class, mask);
                    let begin = c.load(out.begin, class);
                    let next = c.addc(class, 1);
                    c.store(out.begin, next, begin);
                    let one = c.c(1);
                    c.range(x, span, one, |c, y| {
                        let other = c.load(p.masks, y);
                        let same = c.eq(other, mask);
                        c.when(same, |c| {
                            let at = c.load(out.begin, next);
                            let last = c.c(63);
                            let at = c.min(at, last);
                            c.store(out.residue, at, y);
                            let at = c.addc(at, 1);
                            c.store(out.begin, next, at);
                            let zero = c.c(0);
                            c.store(p.masks, y, zero);
                        });
                    });
                    c.set(out.count, next);
                });
            });
        },
    );
}

/// Sum of the weights of the branches in `mask`.
pub(crate) fn weight(c: &mut Code, p: &Parts, g: Branches, mask: Val) {
    let zero = c.c(0);
    c.set(p.any, zero);
    c.upto(g.count, |c, i| {
        let bit = c.shr(mask, i);
        let one = c.c(1);
        let bit = c.and(bit, one);
        let branch = c.add(g.begin, i);
        let w = c.at(p.weight, branch);
        let w = c.mul(w, bit);
        let sum = c.get(p.any);
        let sum = c.add(sum, w);
        c.set(p.any, sum);
    });
}
