// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The claim of `step` in f32, at 256 and 512 bits.
//!
//! In: the parameters of the tile function. Out: machine code with the same parameters in the C calling convention of Linux. Lanes are
//! queries: S^T = K Q^T and O^T = V^T P^T, so keys and values are only broadcast and the softmax has no horizontal step. Lanes go in
//! groups of three vectors (a tail in two or one); a group keeps a register tile of 3 vectors by 8 rows (512 bits) or by 4 (256 bits)
//! and makes three passes: scores with their maximum, exponentials with their sum, products with values.
//!
//! What the claim does not do it leaves to the portable body, to which it jumps with all parameters where they are: blocks with hidden
//! values that are not finite (`careful`), and empty tiles.

use attnc_tile::core::Accuracy;
use attnc_tile::step::Parameters;
use iced_x86::IcedError;
use iced_x86::code_asm::{
    AsmRegister64, ptr, qword_ptr, r8, r9, r10, r11, r12, r13, r14, r15, rax, rbp, rbx, rcx, rdi,
    rdx, rsi, rsp,
};

use super::asm::{Asm, Operand, V, Width, at};
use super::exp2::Exp2;
use super::frame::{self, COUNTS, KPOS, LIVE_K, LIVE_Q, MIXED, QPOS, TEMPS};

// Registers of the body. m, l, o, q, the weights, the scores advance from group to group.
const M: AsmRegister64 = rdi;
const L: AsmRegister64 = rsi;
const O: AsmRegister64 = rdx;
const Q: AsmRegister64 = rcx;
const K: AsmRegister64 = r8;
const VALUES: AsmRegister64 = r9;
const WEIGHTS: AsmRegister64 = rbx;
const SCORES: AsmRegister64 = rbp;
const KEYS: AsmRegister64 = r12;
const SCRATCH: AsmRegister64 = r15;

/// Keys whose rows the passes may read beyond the live ones: zeros.
pub(crate) const KEY_STEP: u32 = 8;
/// Bytes of a line of the caches.
const LINE: usize = 64;
/// Contracted elements a round of the inner loops.
const UNROLL: u32 = 4;
/// Offsets in the scratch memory: a vector a lane group of maxima, which make room for t - m, then of corrections, then constants.
const MAXIMA: i32 = 0;
const CORRECTIONS: i32 = 192;
const CONSTANTS: i32 = 384;
/// Bytes of scratch memory: maxima, corrections, at most ten constants; coarse weights have up to four of their own (14 of 256 bits, 12 of
/// 512), which may go on where the row vectors of the portable body are.
const SCRATCH_BYTES: u32 = 1024;

/// One claim under construction.
struct Step<'p> {
    p: &'p Parameters,
    asm: Asm,
    /// Of corrections, and of weights.
    exp2: Exp2,
    weights: Exp2,
    scale: Operand,
    /// Bytes from one row of lanes to the next.
    pitch: i32,
}

/// Rows of the register tile: keys, or elements of a head.
pub(crate) fn rows(width: Width) -> u32 {
    match width {
        Width::Zmm => 8,
        Width::Ymm => 4,
    }
}

/// Whether there is a claim: the memory of the scores' visibility, which only the portable body uses, serves as scratch.
pub(crate) fn claims(p: &Parameters, width: Width) -> bool {
    p.extents.mq.is_multiple_of(width.lanes())
        && p.extents.nk.is_multiple_of(KEY_STEP)
        && p.extents.mq * p.extents.nk * 4 >= SCRATCH_BYTES
}

/// The code, and the offset in it of the 32-bit distance to the portable body.
///
/// # Errors
/// An instruction that does not exist: a bug of ours.
pub(crate) fn emit(p: &Parameters, width: Width) -> Result<(Vec<u8>, u32), IcedError> {
    frame::with_guard(body(p, width)?)
}

