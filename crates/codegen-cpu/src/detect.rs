// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a machine can do, asked by the generated code itself: no runtime, no library.
//!
//! In: a processor family. Out: a function of no arguments that returns the highest level the machine runs, where there are several.

use iced_x86::code_asm::{CodeAssembler, eax, ebx, ecx, rbx};

use crate::program::{CodegenError, Function, Returns};
use crate::target::{CpuTarget, Family, Level};

/// CPUID leaf 1, ECX: FMA (12), OSXSAVE (27), AVX (28). (Intel SDM volume 2, CPUID.)
const FMA_AVX_OSXSAVE: u32 = 1 << 12 | 1 << 27 | 1 << 28;
/// XCR0: SSE and AVX state are kept by the system.
const XMM_YMM: u32 = 0b110;
/// CPUID leaf 7, EBX: AVX2.
const AVX2: u32 = 1 << 5;

/// The detecting function, where a family has more than one level.
pub(crate) fn function(target: CpuTarget, op: &str) -> Result<Option<Function>, CodegenError> {
    match target.family() {
        Family::X86_64 => Ok(Some(Function {
            name: format!("attnc_{op}.level"),
            export: false,
            params: 0,
            returns: Returns::Int64,
            align: 16,
            bytes: cpuid()?,
            relocs: Vec::new(),
            clif: String::new(),
        })),
        Family::Aarch64 => Ok(None),
    }
}

/// Returns [`Level::Fma`] where FMA and AVX2 are there and the system keeps their registers. RBX is the only register that callers
/// keep under either convention (System V, Windows) and that CPUID writes.
fn cpuid() -> Result<Vec<u8>, CodegenError> {
    let mut a = CodeAssembler::new(64)?;
    let mut base = a.create_label();
    let mut done = a.create_label();
    a.push(rbx)?;
    a.xor(eax, eax)?;
    a.cpuid()?;
    a.cmp(eax, 7)?;
    a.jb(base)?;
    a.mov(eax, 1)?;
    a.xor(ecx, ecx)?;
    a.cpuid()?;
    a.and(ecx, FMA_AVX_OSXSAVE as i32)?;
    a.cmp(ecx, FMA_AVX_OSXSAVE as i32)?;
    a.jne(base)?;
    a.xor(ecx, ecx)?;
    a.xgetbv()?;
    a.and(eax, XMM_YMM as i32)?;
    a.cmp(eax, XMM_YMM as i32)?;
    a.jne(base)?;
    a.mov(eax, 7)?;
    a.xor(ecx, ecx)?;
    a.cpuid()?;
    a.test(ebx, AVX2 as i32)?;
    a.je(base)?;
    a.mov(eax, Level::Fma.number() as i32)?;
    a.jmp(done)?;
    a.set_label(&mut base)?;
    a.xor(eax, eax)?;
    a.set_label(&mut done)?;
    a.pop(rbx)?;
    a.ret()?;
    Ok(a.assemble(0)?)
}
