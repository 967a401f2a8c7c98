// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Between the products: scores that do not count, the reference exponent, and weights as pairs of bf16.
//!
//! In: a block of scores in memory, two rows a pair of keys. Out: the weights as rows of pairs, and m, l and O that go with them.
//!
//! While matrix tiles are multiplied, products and comparisons of vectors share one port, and sums, logic and shuffles have the other to
//! themselves: what could be either is the latter here.

use iced_x86::code_asm::{qword_ptr, r10, r11, r13, r14, rsp};

use super::{L, LEFT, M, O, POSITIONS, SCORES, SCRATCH, Step, WEIGHTS};
use crate::claims::asm::{Operand, V, at};
use crate::claims::frame::{MIXED, QPOS};

/// How far the reference exponent may lag behind the largest score, in the exponent's own units: weights up to 2^6 or e^6 are as
/// precise as those up to 1, and sums of them as far from overflow as ever.
pub(super) const LAG: f32 = 6.0;

/// Vectors of lanes, one behind the other in a group: those that a pass takes.
#[derive(Clone, Copy)]
pub(super) struct Columns {
    pub(super) first: u8,
    pub(super) n: u8,
}

impl Columns {
    /// The first `n` of the group.
    pub(super) fn all(n: u8) -> Columns {
        Columns { first: 0, n }
    }

    /// Their numbers in this pass, and where they stand, in bytes from the group's first lane.
    pub(super) fn slots(self) -> impl Iterator<Item = (usize, i32)> + Clone {
        let first = i32::from(self.first) * 64;
        (0..usize::from(self.n)).map(move |v| (v, first + v as i32 * 64))
    }
}

pub(super) fn registers(first: u8, n: u8) -> Vec<V> {
    (first..first + n).map(V).collect()
}

