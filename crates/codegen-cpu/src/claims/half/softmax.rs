// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Between the products: scores that do not count, the reference exponent, and weights as pairs of bf16.
//!
//! In: a block of scores in memory, two rows a pair of keys. Out: the weights as rows of pairs, and m, l and O that go with them.
//!
//! A weight is 2^floor(x) p(x - floor(x)) with p of degree 3: relative error 7.5e-5 (Remez's exchange on [0, 1), weighted by 2^-x), a
//! twentieth of what rounding to bf16 takes away in any case. p lies in [1, 2) as far as bf16 can tell, where half a unit in the last
//! place is 2^-8; that is added to its constant, so that cutting off the low half of the product rounds it to the nearest.
//!
//! While matrix tiles are multiplied, products and comparisons of vectors share one port, and sums, logic and shuffles have the other to
//! themselves: what could be either is the latter here.

use iced_x86::code_asm::{AsmRegister64, qword_ptr, r10, r11, r13, r14, rsp};

use super::{L, LEFT, M, O, POSITIONS, SCORES, Step, WEIGHTS};
use crate::claims::asm::{Asm, Operand, V, at};
use crate::claims::frame::{MIXED, QPOS};

/// p, from the constant on.
const P: [f32; 4] = [0.999_925_2, 0.695_833_56, 0.226_067_16, 0.078_024_52];
/// Half a unit in the last place of bf16 in [1, 2).
const HALF: f32 = 1.0 / 256.0;
/// How far the reference exponent may lag behind the largest score, in the exponent's own units: weights up to 2^6 or e^6 are as
/// precise as those up to 1, and sums of them as far from overflow as ever.
pub(super) const LAG: f32 = 6.0;

// Registers of constants in `weights`.
const SCALE: V = V(31);
const UPPER: V = V(30);
const C: [V; 4] = [V(29), V(28), V(27), V(26)];

/// The half of an f32 that is a bf16.
const UPPER_HALF: u32 = 0xffff_0000;

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
    fn slots(self) -> impl Iterator<Item = (usize, i32)> + Clone {
        let first = i32::from(self.first) * 64;
        (0..usize::from(self.n)).map(move |v| (v, first + v as i32 * 64))
    }
}

fn registers(first: u8, n: u8) -> Vec<V> {
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

    /// Where max s * scale + t exceeds m by more than the lag it becomes m, and l and O are taken down to it.
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
        for (v, off) in columns.slots() {
            let asm = &mut self.asm;
            asm.copy(a[v], m[v]);
            asm.copy_where(v, m[v], new[v]);
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
        let weights = self.room.weights;
        let pairs = Columns::pairs(columns);
        self.asm.scalar(|a| {
            a.mov(score, SCORES)?;
            a.lea(to, at(SCORES, weights))?;
            a.mov(left, i64::from(keys / (2 * pairs)))
        });
        self.asm.repeat(left, |asm| {
            exponentials(asm, columns, row, (score, 0), (to, 0));
            asm.scalar(|a| {
                a.add(score, 2 * pairs as i32 * row)?;
                a.add(to, pairs as i32 * row)
            });
        });
        self.close_weights(columns);
    }

    /// What lanes add to the exponent, sums at 0, and the constants of the exponential.
    pub(super) fn open_weights(&mut self, columns: Columns) {
        let softmax = self.p.softmax;
        // A natural exponent becomes one of base 2 with the scale, and with what the lanes add.
        let unit = if softmax.base2 {
            1.0
        } else {
            std::f32::consts::LOG2_E
        };
        self.asm.constant(SCALE, (softmax.scale * unit).to_bits());
        self.asm.constant(UPPER, UPPER_HALF);
        for (c, value) in C.into_iter().zip([P[0] + HALF, P[1], P[2], P[3]]) {
            self.asm.constant(c, value.to_bits());
        }
        // An empty state's m is the lowest number there is: half of it is as low, and times log2 e still a number.
        let (d, sum, free) = (columns.added(), columns.sums(), columns.free());
        let (lowest, factor) = (V(free), V(free + 1));
        self.asm.constant(lowest, (f32::MIN / 2.0).to_bits());
        self.asm.constant(factor, unit.to_bits());
        for (v, off) in columns.slots() {
            let asm = &mut self.asm;
            asm.max(sum[v], lowest, Operand::Mem(M, off));
            asm.load(d[v], at(WEIGHTS, off));
            asm.sub(d[v], d[v], sum[v]);
            if !softmax.base2 {
                asm.mul(d[v], d[v], factor);
            }
            asm.zero(sum[v]);
        }
    }

    /// l += the sums.
    pub(super) fn close_weights(&mut self, columns: Columns) {
        let sum = columns.sums();
        for (v, off) in columns.slots() {
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
    // Registers of the exponential: what the lanes add, sums, then what is free for scores and their powers.
    fn added(self) -> Vec<V> {
        registers(0, self.n)
    }
    fn sums(self) -> Vec<V> {
        registers(self.n, self.n)
    }
    fn free(self) -> u8 {
        2 * self.n
    }
}

/// The weights of a few pairs of rows, from scores at `from` to rows of pairs at `to`.
pub(super) fn exponentials(
    asm: &mut Asm,
    columns: Columns,
    row: i32,
    (from, from_disp): (AsmRegister64, i32),
    (to, to_disp): (AsmRegister64, i32),
) {
    let n = usize::from(columns.n);
    let pairs = columns.pairs() as usize;
    let all = 2 * columns.pairs() as u8 * columns.n;
    let (d, sum) = (columns.added(), columns.sums());
    let x = registers(columns.free(), all);
    let (f, p) = (
        registers(columns.free() + all, all),
        registers(columns.free() + 2 * all, all),
    );
    for (i, x) in x.chunks(n).enumerate() {
        for (v, off) in columns.slots() {
            let s = Operand::Mem(from, from_disp + i as i32 * row + off);
            asm.copy(x[v], d[v]);
            asm.fma231(x[v], SCALE, s);
        }
    }
    powers(asm, &x, &f, &p);
    for pair in 0..pairs {
        let (even, odd) = x[2 * pair * n..][..2 * n].split_at(n);
        for (v, off) in columns.slots() {
            for x in [even[v], odd[v]] {
                asm.and(x, x, UPPER);
                asm.add(sum[v], sum[v], x);
            }
            asm.merge_pair(even[v], odd[v]);
            asm.store(at(to, to_disp + pair as i32 * row + off), odd[v]);
        }
    }
}

/// `xs` become their powers of two, half a unit of bf16 too large. Instruction by instruction over all vectors, so that neighbours never
/// wait for each other.
fn powers(asm: &mut Asm, xs: &[V], fs: &[V], ps: &[V]) {
    for (f, x) in fs.iter().zip(xs) {
        asm.fraction(*f, *x);
    }
    for p in ps {
        asm.copy(*p, C[3]);
    }
    for c in [C[2], C[1], C[0]] {
        for (p, f) in ps.iter().zip(fs) {
            asm.fma213(*p, *f, c);
        }
    }
    for (p, x) in ps.iter().zip(xs) {
        asm.scale(*x, *p, *x);
    }
}
