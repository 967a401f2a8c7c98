// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The claim of a gather into rows: packing of keys and values.
//!
//! In: the move and what its program says of it. Out: machine code with the same parameters, (dst, base, row bytes, idx, live, flag), in
//! the C calling convention of Linux. Rows lie far apart, a row of another head between every two, so that no hardware prefetcher
//! follows them: the code asks for the row that comes [`AHEAD`] rows later. The last elements of a row that are fewer than a vector are
//! copied as a vector that ends with the row.

use attnc_tensor::DType;
use iced_x86::IcedError;
use iced_x86::code_asm::{
    AsmRegister64, eax, ecx, qword_ptr, r8, r9, r10, r11, rax, rcx, rdi, rdx, rsi,
};

use super::asm::{Asm, V, Width, at};
use super::watch::Watch;

/// Rows between a request and its use.
const AHEAD: i32 = 8;
const LINE: i32 = 64;

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

/// The code.
///
/// # Errors
/// An instruction that does not exist: a bug of ours.
pub(super) fn emit(x: Rows, width: Width) -> Result<Vec<u8>, IcedError> {
    let mut asm = Asm::new(width)?;
    let watch = Watch::new(&mut asm, V(15), V(14), V(13));
    let (left, from, later) = (r10, rax, r11);
    let [mut fill, mut near] = std::array::from_fn(|_| asm.label());
    let (size, row) = (x.dtype.bytes() as i32, x.elements as i32 * 4);
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
        for off in (0..x.elements as i32 * size).step_by(LINE as usize) {
            a.prefetcht0(at(later, off))?;
        }
        Ok(())
    });
    asm.bind(&mut near);
    copy(&mut asm, &watch, x);
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
        a.and(ecx, x.step as i32 - 1)?;
        a.imul_3(ecx, ecx, x.elements as i32)?;
        a.xor(eax, eax)?;
        a.rep().stosd()
    });
    watch.tell(&mut asm, x.limit, FLAG);
    asm.leave(&[]);
    asm.finish()
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
