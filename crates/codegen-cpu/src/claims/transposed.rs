// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The claim of a gather of 16-bit elements as they are whose rows become columns: panels of values (512 bits).
//!
//! In: the move and what its program says of it. Out: machine code with the same parameters, (dst, base, row bytes, idx, live, flag), in
//! the C calling convention of Linux. Blocks of 32 keys by 16 elements become 16 whole lines. A vector is loaded as the halves of two
//! rows that lie eight keys apart; 8 x 8 words are transposed in every 128 bits (three steps), and one step across lanes brings four
//! groups of eight keys together. So one of the five steps that 32 x 32 words need is done by the load, which leaves the shuffles' port
//! alone (an insertion from memory is a blend). Counted by llvm-mca, a block of 32 x 32 takes 129 cycles so on Sapphire Rapids and 186 on
//! Zen 4 (188 with the requests below); with two steps done by loads (four rows of 16 bytes a vector) 130 and 207, since what shuffles
//! save, blends take; with all five by shuffles (rows merged to pairs by `vpermt2w`, then 16 x 16 dwords) 194 and 166. Keys that are not
//! there are a row of zeros on the stack. While a block is under way, the lines of the next one are asked for.

use iced_x86::IcedError;
use iced_x86::code_asm::{
    AsmMemoryOperand, AsmRegister64, eax, k1, ptr, qword_ptr, r8, r9, r10, r11, r12, r12d, r13,
    r14, r15, rax, rbp, rbx, rcx, rdi, rdx, rsi, rsp,
};

use super::asm::{Asm, V, Width, at, ymm, zmm};
use super::watch::{Lanes, Watch};

/// Keys of a block: a line of the panel.
pub(super) const KEYS: u32 = 32;
/// Elements of a block.
const ELEMENTS: u32 = 16;
const SAVED: [AsmRegister64; 6] = [rbx, rbp, r12, r13, r14, r15];

const DST: AsmRegister64 = rdi;
const BASE: AsmRegister64 = rsi;
const BYTES: AsmRegister64 = rdx;
const IDX: AsmRegister64 = rcx;
/// Keys that are there, from the block's first on; less than 1 behind the last.
const LIVE: AsmRegister64 = r8;
const FLAG: AsmRegister64 = r9;
/// Bytes into the rows.
const ALONG: AsmRegister64 = r10;
/// Addresses of the rows of this block, and of the next one.
const THESE: AsmRegister64 = rbx;
const NEXT: AsmRegister64 = rbp;
/// The block's column in the panel.
const TILE: AsmRegister64 = r12;
/// Keys up to the end of the panel.
const LEFT: AsmRegister64 = r15;

/// Bytes of a block's addresses; two of these on the stack, then the row of zeros.
const TABLE: i32 = 8 * KEYS as i32;
const ZEROS: i32 = 2 * TABLE;

/// What is known of the move at compile time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transposed {
    /// Elements of a row.
    pub(super) elements: u32,
    /// Elements from one row of the panel to the next.
    pub(super) stride: u32,
    /// Keys are filled up with zeros to a multiple of this, a power of two and a multiple of [`KEYS`].
    pub(super) step: u32,
    /// Bits of the magnitude from which on an element raises the flag.
    pub(super) limit: u32,
}

/// The code.
///
/// # Errors
/// An instruction that does not exist: a bug of ours.
pub(super) fn emit(x: Transposed) -> Result<Vec<u8>, IcedError> {
    let mut asm = Asm::new(Width::Zmm)?;
    let zeros = (x.elements * 2 + 64).next_multiple_of(64) as i32;
    let frame = ZEROS + zeros;
    asm.scalar(|a| {
        for r in SAVED {
            a.push(r)?;
        }
        a.sub(rsp, frame)
    });
    let watch = Watch::new(&mut asm, Lanes::Words, [V(31), V(30), V(29)]);
    asm.zero(V(0));
    for off in (0..zeros).step_by(64) {
        asm.store(at(rsp, ZEROS + off), V(0));
    }
    let (whole, rest) = (x.elements / ELEMENTS, x.elements % ELEMENTS);
    let [mut top, mut done] = std::array::from_fn(|_| asm.label());
    asm.scalar(|a| {
        a.mov(eax, (1u32 << rest) - 1)?;
        a.kmovd(k1, eax)?;
        a.lea(LEFT, at(LIVE, x.step as i32 - 1))?;
        a.and(LEFT, -(x.step as i32))?;
        a.jle(done)?;
        a.lea(THESE, at(rsp, 0))?;
        a.lea(NEXT, at(rsp, TABLE))
    });
    addresses(&mut asm, THESE, 0);
    asm.bind(&mut top);
    addresses(&mut asm, NEXT, KEYS as i32);
    asm.scalar(|a| {
        a.mov(TILE, DST)?;
        a.xor(ALONG, ALONG)
    });
    let row = x.stride as i32 * 2;
    if whole > 0 {
        let mut again = asm.label();
        asm.bind(&mut again);
        block(&mut asm, &watch, x, ELEMENTS);
        asm.scalar(|a| {
            a.add(TILE, ELEMENTS as i32 * row)?;
            a.add(ALONG, ELEMENTS as i32 * 2)?;
            a.cmp(ALONG, (whole * ELEMENTS) as i32 * 2)?;
            a.jl(again)
        });
    }
    if rest > 0 {
        block(&mut asm, &watch, x, rest);
    }
    asm.scalar(|a| {
        a.xchg(THESE, NEXT)?;
        a.add(DST, KEYS as i32 * 2)?;
        a.add(IDX, TABLE)?;
        a.sub(LIVE, KEYS as i32)?;
        a.sub(LEFT, KEYS as i32)?;
        a.jg(top)
    });
    asm.bind(&mut done);
    watch.tell(&mut asm, x.limit, FLAG);
    asm.scalar(|a| a.add(rsp, frame));
    asm.leave(&SAVED);
    asm.finish()
}

