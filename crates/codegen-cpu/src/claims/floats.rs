// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The claim of integers that become floats, or logarithms of themselves.
//!
//! In: the function. Out: machine code with the same parameters, (dst, src, count), in the C calling convention of Linux. AVX2 converts
//! 64-bit integers one by one only, so both widths do; logarithms are taken of vectors of what stands there then, and of the last
//! elements one by one.

use attnc_tile::core::CountFn;
use iced_x86::IcedError;
use iced_x86::code_asm::{AsmRegister64, ptr, qword_ptr, rax, rcx, rdi, rdx, rsi, xmm0, xmm1};

use super::asm::{Asm, V, Width, at};
use super::log2;

const DST: AsmRegister64 = rdi;
const SRC: AsmRegister64 = rsi;
const COUNT: AsmRegister64 = rdx;

/// The code.
///
/// # Errors
/// An instruction that does not exist: a bug of ours.
pub(super) fn emit(f: CountFn, width: Width) -> Result<Vec<u8>, IcedError> {
    let mut asm = Asm::new(width)?;
    let [mut top, mut done] = std::array::from_fn(|_| asm.label());
    asm.scalar(|a| {
        a.test(COUNT, COUNT)?;
        a.jle(done)?;
        // The rest of the register that a conversion keeps.
        a.vxorps(xmm1, xmm1, xmm1)?;
        a.xor(rax, rax)
    });
    asm.bind(&mut top);
    asm.scalar(|a| {
        a.vcvtsi2ss(xmm0, xmm1, qword_ptr(SRC + rax * 8))?;
        a.vmovss(ptr(DST + rax * 4), xmm0)?;
        a.inc(rax)?;
        a.cmp(rax, COUNT)?;
        a.jl(top)
    });
    match f {
        CountFn::Float => {}
        CountFn::Log2 => logarithms(&mut asm, None),
        CountFn::Ln => logarithms(&mut asm, Some(std::f32::consts::LN_2)),
    }
    asm.bind(&mut done);
    asm.leave(&[]);
    asm.finish()
}

/// All floats at [`DST`] become their logarithms in base 2, times `factor`. Writes RAX and RCX.
fn logarithms(asm: &mut Asm, factor: Option<f32>) {
    let x = V(0);
    let spare: [V; log2::SPARE] = std::array::from_fn(|i| V(1 + i as u8));
    let take = |asm: &mut Asm| {
        log2::emit(asm, x, &spare);
        if let Some(c) = factor {
            asm.constant(spare[0], c.to_bits());
            asm.mul(x, x, spare[0]);
        }
    };
    let lanes = asm.width.lanes() as i32;
    let left = rcx;
    let [mut vectors, mut single, mut one, mut done] = std::array::from_fn(|_| asm.label());
    asm.scalar(|a| a.mov(left, COUNT));
    asm.bind(&mut vectors);
    asm.scalar(|a| {
        a.cmp(left, lanes)?;
        a.jl(single)
    });
    asm.load(x, at(DST, 0));
    take(asm);
    asm.store(at(DST, 0), x);
    asm.scalar(|a| {
        a.add(DST, 4 * lanes)?;
        a.sub(left, lanes)?;
        a.jmp(vectors)
    });
    asm.bind(&mut single);
    asm.scalar(|a| {
        a.test(left, left)?;
        a.jle(done)
    });
    asm.bind(&mut one);
    asm.broadcast(x, DST, 0);
    take(asm);
    asm.store_one(at(DST, 0), x);
    asm.scalar(|a| {
        a.add(DST, 4)?;
        a.dec(left)?;
        a.jnz(one)
    });
    asm.bind(&mut done);
}