impl Step<'_> {
    /// Scores become -inf: causal, `mixed`, those of keys behind their query; and those of keys that are not there.
    pub(super) fn hide(&mut self, columns: Columns, keys: u32) {
        let row = self.row;
        let (score, left) = (r10, r11);
        let low = V(0);
        if self.p.causal {
            let (position, queries) = (r13, r14);
            let (key, s) = (V(1), V(2));
            let (mut done, mut all) = (self.asm.label(), self.asm.label());
            self.asm.scalar(|a| {
                a.cmp(qword_ptr(rsp + MIXED), 0)?;
                a.je(done)
            });
            self.asm.constant(low, f32::NEG_INFINITY.to_bits());
            self.asm.scalar(|a| {
                a.mov(position, qword_ptr(rsp + POSITIONS))?;
                a.mov(queries, qword_ptr(rsp + QPOS))?;
                a.mov(score, SCORES)?;
                a.mov(left, i64::from(keys))?;
                a.cmp(LEFT, keys as i32)?;
                a.jge(all)?;
                a.mov(left, LEFT)
            });
            self.asm.bind(&mut all);
            self.asm.repeat(left, |asm| {
                asm.broadcast_position(key, position);
                for (_, off) in columns.slots() {
                    asm.load(s, at(score, off));
                    asm.hide_behind(s, key, low, (queries, 2 * off), V(3));
                    asm.store(at(score, off), s);
                }
                asm.scalar(|a| {
                    a.add(position, 8)?;
                    a.add(score, row)
                });
            });
            self.asm.bind(&mut done);
        }
        let mut done = self.asm.label();
        self.asm.scalar(|a| {
            a.mov(left, i64::from(keys))?;
            a.sub(left, LEFT)?;
            a.jle(done)?;
            a.imul_3(score, LEFT, row)?;
            a.add(score, SCORES)
        });
        self.asm.constant(low, f32::NEG_INFINITY.to_bits());
        self.asm.repeat(left, |asm| {
            for (_, off) in columns.slots() {
                asm.store(at(score, off), low);
            }
            asm.scalar(|a| a.add(score, row));
        });
        self.asm.bind(&mut done);
    }

    /// Where max s * scale + t exceeds m by more than the lag in some lane, m becomes their maximum in all, and l and O are taken down to
    /// it.
    pub(super) fn raise(&mut self, columns: Columns, keys: u32) {
        let n = columns.n;
        const AT_ONCE: u8 = 4;
        let (row, dim, lanes) = (self.row, self.p.extents.head_dim, self.lanes);
        let (score, left, out) = (r10, r11, r10);
        let most: Vec<Vec<V>> = (0..AT_ONCE).map(|i| registers(i * n, n)).collect();
        for (i, regs) in most.iter().enumerate() {
            for (v, off) in columns.slots() {
                self.asm.load(regs[v], at(SCORES, i as i32 * row + off));
            }
        }
        self.asm.scalar(|a| {
            a.lea(score, at(SCORES, i32::from(AT_ONCE) * row))?;
            a.mov(left, i64::from(keys / u32::from(AT_ONCE)) - 1)
        });
        self.asm.repeat(left, |asm| {
            for (i, regs) in most.iter().enumerate() {
                for (v, off) in columns.slots() {
                    let s = Operand::Mem(score, i as i32 * row + off);
                    asm.max(regs[v], regs[v], s);
                }
            }
            asm.scalar(|a| a.add(score, i32::from(AT_ONCE) * row));
        });
        for (to, from) in [(0, 1), (2, 3), (0, 2)] {
            for (v, _) in columns.slots() {
                self.asm.max(most[to][v], most[to][v], most[from][v]);
            }
        }
        // From here on: the weighted maxima, m, what m may be, the corrections.
        let new = registers(0, n);
        let (m, a) = (registers(n, n), registers(2 * n, n));
        let spare = registers(3 * n, 2 * n);
        let (scale, lag) = (V(5 * n), V(5 * n + 1));
        self.asm.constant(scale, self.p.softmax.scale.to_bits());
        self.asm.constant(lag, LAG.to_bits());
        for (v, off) in columns.slots() {
            let asm = &mut self.asm;
            asm.fma213(new[v], scale, Operand::Mem(WEIGHTS, off));
            asm.load(m[v], at(M, off));
            asm.add(a[v], m[v], lag);
            asm.exceeds(v, new[v], a[v]);
        }
        let mut kept = self.asm.label();
        self.asm.unless_any(usize::from(n), kept);
        self.exponential
            .round(&mut self.asm, self.p.softmax, &new, &spare);
        for (v, off) in columns.slots() {
            let asm = &mut self.asm;
            asm.copy(a[v], m[v]);
            // m where there is no number in a lane that nobody reads.
            asm.max(m[v], new[v], m[v]);
            asm.store(at(M, off), m[v]);
            asm.sub(a[v], a[v], m[v]);
        }
        self.exp2.emit(&mut self.asm, &a, &spare);
        for (v, off) in columns.slots() {
            self.asm.mul(m[v], a[v], Operand::Mem(L, off));
            self.asm.store(at(L, off), m[v]);
        }
        self.asm.scalar(|x| {
            x.mov(out, O)?;
            x.mov(left, i64::from(dim))
        });
        self.asm.repeat(left, |asm| {
            for (v, off) in columns.slots() {
                asm.mul(m[v], a[v], Operand::Mem(out, off));
                asm.store(at(out, off), m[v]);
            }
            asm.scalar(|x| x.add(out, lanes));
        });
        self.asm.bind(&mut kept);
    }

    /// P = exp(s * scale + (t - m)), two rows of scores to one of pairs; l += sum P.
    pub(super) fn weights(&mut self, columns: Columns, keys: u32) {
        let row = self.row;
        let (score, to, left) = (r10, r14, r11);
        self.open_weights(columns);
        let (weights, exponential) = (self.room.weights, self.exponential);
        let pairs = Columns::pairs(columns);
        self.asm.scalar(|a| {
            a.mov(score, SCORES)?;
            a.lea(to, at(SCORES, weights))?;
            a.mov(left, i64::from(keys / (2 * pairs)))
        });
        self.asm.repeat(left, |asm| {
            exponential.emit(asm, columns, row, (score, 0), (to, 0));
            asm.scalar(|a| {
                a.add(score, 2 * pairs as i32 * row)?;
                a.add(to, pairs as i32 * row)
            });
        });
        self.close_weights(columns);
    }

    /// Sums at 0, and what the exponential needs.
    pub(super) fn open_weights(&mut self, columns: Columns) {
        if !self.exponential.keeps() {
            self.load_constants();
        }
        self.exponential.open(&mut self.asm, columns, (WEIGHTS, M));
    }

    /// The constants of the exponential.
    pub(super) fn load_constants(&mut self) {
        let scratch = (SCRATCH, self.constants);
        self.exponential
            .load(&mut self.asm, self.p.softmax, scratch);
    }

    /// l += the sums.
    pub(super) fn close_weights(&mut self, columns: Columns) {
        let sum = columns.sums();
        for (v, off) in columns.slots() {
            for other in sum.iter().skip(v).step_by(usize::from(columns.n)).skip(1) {
                self.asm.add(sum[v], sum[v], *other);
            }
            self.asm.add(sum[v], sum[v], Operand::Mem(L, off));
            self.asm.store(at(L, off), sum[v]);
        }
    }
}

impl Columns {
    /// Pairs of rows that the exponential takes at once, so that there are always at least four vectors of scores.
    pub(super) fn pairs(self) -> u32 {
        if self.n == 1 { 2 } else { 1 }
    }
    // Registers of the exponential: what the lanes add, sums of each pair of rows, then what is free for scores and their powers.
    pub(super) fn added(self) -> Vec<V> {
        registers(0, self.n)
    }
    pub(super) fn sums(self) -> Vec<V> {
        registers(self.n, self.n * self.pairs() as u8)
    }
    pub(super) fn free(self) -> u8 {
        self.n + self.n * self.pairs() as u8
    }
}
