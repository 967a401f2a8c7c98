// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The claims of moves between rows of tensors and tiles that lie in columns (lanes are queries): gathers of queries, scatters of results.
//!
//! In: the move and what its program says of it. Out: machine code with the same parameters, in the C calling convention of Linux: (dst,
//! base, row bytes, idx, live, flag) or (base, row bytes, idx, live, src). Eight rows go at a time, by blocks of 8 x 8 elements that are
//! transposed in registers, on 256 bits at every level. Rows that are missing or behind the live ones are read from a row of zeros on the
//! stack, and written to a row there that nobody reads: no case distinction inside.

use attnc_tensor::DType;
use iced_x86::IcedError;
use iced_x86::code_asm::{
    AsmMemoryOperand, AsmRegister64, qword_ptr, r8, r9, r10, r11, r12, r13, r14, r15, rax, rbp,
    rbx, rcx, rdi, rdx, rsi, rsp,
};

use super::asm::{Asm, V, Width, at};
use super::narrow::Narrow;
use super::watch::{Lanes, Watch};

/// Rows of a block, lanes of its vectors.
const EIGHT: u32 = 8;
const SAVED: [AsmRegister64; 6] = [rbx, rbp, r12, r13, r14, r15];
/// The rows of a block.
const ROWS: [AsmRegister64; 8] = [rax, rbx, rbp, r10, r11, r12, r13, r14];
/// Bytes into the rows.
const ALONG: AsmRegister64 = r15;
/// The tile.
const TILE: AsmRegister64 = rdi;

// Stack slots below the saved registers; then the row of zeros.
const BASE: i32 = 0;
const BYTES: i32 = 8;
const TOP: i32 = 16;
const FLAG: i32 = 24;
const ROW: i32 = 32;

/// What is known of the move at compile time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    pub(super) dtype: DType,
    /// Elements of a row.
    pub(super) elements: u32,
    /// Elements of the tile from one element of a row to the next.
    pub(super) stride: u32,
    /// Bits of the magnitude from which on an element raises the flag (gathers).
    pub(super) limit: u32,
}

struct Block {
    x: Columns,
    asm: Asm,
}

/// The code of a gather.
///
/// # Errors
/// An instruction that does not exist: a bug of ours.
pub(super) fn gather(x: Columns) -> Result<Vec<u8>, IcedError> {
    // Parameters: dst in RDI, base in RSI, row bytes in RDX, idx in RCX, live in R8, flag in R9.
    let mut b = Block::enter(x)?;
    b.asm.scalar(|a| {
        a.mov(qword_ptr(rsp + BASE), rsi)?;
        a.mov(qword_ptr(rsp + BYTES), rdx)?;
        a.mov(qword_ptr(rsp + FLAG), r9)
    });
    let watch = Watch::new(&mut b.asm, Lanes::Floats, [V(15), V(14), V(13)]);
    b.zero_row();
    b.blocks(rcx, r8, |b| b.read(&watch));
    b.asm.scalar(|a| a.mov(r9, qword_ptr(rsp + FLAG)));
    watch.tell(&mut b.asm, x.limit, r9);
    b.leave()
}

/// The code of a scatter.
///
/// # Errors
/// An instruction that does not exist: a bug of ours.
pub(super) fn scatter(x: Columns) -> Result<Vec<u8>, IcedError> {
    // Parameters: base in RDI, row bytes in RSI, idx in RDX, live in RCX, src in R8.
    let mut b = Block::enter(x)?;
    b.asm.scalar(|a| {
        a.mov(qword_ptr(rsp + BASE), rdi)?;
        a.mov(qword_ptr(rsp + BYTES), rsi)?;
        a.mov(TILE, r8)?;
        a.mov(r8, rcx)?;
        a.mov(rcx, rdx)
    });
    let narrow = Narrow::new(&mut b.asm, x.dtype);
    b.blocks(rcx, r8, |b| b.write(&narrow));
    b.leave()
}

impl Block {
    fn enter(x: Columns) -> Result<Block, IcedError> {
        let mut asm = Asm::new(Width::Ymm)?;
        let frame = frame(x);
        asm.scalar(|a| {
            for r in SAVED {
                a.push(r)?;
            }
            a.sub(rsp, frame)
        });
        Ok(Block { x, asm })
    }

    fn leave(mut self) -> Result<Vec<u8>, IcedError> {
        let frame = frame(self.x);
        self.asm.scalar(|a| a.add(rsp, frame));
        self.asm.leave(&SAVED);
        self.asm.finish()
    }

    fn size(&self) -> i32 {
        self.x.dtype.bytes() as i32
    }

    /// Bytes from one element of a row to the next in the tile.
    fn pitch(&self) -> i32 {
        self.x.stride as i32 * 4
    }

