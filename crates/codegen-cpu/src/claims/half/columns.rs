// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Two columns of matrix tiles in antiphase: while the softmax of one goes through the vector unit, the products of the other go through
//! the tile unit.
//!
//! In: a group of two columns and at least one whole block of keys. Out: the block loop of the group. Within a column everything is in
//! order, S = K Q^T, softmax, O += V^T P^T, block after block; columns share nothing but keys and values, so one can be half a block
//! ahead of the other. A half step is the softmax of one column, into whose exponentials the other column's products with the values of
//! its last block and with the keys of its next one are woven:
//!
//! ```text
//! column 0 | S0  softmax0  O0 S1  softmax1  O1 ...
//! column 1 |     S0        softmax0  O0 S1  softmax1 ...
//! ```
//!
//! No instruction waits for one of the other unit within a half step, and both find work in the same window of reordering.

use iced_x86::IcedError;
use iced_x86::code_asm::{AsmRegister64, CodeLabel, qword_ptr, r10, r11, r14, rax, rsp};

use super::exponential::Exponential;
use super::softmax::Columns;
use super::{BLOCK, Engine, K, KEY_STEP, LEFT, O, Q, SCORES, Step, VALUES, pitch};
use crate::claims::asm::{Asm, Width};
use crate::claims::frame::LIVE_K;

use super::tiles::{BYTES, Matrix, SIDE, TILES};

/// What a half step multiplies.
#[derive(Clone, Copy)]
struct Products {
    column: u8,
    /// Values: bytes from where VALUES points to the block.
    values: Option<i32>,
    /// Keys, likewise.
    keys: Option<i32>,
}

// Distances from row to row while products are woven in: keys, queries and outputs, scores and weights, values.
const KEY_ROW: AsmRegister64 = rax;
const LANE_ROW: AsmRegister64 = r10;
const SCORE_ROW: AsmRegister64 = r11;
const VALUE_ROW: AsmRegister64 = r14;

