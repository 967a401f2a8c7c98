// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The claims of gathers that keep rows in rows: packing of keys and values, as f32 or as they are.
//!
//! In: the move and what its program says of it. Out: machine code with the same parameters, (dst, base, row bytes, idx, live, flag), in
//! the C calling convention of Linux. Rows lie far apart, a row of another head between every two, so that no hardware prefetcher
//! follows them: the code asks for the row that comes [`AHEAD`] rows later. Of f32, the last elements of a row that are fewer than a
//! vector are copied as a vector that ends with the row; of panels as they are, rows are filled up with zeros to the pitch by masks.

use attnc_tensor::DType;
use iced_x86::IcedError;
use iced_x86::code_asm::{
    AsmRegister64, eax, ecx, k1, k2, qword_ptr, r8, r9, r10, r11, rax, rcx, rdi, rdx, rsi,
};

use super::asm::{Asm, V, Width, at, zmm};
use super::watch::{Lanes, Watch};

/// Rows between a request and its use.
const AHEAD: i32 = 8;
const LINE: i32 = 64;
/// Elements of 16 bits in a vector of 512.
const WORDS: u32 = 32;

const DST: AsmRegister64 = rdi;
const BASE: AsmRegister64 = rsi;
const BYTES: AsmRegister64 = rdx;
const IDX: AsmRegister64 = rcx;
const LIVE: AsmRegister64 = r8;
const FLAG: AsmRegister64 = r9;

/// What is known of the move at compile time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) dtype: DType,
    /// Elements of a row.
    pub(super) elements: u32,
    /// Rows are filled up with zeros to a multiple of this, a power of two.
    pub(super) step: u32,
    /// Bits of the magnitude from which on an element raises the flag.
    pub(super) limit: u32,
}

/// What is known at compile time of a gather of 16-bit elements as they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Padded {
    /// Elements of a row.
    pub(super) elements: u32,
    /// Elements from one row of the panel to the next; zeros stand behind each row's own.
    pub(super) pitch: u32,
    /// As of [`Rows`].
    pub(super) step: u32,
    /// Bits of the magnitude from which on an element raises the flag.
    pub(super) limit: u32,
}

/// The code of a gather that makes f32 of what it moves.
///
/// # Errors
/// An instruction that does not exist: a bug of ours.
pub(super) fn emit(x: Rows, width: Width) -> Result<Vec<u8>, IcedError> {
    let mut asm = Asm::new(width)?;
    let watch = Watch::new(&mut asm, Lanes::Floats, [V(15), V(14), V(13)]);
    let bytes = [x.elements * x.dtype.bytes() as u32, x.elements * 4].map(|n| n as i32);
    each(&mut asm, bytes, x.step, |asm| copy(asm, &watch, x));
    watch.tell(&mut asm, x.limit, FLAG);
    asm.leave(&[]);
    asm.finish()
}

/// The code of a gather that leaves what it moves as it is (512 bits).
///
/// # Errors
/// An instruction that does not exist: a bug of ours.
pub(super) fn padded(x: Padded) -> Result<Vec<u8>, IcedError> {
    let mut asm = Asm::new(Width::Zmm)?;
    let watch = Watch::new(&mut asm, Lanes::Words, [V(15), V(14), V(13)]);
    asm.scalar(|a| {
        // The last vector of a row, and of its place in the panel.
        for (k, n) in [(k1, x.elements), (k2, x.pitch)] {
            a.mov(eax, (1u32 << (n % WORDS)) - 1)?;
            a.kmovd(k, eax)?;
        }
        Ok(())
    });
    let bytes = [x.elements, x.pitch].map(|n| n as i32 * 2);
    each(&mut asm, bytes, x.step, |asm| keep(asm, &watch, x));
    watch.tell(&mut asm, x.limit, FLAG);
    asm.leave(&[]);
    asm.finish()
}

