// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Products of pairs of bf16 by matrix tiles (AMX).
//!
//! In: rows of pairs by lanes (packed queries, weights), rows of pairs in memory (keys, transposed values). Out: rows of f32 by lanes. A
//! tile holds 16 rows of 64 bytes: 32 elements of a row of K or V^T (the first operand), 16 rows of pairs by 16 lanes (the second), 16
//! rows of scores or outputs by 16 lanes (the sum).
//!
//! A register tile is two row tiles by the group's columns, with a register for each operand and sum. Where the head ends within a tile,
//! the last rows of V^T and of outputs are tiles of just so many rows, which takes three registers of a shape of their own for as long as
//! the configuration stands; the register tile is then one row tile by the columns.

use iced_x86::code_asm::{
    AsmMemoryOperand, AsmRegister64, AsmRegisterTmm, byte_ptr, dword_ptr, ptr, r10, r11, rax, tmm0,
    tmm1, tmm2, tmm3, tmm4, tmm5, tmm6, tmm7,
};

use super::{CONFIGURATION, K, KEY_STEP, O, Q, SCORES, SCRATCH, Step, VALUES, pitch};
use crate::claims::asm::{V, at};

/// Rows of a whole tile, and columns of f32.
pub(super) const SIDE: i32 = 16;
/// Bytes of a tile's row.
pub(super) const BYTES: i32 = 64;

pub(super) const TILES: [AsmRegisterTmm; 8] = [tmm0, tmm1, tmm2, tmm3, tmm4, tmm5, tmm6, tmm7];

/// Which tile register holds what.
#[derive(Clone, Copy)]
struct Roles {
    /// Row tiles of the register tile.
    rows: i32,
    /// The first sum, the first of the rows' operands.
    sum: usize,
    operand: usize,
}

impl Roles {
    fn sum(self, i: i32, j: u8) -> AsmRegisterTmm {
        TILES[self.sum + 2 * i as usize + usize::from(j)]
    }
    fn row_operand(self, i: i32) -> AsmRegisterTmm {
        TILES[self.operand + i as usize]
    }
    fn column_operand(self, j: u8) -> AsmRegisterTmm {
        TILES[6 + usize::from(j)]
    }
}

/// A matrix in memory: where it begins, and the register of the distance from row to row.
#[derive(Clone, Copy)]
pub(super) struct Matrix {
    pub(super) base: AsmRegister64,
    pub(super) stride: AsmRegister64,
}

impl Matrix {
    pub(super) fn at(self, disp: i32) -> AsmMemoryOperand {
        ptr(self.base + self.stride + disp)
    }
}