fn body(p: &Parameters, width: Width) -> Result<Vec<u8>, IcedError> {
    let mut asm = Asm::new(width)?;
    let scores = (p.extents.nk * p.extents.mq * 4).next_multiple_of(64) as i32;
    frame::enter(&mut asm);
    asm.scalar(|a| {
        a.mov(SCORES, qword_ptr(rsp + TEMPS))?;
        a.lea(SCRATCH, at(SCORES, scores))?;
        a.mov(WEIGHTS, qword_ptr(rsp + COUNTS))?;
        a.mov(KEYS, qword_ptr(rsp + LIVE_K))
    });
    let (exp2, disp) = Exp2::write(&mut asm, !p.softmax.base2, (SCRATCH, CONSTANTS));
    let (weights, disp) = exp2.coarser(&mut asm, p.softmax.weights, (SCRATCH, disp));
    asm.constant(V(0), p.softmax.scale.to_bits());
    asm.store(at(SCRATCH, disp), V(0));
    let scale = Operand::Mem(SCRATCH, disp);
    let pitch = p.extents.mq as i32 * 4;
    let mut s = Step {
        p,
        asm,
        exp2,
        weights,
        scale,
        pitch,
    };
    s.groups();
    frame::leave(&mut s.asm);
    s.asm.finish()
}