/// All live rows by `copy`, from RAX to RDI, and zeros up to a multiple of `step` rows; a row's bytes in its tensor and in the panel.
fn each(asm: &mut Asm, [source, row]: [i32; 2], step: u32, copy: impl FnOnce(&mut Asm)) {
    let (left, from, later) = (r10, rax, r11);
    let [mut fill, mut near] = std::array::from_fn(|_| asm.label());
    asm.scalar(|a| {
        a.mov(left, LIVE)?;
        a.test(left, left)?;
        a.jle(fill)
    });
    let mut top = asm.label();
    asm.bind(&mut top);
    asm.scalar(|a| {
        a.mov(from, qword_ptr(IDX))?;
        a.imul_2(from, BYTES)?;
        a.add(from, BASE)?;
        a.cmp(left, AHEAD)?;
        a.jle(near)?;
        a.mov(later, qword_ptr(IDX + 8 * AHEAD))?;
        a.imul_2(later, BYTES)?;
        a.add(later, BASE)?;
        for off in (0..source).step_by(LINE as usize) {
            a.prefetcht0(at(later, off))?;
        }
        Ok(())
    });
    asm.bind(&mut near);
    copy(asm);
    asm.scalar(|a| {
        a.add(IDX, 8)?;
        a.add(DST, row)?;
        a.dec(left)?;
        a.jnz(top)
    });
    asm.bind(&mut fill);
    asm.scalar(|a| {
        a.mov(rcx, LIVE)?;
        a.neg(rcx)?;
        a.and(ecx, step as i32 - 1)?;
        a.xor(eax, eax)?;
        if row % 4 == 0 {
            a.imul_3(ecx, ecx, row / 4)?;
            a.rep().stosd()
        } else {
            a.imul_3(ecx, ecx, row / 2)?;
            a.rep().stosw()
        }
    });
}

/// One row as it is, from RAX to RDI.
fn keep(asm: &mut Asm, watch: &Watch, x: Padded) {
    let zeros = V(16);
    if x.pitch > x.elements.next_multiple_of(WORDS) {
        asm.zero(zeros);
    }
    for (i, start) in (0..x.pitch).step_by(WORDS as usize).enumerate() {
        let v = if start < x.elements {
            V(i as u8 % 8)
        } else {
            zeros
        };
        let off = start as i32 * 2;
        asm.scalar(
            |a| match (start < x.elements, x.elements - start.min(x.elements)) {
                (false, _) => Ok(()),
                (true, WORDS..) => a.vmovdqu16(zmm(v), at(rax, off)),
                (true, _) => a.vmovdqu16(zmm(v).k1().z(), at(rax, off)),
            },
        );
        asm.scalar(|a| match x.pitch - start {
            WORDS.. => a.vmovdqu16(at(DST, off), zmm(v)),
            _ => a.vmovdqu16(at(DST, off).k2(), zmm(v)),
        });
        if start < x.elements {
            watch.see(asm, v);
        }
    }
}

/// One row, from RAX to RDI.
fn copy(asm: &mut Asm, watch: &Watch, x: Rows) {
    let (lanes, elements) = (asm.width.lanes(), x.elements);
    let size = x.dtype.bytes() as i32;
    let mut starts: Vec<u32> = (0..elements / lanes).map(|i| i * lanes).collect();
    if elements >= lanes && !elements.is_multiple_of(lanes) {
        starts.push(elements - lanes);
    }
    for (i, start) in starts.iter().enumerate() {
        let v = V(i as u8 % 8);
        asm.widen(x.dtype, v, at(rax, *start as i32 * size));
        asm.store(at(DST, *start as i32 * 4), v);
        watch.see(asm, v);
    }
    if elements < lanes {
        for i in 0..elements as i32 {
            asm.widen_one(x.dtype, V(0), at(rax, i * size));
            asm.store_one(at(DST, i * 4), V(0));
            watch.see(asm, V(0));
        }
    }
}
