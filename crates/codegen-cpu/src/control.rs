// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The floating-point environment that bodies run in: rounding to nearest, subnormal numbers kept, no traps, whatever the host has set.
//!
//! In: a family. Out: a function that sets the control register and returns what it held, and the setting of a body. A host may flush
//! subnormals, round otherwise or trap; results do not depend on it, and `run` gives it back as it was, flags of exceptions included.

use cranelift_codegen::isa::CallConv;
use iced_x86::code_asm::{CodeAssembler, dword_ptr, eax, ecx, edi, rsp};

use crate::program::{CodegenError, Function, Returns};
use crate::target::Family;

/// What a body runs under: MXCSR with every exception masked; FPCR of zeros.
pub(crate) fn setting(family: Family) -> i64 {
    match family {
        Family::X86_64 => 0x1f80,
        Family::Aarch64 => 0,
    }
}

/// `control(new) -> old`: writes MXCSR or FPCR, yields what it held.
///
/// # Errors
/// An instruction that does not exist: a bug of ours.
pub(crate) fn function(family: Family, conv: CallConv, op: &str) -> Result<Function, CodegenError> {
    let bytes = match family {
        Family::X86_64 => mxcsr(conv)?,
        Family::Aarch64 => {
            // mrs x1, fpcr; msr fpcr, x0; mov x0, x1; ret
            let words: [u32; 4] = [0xd53b_4401, 0xd51b_4400, 0xaa01_03e0, 0xd65f_03c0];
            words.into_iter().flat_map(u32::to_le_bytes).collect()
        }
    };
    Ok(Function {
        name: format!("attnc_{op}.control"),
        export: false,
        params: 1,
        returns: Returns::Int64,
        align: 16,
        bytes,
        relocs: Vec::new(),
        clif: String::new(),
    })
}

/// Both registers of 32 bits pass through memory; the parameter stands in RDI, or in RCX under Windows' convention.
fn mxcsr(conv: CallConv) -> Result<Vec<u8>, CodegenError> {
    let new = match conv {
        CallConv::WindowsFastcall => ecx,
        _ => edi,
    };
    let mut a = CodeAssembler::new(64)?;
    a.sub(rsp, 8)?;
    a.stmxcsr(dword_ptr(rsp))?;
    a.mov(eax, dword_ptr(rsp))?;
    a.mov(dword_ptr(rsp), new)?;
    a.ldmxcsr(dword_ptr(rsp))?;
    a.add(rsp, 8)?;
    a.ret()?;
    Ok(a.assemble(0)?)
}