impl Step<'_> {
    /// Elements of the head behind its last whole tile.
    pub(super) fn tail(&self) -> i32 {
        self.p.extents.head_dim as i32 % SIDE
    }

    /// The register tile of whole tiles.
    fn whole(&self) -> Roles {
        Roles {
            rows: if self.tail() == 0 { 2 } else { 1 },
            sum: 0,
            operand: 4,
        }
    }

    /// That of the tile of the last rows of V^T.
    fn last(&self) -> Roles {
        Roles {
            rows: 1,
            sum: 2,
            operand: 5,
        }
    }

    /// Writes and loads the tiles' shapes: rows of 64 bytes, 16 of them but in the tiles of the head's last elements.
    pub(super) fn configure(&mut self) {
        let tail = self.tail();
        self.asm.zero(V(0));
        self.asm.store(at(SCRATCH, CONFIGURATION), V(0));
        let last = self.last();
        let short = [last.sum(0, 0), last.sum(0, 1), last.row_operand(0)];
        self.asm.scalar(|a| {
            a.mov(byte_ptr(SCRATCH + CONFIGURATION), 1)?;
            for pair in 0..4 {
                let widths = dword_ptr(SCRATCH + (CONFIGURATION + 16 + 4 * pair));
                a.mov(widths, BYTES << 16 | BYTES)?;
            }
            for (i, tile) in (0..).zip(TILES) {
                let rows = if tail > 0 && short.contains(&tile) {
                    tail
                } else {
                    SIDE
                };
                a.mov(byte_ptr(SCRATCH + (CONFIGURATION + 48 + i)), rows)?;
            }
            a.ldtilecfg(at(SCRATCH, CONFIGURATION))
        });
    }

    /// Adds `rows` x `n` products over `chunks` tiles of the contracted axis: `first` holds row tiles, `second` columns.
    fn products(
        &mut self,
        roles: Roles,
        (rows, n, chunks): (i32, u8, i32),
        (first, first_disp, tile): (Matrix, i32, i32),
        (second, second_disp, chunk): (Matrix, i32, i32),
    ) {
        for c in 0..chunks {
            for j in 0..n {
                let disp = second_disp + c * chunk + i32::from(j) * BYTES;
                let to = roles.column_operand(j);
                self.asm.scalar(|a| a.tileloadd(to, second.at(disp)));
            }
            for i in 0..rows {
                let x = roles.row_operand(i);
                let disp = first_disp + i * tile + c * BYTES;
                self.asm.scalar(|a| {
                    a.tileloadd(x, first.at(disp))?;
                    for j in 0..n {
                        a.tdpbf16ps(roles.sum(i, j), x, roles.column_operand(j))?;
                    }
                    Ok(())
                });
            }
        }
    }

    /// S = K Q^T.
    pub(super) fn scores_by_tiles(&mut self, n: u8, keys: u32) {
        let matrix = |base, stride| Matrix { base, stride };
        let (k, q, s) = (matrix(K, rax), matrix(Q, r10), matrix(SCORES, r11));
        let (bytes, lanes, row) = (pitch(self.p.extents) as i32 * 2, self.lanes, self.row);
        self.asm.scalar(|a| {
            a.mov(rax, i64::from(bytes))?;
            a.mov(r10, i64::from(lanes))?;
            a.mov(r11, i64::from(row))
        });
        let roles = self.whole();
        let all = keys as i32 / SIDE;
        for first in (0..all).step_by(roles.rows as usize) {
            let rows = roles.rows.min(all - first);
            for i in 0..rows {
                for j in 0..n {
                    self.asm.scalar(|a| a.tilezero(roles.sum(i, j)));
                }
            }
            let chunks = (pitch(self.p.extents) / KEY_STEP) as i32;
            self.products(
                roles,
                (rows, n, chunks),
                (k, first * SIDE * bytes, SIDE * bytes),
                (q, 0, SIDE * lanes),
            );
            for i in 0..rows {
                for j in 0..n {
                    let to = s.at((first + i) * SIDE * row + i32::from(j) * BYTES);
                    self.asm.scalar(|a| a.tilestored(to, roles.sum(i, j)));
                }
            }
        }
    }

    /// O += V^T P^T.
    pub(super) fn values_by_tiles(&mut self, n: u8, keys: u32) {
        let (step, lanes, row) = (self.p.extents.nk as i32 * 2, self.lanes, self.row);
        self.asm.scalar(|a| {
            a.mov(rax, i64::from(step))?;
            a.mov(r10, i64::from(lanes))?;
            a.mov(r11, i64::from(row))
        });
        let roles = self.whole();
        let all = self.p.extents.head_dim as i32 / SIDE;
        for first in (0..all).step_by(roles.rows as usize) {
            let rows = roles.rows.min(all - first);
            self.value_tiles(roles, (first, rows), n, keys);
        }
        if self.tail() > 0 {
            self.value_tiles(self.last(), (all, 1), n, keys);
        }
    }

    /// `rows` tiles of V^T from tile `first` on.
    fn value_tiles(&mut self, roles: Roles, (first, rows): (i32, i32), n: u8, keys: u32) {
        let matrix = |base, stride| Matrix { base, stride };
        let (v, o, p) = (matrix(VALUES, rax), matrix(O, r10), matrix(SCORES, r11));
        let (step, lanes, row) = (self.p.extents.nk as i32 * 2, self.lanes, self.row);
        let out = |i: i32, j: u8| o.at((first + i) * SIDE * lanes + i32::from(j) * BYTES);
        for i in 0..rows {
            for j in 0..n {
                self.asm.scalar(|a| a.tileloadd(roles.sum(i, j), out(i, j)));
            }
        }
        self.products(
            roles,
            (rows, n, (keys / KEY_STEP) as i32),
            (v, first * SIDE * step, SIDE * step),
            (p, self.room.weights, SIDE * row),
        );
        for i in 0..rows {
            for j in 0..n {
                self.asm
                    .scalar(|a| a.tilestored(out(i, j), roles.sum(i, j)));
            }
        }
    }
}
