// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Products of pairs of bf16 by 512-bit vectors (AVX512-BF16): as in f32, with a pair in place of an element.
//!
//! In: rows of pairs by lanes (packed queries, weights), rows of pairs in memory (keys, transposed values). Out: rows of f32 by lanes. A
//! register tile is `n` vectors of lanes by 8 rows.

use iced_x86::code_asm::{AsmRegister64, qword_ptr, r10, r11, r13, r14, rax, rsp};

use super::{COUNTER, K, O, Q, SCORES, Step, VALUES, pitch};
use crate::claims::asm::{Operand, V, at};

/// Rows of the register tile: keys, or elements of a head.
const ROWS: u32 = 8;
/// Pairs a round of the inner loops.
const UNROLL: u32 = 4;

impl Step<'_> {
    /// `rows` by `n` products of one pair: vectors at `lanes`, pairs at `pairs` and every `step` bytes on.
    fn round(
        &mut self,
        n: u8,
        rows: u32,
        lanes: (AsmRegister64, i32),
        (pairs, disp, step): (AsmRegister64, i32, i32),
    ) {
        let first = rows as u8 * n;
        for v in 0..n {
            let from = at(lanes.0, lanes.1 + i32::from(v) * 64);
            self.asm.load(V(first + v), from);
        }
        for i in 0..rows as u8 {
            let x = V(first + n + i % 2);
            self.asm.broadcast(x, pairs, disp + i32::from(i) * step);
            for v in 0..n {
                self.asm.multiply_pairs(V(i * n + v), x, V(first + v));
            }
        }
    }

    /// All products of `count` pairs, a multiple of the unrolling: `lanes` and `pairs` are left behind them.
    fn rounds(
        &mut self,
        n: u8,
        rows: u32,
        count: u32,
        (lanes, stride): (AsmRegister64, i32),
        (pairs, step): (AsmRegister64, i32),
    ) {
        for acc in 0..rows as u8 * n {
            self.asm.zero(V(acc));
        }
        let left = r13;
        self.asm.scalar(|a| a.mov(left, i64::from(count / UNROLL)));
        let mut again = self.asm.label();
        self.asm.bind(&mut again);
        for u in 0..UNROLL as i32 {
            self.round(n, rows, (lanes, u * stride), (pairs, u * 4, step));
        }
        self.asm.scalar(|a| {
            a.add(lanes, UNROLL as i32 * stride)?;
            a.add(pairs, UNROLL as i32 * 4)?;
            a.dec(left)?;
            a.jnz(again)
        });
    }

    /// S = K Q^T.
    pub(super) fn scores_by_pairs(&mut self, n: u8, keys: u32) {
        let (key, to, left, lanes) = (rax, r10, r11, r14);
        let width = pitch(self.p.extents);
        let bytes = width as i32 * 2;
        let stride = self.lanes;
        self.asm.scalar(|a| {
            a.mov(key, K)?;
            a.mov(to, SCORES)?;
            a.mov(left, i64::from(keys / ROWS))
        });
        let mut top = self.asm.label();
        self.asm.bind(&mut top);
        self.asm.scalar(|a| a.mov(lanes, Q));
        self.rounds(n, ROWS, width / 2, (lanes, stride), (key, bytes));
        for i in 0..ROWS as u8 {
            for v in 0..n {
                let slot = i32::from(i) * self.row + i32::from(v) * 64;
                self.asm.store(at(to, slot), V(i * n + v));
            }
        }
        let row = self.row;
        self.asm.scalar(|a| {
            a.add(key, (ROWS as i32 - 1) * bytes)?;
            a.add(to, ROWS as i32 * row)?;
            a.dec(left)?;
            a.jnz(top)
        });
    }

    /// O += V^T P^T.
    pub(super) fn values_by_pairs(&mut self, n: u8, keys: u32) {
        let (out, first) = (r10, r11);
        let dim = self.p.extents.head_dim;
        let (blocks, rest) = (dim / ROWS, dim % ROWS);
        self.asm.scalar(|a| {
            a.mov(out, O)?;
            a.mov(first, VALUES)
        });
        if blocks > 0 {
            self.asm
                .scalar(|a| a.mov(qword_ptr(rsp + COUNTER), blocks as i32));
            let mut top = self.asm.label();
            self.asm.bind(&mut top);
            self.value_rows(n, ROWS, keys);
            let (lanes, step) = (self.lanes, self.p.extents.nk as i32 * 2);
            self.asm.scalar(|a| {
                a.add(out, ROWS as i32 * lanes)?;
                a.add(first, ROWS as i32 * step)?;
                a.dec(qword_ptr(rsp + COUNTER))?;
                a.jnz(top)
            });
        }
        if rest > 0 {
            self.value_rows(n, rest, keys);
        }
    }

    /// `rows` elements of the head at R11, into R10.
    fn value_rows(&mut self, n: u8, rows: u32, keys: u32) {
        let (out, first, value, weight) = (r10, r11, rax, r14);
        let weights = self.room.weights;
        self.asm.scalar(|a| {
            a.mov(value, first)?;
            a.lea(weight, at(SCORES, weights))
        });
        let (row, step) = (self.row, self.p.extents.nk as i32 * 2);
        self.rounds(n, rows, keys / 2, (weight, row), (value, step));
        for i in 0..rows as u8 {
            for v in 0..n {
                let (slot, acc) = (i32::from(i) * self.lanes + i32::from(v) * 64, V(i * n + v));
                self.asm.add(acc, acc, Operand::Mem(out, slot));
                self.asm.store(at(out, slot), acc);
            }
        }
    }
}