impl Step<'_> {
    /// Whether a group of `n` vectors goes by columns: two, and a head of whole tiles.
    pub(super) fn antiphase(&self, n: u8) -> bool {
        self.engine == Engine::Tiles && n == 2 && self.tail() == 0
    }

    /// All blocks but a last one of at most 32 keys, with which it goes on at `last`; at `done` where there is none.
    pub(super) fn columns(&mut self, last: CodeLabel, done: CodeLabel) -> Result<(), IcedError> {
        let next = BLOCK as i32 * pitch(self.p.extents) as i32 * 2;
        let of = |column, values, keys| Products {
            column,
            values,
            keys,
        };
        self.asm.scalar(|a| {
            a.cmp(LEFT, KEY_STEP as i32)?;
            a.jle(last)
        });
        self.distances();
        self.products_of(of(0, None, Some(0)));
        self.half_step(0, of(1, None, Some(0)))?;
        let [mut top, mut ends, mut more] = std::array::from_fn(|_| self.asm.label());
        self.asm.bind(&mut top);
        self.asm.scalar(|a| {
            a.cmp(LEFT, (BLOCK + KEY_STEP) as i32)?;
            a.jle(ends)
        });
        self.half_step(1, of(0, Some(0), Some(next)))?;
        self.next_block();
        let before = -(BLOCK as i32) * 2;
        self.half_step(0, of(1, Some(before), Some(0)))?;
        self.asm.scalar(|a| a.jmp(top));
        self.asm.bind(&mut ends);
        self.half_step(1, of(0, Some(0), None))?;
        self.distances();
        self.products_of(of(1, Some(0), None));
        self.next_block();
        self.asm.scalar(|a| {
            a.jg(more)?;
            a.jmp(done)
        });
        self.asm.bind(&mut more);
        Ok(())
    }

    /// The softmax of a column, with products of the other one woven in. Only the first block looks for its maximum beforehand; the others
    /// are weighed under the reference as it stands, and once more, by themselves, where that turns out to lag.
    fn half_step(&mut self, column: u8, products: Products) -> Result<(), IcedError> {
        let columns = Columns {
            first: column,
            n: 1,
        };
        let [mut later, mut kept, mut done] = std::array::from_fn(|_| self.asm.label());
        self.hide(columns, BLOCK);
        self.asm.scalar(|a| {
            a.cmp(LEFT, qword_ptr(rsp + LIVE_K))?;
            a.jne(later)
        });
        self.raise(columns, BLOCK);
        self.asm.bind(&mut later);
        self.open_weights(columns);
        self.distances();
        let tiles = self.aside(|s| s.products_of(products))?;
        let vectors = self.aside(|s| {
            let (row, weights) = (s.row, s.room.weights);
            let pairs = columns.pairs();
            for i in (0..BLOCK as i32 / 2).step_by(pairs as usize) {
                let (from, to) = ((SCORES, 2 * i * row), (SCORES, weights + i * row));
                s.exponential.emit(&mut s.asm, columns, row, from, to);
            }
        })?;
        self.asm.weave(vectors, tiles);
        Exponential::unless_exceeded(&mut self.asm, kept);
        self.raise(columns, BLOCK);
        self.weights(columns, BLOCK);
        self.asm.scalar(|a| a.jmp(done));
        self.asm.bind(&mut kept);
        self.close_weights(columns);
        self.asm.bind(&mut done);
        Ok(())
    }

    /// What `body` emits, by itself.
    fn aside(&mut self, body: impl FnOnce(&mut Self)) -> Result<Asm, IcedError> {
        let own = std::mem::replace(&mut self.asm, Asm::new(Width::Zmm)?);
        body(self);
        Ok(std::mem::replace(&mut self.asm, own))
    }

    fn distances(&mut self) {
        let p = self.p;
        let (lanes, row) = (self.lanes, self.row);
        self.asm.scalar(|a| {
            a.mov(KEY_ROW, i64::from(pitch(p.extents)) * 2)?;
            a.mov(LANE_ROW, i64::from(lanes))?;
            a.mov(SCORE_ROW, i64::from(row))?;
            a.mov(VALUE_ROW, i64::from(p.extents.nk) * 2)
        });
    }

    /// O += V^T P^T of one block, then S = K Q^T of another. Sums rotate through four tile registers.
    fn products_of(&mut self, x: Products) {
        let [s0, s1, s2, s3, a0, a1, b0, b1] = TILES;
        let (sums, rows, columns) = ([s0, s1, s2, s3], [a0, a1], [b0, b1]);
        let matrix = |base, stride| Matrix { base, stride };
        let column = i32::from(x.column) * BYTES;
        let (lanes, row) = (self.lanes, self.row);
        if let Some(values) = x.values {
            let step = self.p.extents.nk as i32 * 2;
            let (v, o, p) = (
                matrix(VALUES, VALUE_ROW),
                matrix(O, LANE_ROW),
                matrix(SCORES, SCORE_ROW),
            );
            let weights = self.room.weights + column;
            let tiles = self.p.extents.head_dim as i32 / SIDE;
            self.asm.scalar(|a| {
                for (c, b) in (0..).zip(columns) {
                    a.tileloadd(b, p.at(weights + c * SIDE * row))?;
                }
                for first in (0..tiles).step_by(sums.len()) {
                    let here = || (first..tiles).zip(sums);
                    for (i, sum) in here() {
                        a.tileloadd(sum, o.at(i * SIDE * lanes + column))?;
                    }
                    for (c, b) in (0..).zip(columns) {
                        for ((i, sum), x) in here().zip(rows.into_iter().cycle()) {
                            a.tileloadd(x, v.at(values + i * SIDE * step + c * BYTES))?;
                            a.tdpbf16ps(sum, x, b)?;
                        }
                    }
                    for (i, sum) in here() {
                        a.tilestored(o.at(i * SIDE * lanes + column), sum)?;
                    }
                }
                Ok(())
            });
        }
        if let Some(keys) = x.keys {
            let bytes = pitch(self.p.extents) as i32 * 2;
            let (k, q, s) = (
                matrix(K, KEY_ROW),
                matrix(Q, LANE_ROW),
                matrix(SCORES, SCORE_ROW),
            );
            let chunks = (pitch(self.p.extents) / KEY_STEP) as i32;
            self.asm.scalar(|a| {
                for sum in sums {
                    a.tilezero(sum)?;
                }
                for (c, b) in (0..chunks).zip(columns.into_iter().cycle()) {
                    a.tileloadd(b, q.at(c * SIDE * lanes + column))?;
                    for ((i, sum), x) in (0..).zip(sums).zip(rows.into_iter().cycle()) {
                        a.tileloadd(x, k.at(keys + i * SIDE * bytes + c * BYTES))?;
                        a.tdpbf16ps(sum, x, b)?;
                    }
                }
                for (i, sum) in (0..).zip(sums) {
                    a.tilestored(s.at(i * SIDE * row + column), sum)?;
                }
                Ok(())
            });
        }
    }
}