impl Step<'_> {
    /// Lanes in groups of three vectors, the last one in as many as it needs.
    fn groups(&mut self) {
        let lanes = self.asm.width.lanes() as i32;
        let [mut top, mut two, mut one, mut next, mut done] =
            std::array::from_fn(|_| self.asm.label());
        self.asm.bind(&mut top);
        self.asm.scalar(|a| {
            a.cmp(qword_ptr(rsp + LIVE_Q), lanes)?;
            a.jle(one)?;
            a.cmp(qword_ptr(rsp + LIVE_Q), 2 * lanes)?;
            a.jle(two)
        });
        self.group(3);
        self.asm.bind(&mut next);
        self.asm.scalar(|a| {
            a.sub(qword_ptr(rsp + LIVE_Q), 3 * lanes)?;
            a.jle(done)?;
            for r in [M, L, O, Q, WEIGHTS, SCORES] {
                a.add(r, 12 * lanes)?;
            }
            a.add(qword_ptr(rsp + QPOS), 24 * lanes)?;
            a.jmp(top)
        });
        self.asm.bind(&mut two);
        self.group(2);
        self.asm.scalar(|a| a.jmp(next));
        self.asm.bind(&mut one);
        self.group(1);
        self.asm.scalar(|a| a.jmp(next));
        self.asm.bind(&mut done);
    }

    /// A group of `n` vectors.
    fn group(&mut self, n: u8) {
        self.scores(n);
        if self.p.causal {
            self.hide(n);
        }
        self.exponentials(n);
        self.values(n);
    }

    /// Byte offset of vector `v` of a group.
    fn vector(&self, v: u8) -> i32 {
        i32::from(v) * self.asm.width.bytes()
    }

    /// The register of row `i`, vector `v` of a register tile of `n` vectors.
    fn acc(&self, n: u8, i: u32, v: u8) -> V {
        V(i as u8 * n + v)
    }

    /// `rows` by `n` products of one contracted element: vectors at `lanes`, factors at `factors` and every `step` bytes on.
    fn round(
        &mut self,
        n: u8,
        rows: u32,
        lanes: (AsmRegister64, i32),
        (factors, disp, step): (AsmRegister64, i32, i32),
    ) {
        let first = rows as u8 * n;
        for v in 0..n {
            let from = at(lanes.0, lanes.1 + self.vector(v));
            self.asm.load(V(first + v), from);
        }
        // Two registers in turn where there are two: a broadcast need not wait for the products of the last.
        let spare = self.asm.width.registers() - first - n;
        for i in 0..rows {
            let x = V(first + n + (i as u8 % spare.clamp(1, 2)));
            self.asm.broadcast(x, factors, disp + i as i32 * step);
            for v in 0..n {
                let acc = self.acc(n, i, v);
                self.asm.fma231(acc, x, V(first + v));
            }
        }
    }

    /// S = K Q^T, and the maximum of each lane into the scratch memory.
    fn scores(&mut self, n: u8) {
        let (rows, dim, pitch) = (rows(self.asm.width), self.p.extents.head_dim, self.pitch);
        let row = dim as i32 * 4;
        let rounds = dim / UNROLL;
        let (key, to, ahead, lanes, count) = (rax, r10, r11, r13, r14);
        let left = || qword_ptr(rsp);
        self.asm.constant(V(0), f32::NEG_INFINITY.to_bits());
        for v in 0..n {
            let slot = at(SCRATCH, MAXIMA + self.vector(v));
            self.asm.store(slot, V(0));
        }
        self.asm.scalar(|a| {
            a.mov(key, K)?;
            a.mov(to, SCORES)?;
            a.xor(ahead, ahead)?;
            a.mov(left(), KEYS)
        });
        let [mut top, mut tail, mut done] = std::array::from_fn(|_| self.asm.label());
        self.asm.bind(&mut top);
        for i in 0..rows {
            for v in 0..n {
                let acc = self.acc(n, i, v);
                self.asm.zero(acc);
            }
        }
        self.asm.scalar(|a| a.mov(lanes, Q));
        if rounds > 0 {
            self.asm.scalar(|a| a.mov(count, u64::from(rounds)));
            let mut again = self.asm.label();
            self.asm.bind(&mut again);
            for u in 0..UNROLL as i32 {
                self.round(n, rows, (lanes, u * pitch), (key, u * 4, row));
            }
            self.request(ahead);
            self.asm.scalar(|a| {
                a.add(lanes, UNROLL as i32 * pitch)?;
                a.add(key, UNROLL as i32 * 4)?;
                a.dec(count)?;
                a.jnz(again)
            });
        }
        for u in 0..(dim % UNROLL) as i32 {
            self.round(n, rows, (lanes, u * pitch), (key, u * 4, row));
        }
        self.asm.scalar(|a| {
            a.add(key, rows as i32 * row - (rounds * UNROLL) as i32 * 4)?;
            // What the rounds left out of the rows of a register tile.
            match rows * (dim % UNROLL) * 4 {
                0 => Ok(()),
                rest => a.add(ahead, rest as i32),
            }
        });
        for i in 0..rows {
            for v in 0..n {
                let (slot, acc) = (at(to, i as i32 * pitch + self.vector(v)), self.acc(n, i, v));
                self.asm.store(slot, acc);
            }
        }
        self.asm.scalar(|a| {
            a.cmp(left(), rows as i32)?;
            a.jl(tail)
        });
        let most = |v: u8| V(rows as u8 * n + v);
        for v in 0..n {
            let slot = MAXIMA + self.vector(v);
            self.asm.load(most(v), at(SCRATCH, slot));
            for i in 0..rows {
                let acc = self.acc(n, i, v);
                self.asm.max(most(v), most(v), acc);
            }
            self.asm.store(at(SCRATCH, slot), most(v));
        }
        self.asm.scalar(|a| {
            a.add(to, rows as i32 * pitch)?;
            a.sub(left(), rows as i32)?;
            a.jnz(top)?;
            a.jmp(done)
        });
        // The last keys are fewer than the tile has rows: the padding's scores count for nothing.
        self.asm.bind(&mut tail);
        for v in 0..n {
            let slot = MAXIMA + self.vector(v);
            self.asm.load(most(v), at(SCRATCH, slot));
        }
        let offsets: Vec<i32> = (0..n).map(|v| self.vector(v)).collect();
        self.asm.scalar(|a| a.mov(ahead, left()));
        self.asm.repeat(ahead, |asm| {
            for (v, off) in (0..n).zip(&offsets) {
                asm.max(most(v), most(v), Operand::Mem(to, *off));
            }
            asm.scalar(|a| a.add(to, pitch));
        });
        for v in 0..n {
            let slot = MAXIMA + self.vector(v);
            self.asm.store(at(SCRATCH, slot), most(v));
        }
        self.asm.bind(&mut done);
    }

    /// Asks for lines of this step's values and of the next step's keys, as far on as the bytes of a round's share of both: by the last
    /// round the first-level cache holds what comes next. Nothing faults where there is no next step.
    fn request(&mut self, ahead: AsmRegister64) {
        let share = (rows(self.asm.width) * UNROLL) as i32 * 4;
        let keys = (self.p.extents.nk * self.p.extents.head_dim * 4) as i32;
        self.asm.scalar(|a| {
            for off in (0..share).step_by(LINE) {
                a.prefetcht0(ptr(VALUES + ahead + off))?;
                a.prefetcht0(ptr(K + ahead + (keys + off)))?;
            }
            a.add(ahead, share)
        });
    }

    /// Causal, `mixed`: scores of keys behind their query become -inf, and the maxima anew.
    fn hide(&mut self, n: u8) {
        let pitch = self.pitch;
        let (position, score, left, queries) = (rax, r10, r11, r13);
        let mut done = self.asm.label();
        let (key, low, s, spare) = (V(0), V(1), V(2), V(3));
        let most = |v: u8| V(5 + v);
        self.asm.scalar(|a| {
            a.cmp(qword_ptr(rsp + MIXED), 0)?;
            a.je(done)
        });
        self.asm.constant(low, f32::NEG_INFINITY.to_bits());
        for v in 0..n {
            self.asm.copy(most(v), low);
        }
        self.asm.scalar(|a| {
            a.mov(position, qword_ptr(rsp + KPOS))?;
            a.mov(score, SCORES)?;
            a.mov(left, KEYS)?;
            a.mov(queries, qword_ptr(rsp + QPOS))
        });
        let offsets: Vec<i32> = (0..n).map(|v| self.vector(v)).collect();
        self.asm.repeat(left, |asm| {
            asm.broadcast_position(key, position);
            for (v, off) in (0..n).zip(&offsets) {
                asm.load(s, at(score, *off));
                asm.hide_behind(s, key, low, (queries, 2 * off), spare);
                asm.store(at(score, *off), s);
                asm.max(most(v), most(v), s);
            }
            asm.scalar(|a| {
                a.add(position, 8)?;
                a.add(score, pitch)
            });
        });
        for (v, off) in (0..n).zip(&offsets) {
            self.asm.store(at(SCRATCH, MAXIMA + off), most(v));
        }
        self.asm.bind(&mut done);
    }

    /// m2 = max(m, max s * scale + t), the corrections exp(m - m2), and P = exp(s * scale + (t - m2)) with l = l a + sum P. Rows of P
    /// that are missing to a multiple of the unrolling become zeros.
    fn exponentials(&mut self, n: u8) {
        let pitch = self.pitch;
        let (score, left) = (r10, r11);
        let regs = |first: u8| -> Vec<V> { (0..n).map(|v| V(first + v)).collect() };
        let (sum, x) = (regs(0), regs(n));
        let spare: Vec<V> = (0..2 * n).map(|v| V(2 * n + v)).collect();
        // Constants stand in registers as far as these go, what lanes add in memory: a load is dear where every constant is one.
        let scale = self.asm.held(self.scale, V(4 * n));
        let rest = 4 * n + 1..self.asm.width.registers();
        let weights = self.weights.clone().held(&mut self.asm, rest);
        let corrections = match self.p.softmax.weights {
            Accuracy::Full => &weights,
            Accuracy::Bits13 | Accuracy::Bits9 => &self.exp2,
        };
        for i in 0..usize::from(n) {
            let off = self.vector(i as u8);
            let asm = &mut self.asm;
            // x = m - m2; t - m2 goes where the maximum was; sum holds m2 on the way.
            let (m2, t) = (sum[i], spare[i]);
            asm.load(t, at(WEIGHTS, off));
            asm.load(m2, at(SCRATCH, MAXIMA + off));
            asm.fma213(m2, scale, t);
            asm.load(x[i], at(M, off));
            asm.max(m2, m2, x[i]);
            asm.sub(x[i], x[i], m2);
            asm.sub(t, t, m2);
            asm.store(at(M, off), m2);
            asm.store(at(SCRATCH, MAXIMA + off), t);
        }
        corrections.emit(&mut self.asm, &x, &spare);
        for i in 0..usize::from(n) {
            let off = self.vector(i as u8);
            self.asm.store(at(SCRATCH, CORRECTIONS + off), x[i]);
            self.asm.zero(sum[i]);
        }
        self.asm.scalar(|a| {
            a.mov(score, SCORES)?;
            a.mov(left, KEYS)
        });
        let offsets: Vec<i32> = (0..n).map(|v| self.vector(v)).collect();
        self.asm.repeat(left, |asm| {
            for (i, off) in offsets.iter().enumerate() {
                asm.load(x[i], at(score, *off));
                asm.fma213(x[i], scale, Operand::Mem(SCRATCH, MAXIMA + off));
            }
            weights.emit(asm, &x, &spare);
            for (i, off) in offsets.iter().enumerate() {
                asm.store(at(score, *off), x[i]);
                asm.add(sum[i], sum[i], x[i]);
            }
            asm.scalar(|a| a.add(score, pitch));
        });
        for i in 0..usize::from(n) {
            let off = self.vector(i as u8);
            let asm = &mut self.asm;
            let l = spare[i];
            asm.load(x[i], at(SCRATCH, CORRECTIONS + off));
            asm.load(l, at(L, off));
            asm.fma213(l, x[i], sum[i]);
            asm.store(at(L, off), l);
        }
        let mut done = self.asm.label();
        self.asm.scalar(|a| {
            a.mov(left, KEYS)?;
            a.neg(left)?;
            a.and(left, UNROLL as i32 - 1)?;
            a.jz(done)
        });
        self.asm.zero(V(0));
        self.asm.repeat(left, |asm| {
            for off in &offsets {
                asm.store(at(score, *off), V(0));
            }
            asm.scalar(|a| a.add(score, pitch));
        });
        self.asm.bind(&mut done);
    }

    /// O = O a + V^T P^T.
    fn values(&mut self, n: u8) {
        let (rows, dim) = (rows(self.asm.width), self.p.extents.head_dim);
        let (out, column) = (r10, r11);
        self.asm.scalar(|a| {
            a.mov(out, O)?;
            a.mov(column, VALUES)
        });
        let (blocks, rest) = (dim / rows, dim % rows);
        if blocks > 0 {
            self.asm.scalar(|a| a.mov(qword_ptr(rsp), blocks as i32));
            let mut top = self.asm.label();
            self.asm.bind(&mut top);
            self.value_rows(n, rows);
            let pitch = self.pitch;
            self.asm.scalar(|a| {
                a.add(out, rows as i32 * pitch)?;
                a.add(column, rows as i32 * 4)?;
                a.dec(qword_ptr(rsp))?;
                a.jnz(top)
            });
        }
        if rest > 0 {
            self.value_rows(n, rest);
        }
    }

    /// `rows` elements of the head at R11, into R10.
    fn value_rows(&mut self, n: u8, rows: u32) {
        let (dim, pitch) = (self.p.extents.head_dim as i32, self.pitch);
        let (out, column, value, weight, count) = (r10, r11, rax, r13, r14);
        for i in 0..rows {
            for v in 0..n {
                let acc = self.acc(n, i, v);
                self.asm.zero(acc);
            }
        }
        self.asm.scalar(|a| {
            a.mov(value, column)?;
            a.mov(weight, SCORES)?;
            a.lea(count, at(KEYS, UNROLL as i32 - 1))?;
            a.shr(count, UNROLL.trailing_zeros())
        });
        let mut again = self.asm.label();
        self.asm.bind(&mut again);
        for u in 0..UNROLL as i32 {
            self.round(n, rows, (weight, u * pitch), (value, u * dim * 4, 4));
        }
        self.asm.scalar(|a| {
            a.add(weight, UNROLL as i32 * pitch)?;
            a.add(value, UNROLL as i32 * dim * 4)?;
            a.dec(count)?;
            a.jnz(again)
        });
        let correction = |v: u8| V(rows as u8 * n + v);
        for v in 0..n {
            let slot = at(SCRATCH, CORRECTIONS + self.vector(v));
            self.asm.load(correction(v), slot);
        }
        for i in 0..rows {
            for v in 0..n {
                let (slot, acc) = (i as i32 * pitch + self.vector(v), self.acc(n, i, v));
                self.asm.fma231(acc, correction(v), Operand::Mem(out, slot));
                self.asm.store(at(out, slot), acc);
            }
        }
    }
}
