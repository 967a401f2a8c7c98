// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The claim of a fill: rows of a tensor become one value.
//!
//! In: the move. Out: machine code with the same parameters, (base, row bytes, idx, live, bits of the value), in the C calling convention
//! of Linux. The value is rounded once; a row is written as whole vectors and one that ends with it, or as two smaller pieces.

use attnc_tensor::DType;
use iced_x86::IcedError;
use iced_x86::code_asm::{AsmRegister64, qword_ptr, r8d, rax, rcx, rdi, rdx, rsi};

use super::asm::{Asm, V, Width, at, xmm, ymm, zmm};
use super::narrow::Narrow;

const BASE: AsmRegister64 = rdi;
const BYTES: AsmRegister64 = rsi;
const IDX: AsmRegister64 = rdx;
const LIVE: AsmRegister64 = rcx;

/// The code for rows of `elements` elements.
///
/// # Errors
/// An instruction that does not exist: a bug of ours.
pub(super) fn emit(dtype: DType, elements: u32, width: Width) -> Result<Vec<u8>, IcedError> {
    let mut asm = Asm::new(width)?;
    let narrow = Narrow::new(&mut asm, dtype);
    let value = V(0);
    asm.scalar(|a| a.vmovd(xmm(value), r8d));
    narrow.lowest(&mut asm, value);
    asm.scalar(|a| match (dtype, width) {
        (DType::F32, Width::Ymm) => a.vpbroadcastd(ymm(value), xmm(value)),
        (DType::F32, Width::Zmm) => a.vpbroadcastd(zmm(value), xmm(value)),
        (_, Width::Ymm) => a.vpbroadcastw(ymm(value), xmm(value)),
        (_, Width::Zmm) => a.vpbroadcastw(zmm(value), xmm(value)),
    });
    let [mut top, mut done] = std::array::from_fn(|_| asm.label());
    asm.scalar(|a| {
        a.test(LIVE, LIVE)?;
        a.jle(done)
    });
    asm.bind(&mut top);
    asm.scalar(|a| {
        a.mov(rax, qword_ptr(IDX))?;
        a.imul_2(rax, BYTES)?;
        a.add(rax, BASE)?;
        for (off, bytes) in pieces(elements as i32 * dtype.bytes() as i32, width.bytes()) {
            let to = at(rax, off);
            match bytes {
                64 => a.vmovups(to, zmm(value))?,
                32 => a.vmovups(to, ymm(value))?,
                16 => a.vmovups(to, xmm(value))?,
                8 => a.vmovq(to, xmm(value))?,
                4 => a.vmovd(to, xmm(value))?,
                _ => a.vpextrw(to, xmm(value), 0)?,
            }
        }
        a.add(IDX, 8)?;
        a.dec(LIVE)?;
        a.jnz(top)
    });
    asm.bind(&mut done);
    asm.leave(&[]);
    asm.finish()
}

/// Offsets and sizes that cover `n` bytes, sizes being powers of two up to `most`.
fn pieces(n: i32, most: i32) -> Vec<(i32, i32)> {
    let size = if n >= most { most } else { 1 << n.ilog2() };
    let mut all: Vec<(i32, i32)> = (0..n / size).map(|i| (i * size, size)).collect();
    if n % size != 0 {
        all.push((n - size, size));
    }
    all
}