    fn zero_row(&mut self) {
        let end = self.x.elements as i32 * self.size();
        self.asm.zero(V(0));
        for off in (0..end).step_by(32) {
            self.asm.store(at(rsp, ROW + off), V(0));
        }
    }

    /// Rows in eights: `body` with their addresses in [`ROWS`] and the tile's column in [`TILE`].
    fn blocks(&mut self, idx: AsmRegister64, live: AsmRegister64, body: impl Fn(&mut Block)) {
        let [mut top, mut done] = std::array::from_fn(|_| self.asm.label());
        self.asm.scalar(|a| {
            a.test(live, live)?;
            a.jle(done)
        });
        self.asm.bind(&mut top);
        self.asm.scalar(|a| a.mov(qword_ptr(rsp + TOP), TILE));
        for (i, row) in ROWS.into_iter().enumerate() {
            let [mut none, mut next] = std::array::from_fn(|_| self.asm.label());
            self.asm.scalar(|a| {
                if i > 0 {
                    a.cmp(live, i as i32)?;
                    a.jle(none)?;
                }
                a.mov(row, qword_ptr(idx + 8 * i as i32))?;
                a.test(row, row)?;
                a.js(none)?;
                a.imul_2(row, qword_ptr(rsp + BYTES))?;
                a.add(row, qword_ptr(rsp + BASE))?;
                a.jmp(next)
            });
            self.asm.bind(&mut none);
            self.asm.scalar(|a| a.lea(row, at(rsp, ROW)));
            self.asm.bind(&mut next);
            self.asm.scalar(|a| a.nop());
        }
        self.asm.scalar(|a| a.xor(ALONG, ALONG));
        body(self);
        self.asm.scalar(|a| {
            a.mov(TILE, qword_ptr(rsp + TOP))?;
            a.add(TILE, 4 * EIGHT as i32)?;
            a.add(idx, 8 * EIGHT as i32)?;
            a.sub(live, EIGHT as i32)?;
            a.jg(top)
        });
        self.asm.bind(&mut done);
    }

    /// Eights of elements by `eight`, the rest one by one.
    fn along(&mut self, eight: impl Fn(&mut Block), one: impl Fn(&mut Block, i32)) {
        let (eights, rest) = (self.x.elements / EIGHT, self.x.elements % EIGHT);
        let (size, pitch) = (self.size(), self.pitch());
        if eights > 0 {
            let mut top = self.asm.label();
            self.asm.bind(&mut top);
            eight(self);
            self.asm.scalar(|a| {
                a.add(ALONG, EIGHT as i32 * size)?;
                a.add(TILE, EIGHT as i32 * pitch)?;
                a.cmp(ALONG, (eights * EIGHT) as i32 * size)?;
                a.jl(top)
            });
        }
        for i in 0..rest as i32 {
            one(self, i);
        }
    }

    fn read(&mut self, watch: &Watch) {
        let dtype = self.x.dtype;
        self.along(
            |b| {
                for (i, row) in ROWS.into_iter().enumerate() {
                    let v = V(i as u8);
                    b.asm.widen(dtype, v, place(row, 0));
                    watch.see(&mut b.asm, v);
                }
                let pitch = b.pitch();
                for (j, v) in b.asm.transpose(V(12)).into_iter().enumerate() {
                    b.asm.store(at(TILE, j as i32 * pitch), v);
                }
            },
            |b, j| {
                for (i, row) in ROWS.into_iter().enumerate() {
                    let from = place(row, j * b.size());
                    b.asm.widen_one(dtype, V(0), from);
                    watch.see(&mut b.asm, V(0));
                    let to = at(TILE, j * b.pitch() + 4 * i as i32);
                    b.asm.store_one(to, V(0));
                }
            },
        );
    }

    fn write(&mut self, narrow: &Narrow) {
        self.along(
            |b| {
                for i in 0..EIGHT as i32 {
                    b.asm.load(V(i as u8), at(TILE, i * b.pitch()));
                }
                let rows = b.asm.transpose(V(12));
                for (row, v) in ROWS.into_iter().zip(rows) {
                    narrow.store(&mut b.asm, place(row, 0), v);
                }
            },
            |b, j| {
                for (i, row) in ROWS.into_iter().enumerate() {
                    let from = at(TILE, j * b.pitch() + 4 * i as i32);
                    b.asm.widen_one(DType::F32, V(0), from);
                    let to = place(row, j * b.size());
                    narrow.store_one(&mut b.asm, to, V(0));
                }
            },
        );
    }
}

/// Where a row goes on.
fn place(row: AsmRegister64, off: i32) -> AsmMemoryOperand {
    iced_x86::code_asm::ptr(row + ALONG + off)
}

fn frame(x: Columns) -> i32 {
    // The last vector of the row of zeros may go beyond it.
    ROW + (x.elements * 4 + 32).next_multiple_of(16) as i32
}