/// The addresses of 32 keys from the block's key `first` on into `table`. Writes RAX, R11 and [`TILE`].
fn addresses(asm: &mut Asm, table: AsmRegister64, first: i32) {
    let [mut top, mut put] = std::array::from_fn(|_| asm.label());
    let i = TILE;
    asm.scalar(|a| {
        a.lea(r11, at(rsp, ZEROS))?;
        a.mov(r12d, first)
    });
    asm.bind(&mut top);
    asm.scalar(|a| {
        a.mov(rax, r11)?;
        a.cmp(i, LIVE)?;
        a.jge(put)?;
        a.mov(rax, ptr(IDX + i * 8))?;
        a.imul_2(rax, BYTES)?;
        a.add(rax, BASE)
    });
    asm.bind(&mut put);
    asm.scalar(|a| {
        a.mov(ptr(table + i * 8 - 8 * first), rax)?;
        a.inc(i)?;
        a.cmp(i, first + KEYS as i32)?;
        a.jl(top)
    });
}

/// `n` elements of 32 keys, from [`ALONG`] on, into as many rows of the panel from [`TILE`] on. Writes RAX, R11, R13 and R14.
fn block(asm: &mut Asm, watch: &Watch, x: Transposed, n: u32) {
    // Two blocks have one line of every row, so each asks for the line of half of the rows.
    let paired = x.elements.div_ceil(ELEMENTS).is_multiple_of(2);
    let asked = if paired { 1 } else { 2 };
    asm.scalar(|a| {
        if paired {
            a.mov(r14, ALONG)?;
            a.and(r14, 32)?;
            a.lea(r14, ptr(NEXT + r14 * 4))
        } else {
            a.mov(r14, NEXT)
        }
    });
    let mut request = 0;
    for (first, to) in [(0, 8), (16, 16)] {
        for j in 0..8 {
            asm.scalar(|a| {
                for _ in 0..asked {
                    a.mov(r13, qword_ptr(r14 + 8 * request))?;
                    a.prefetcht0(along(r13))?;
                    request += 1;
                }
                a.mov(rax, qword_ptr(THESE + 8 * (first + j)))?;
                a.mov(r11, qword_ptr(THESE + 8 * (first + j + 8)))
            });
            let v = V(j as u8);
            asm.scalar(|a| {
                if n == ELEMENTS {
                    a.vmovdqu(ymm(v), along(rax))?;
                    return a.vinserti64x4(zmm(v), zmm(v), along(r11), 1);
                }
                // What a mask hides is not read.
                let high = ymm(V(24));
                a.vmovdqu16(ymm(v).k1().z(), along(rax))?;
                a.vmovdqu16(high.k1().z(), along(r11))?;
                a.vinserti64x4(zmm(v), zmm(v), high, 1)
            });
            watch.see(asm, v);
        }
        asm.transpose_words(0, to);
    }
    // Lanes: eight keys of elements 0 to 7, of 8 to 15, the next eight keys of both.
    let row = x.stride as i32 * 2;
    for m in 0..n {
        let (lanes, i) = if m < 8 { (0x88, m) } else { (0xdd, m - 8) };
        let [low, high] = [8, 16].map(|to| zmm(V(to + i as u8)));
        asm.scalar(|a| {
            let v = zmm(V(m as u8 % 8));
            a.vshufi32x4(v, low, high, lanes)?;
            a.vmovdqu16(at(TILE, m as i32 * row), v)
        });
    }
}

/// Where a row goes on.
fn along(row: AsmRegister64) -> AsmMemoryOperand {
    ptr(row + ALONG)
}
