// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a machine can do, asked by the generated code itself: no runtime, no library.
//!
//! In: the extensions that matter, and how they are to be found out. Out: a function of no arguments that returns those the machine has,
//! as bits in the order of [`Feature::ALL`](crate::Feature::ALL).

use std::collections::BTreeMap;

use iced_x86::code_asm::{
    CodeAssembler, eax, ebx, ecx, edi, edx, esi, r8d, r9d, r10d, r11d, rax, rbx,
};

use crate::features::{ASKED_FOR, Feature, Features, Register};
use crate::program::{CodegenError, Function, Returns};

/// How the entry points of a program know what the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detect {
    /// `plan` asks the processor and the system.
    Machine,
    /// The caller has made sure that the machine has all that any of the program's bodies needs; `plan` takes the highest one.
    Trusted,
    /// `plan` believes that the machine has these and no others: for tests of the choice itself.
    Told(Features),
}

/// CPUID leaf 1, ECX: the system uses XSAVE, so that XGETBV may be asked.
const OSXSAVE: u32 = 1 << 27;

/// Linux on `x86_64`: the system call `arch_prctl`, and its request for the permission to use a state component.
const ARCH_PRCTL: u32 = 158;
const ARCH_REQ_XCOMP_PERM: u32 = 0x1023;

/// The detecting function for the extensions in `wanted`; none where nothing is to be asked.
pub(crate) fn function(
    how: Detect,
    wanted: Features,
    op: &str,
) -> Result<Option<Function>, CodegenError> {
    let bytes = match how {
        Detect::Trusted => return Ok(None),
        _ if wanted == Features::NONE => return Ok(None),
        Detect::Machine => ask(wanted)?,
        Detect::Told(these) => {
            let mut a = CodeAssembler::new(64)?;
            a.mov(eax, these.bits())?;
            a.ret()?;
            a.assemble(0)?
        }
    };
    Ok(Some(Function {
        name: format!("attnc_{op}.features"),
        export: false,
        params: 0,
        returns: Returns::Int64,
        align: 16,
        bytes,
        relocs: Vec::new(),
        clif: String::new(),
    }))
}

/// CPUID by leaf, each extension's bit and the state that the system must keep for it; then, only where the machine has something that
/// Linux wants to be asked for, the request for it, which any thread may repeat. Who is refused has none of it. RBX is the only register
/// that callers keep under either convention (System V, Windows) and that is written here (a system call of Linux writes RAX, RCX and R11,
/// and no errno).
fn ask(wanted: Features) -> Result<Vec<u8>, CodegenError> {
    let mut leaves: BTreeMap<(u32, u32), Vec<Feature>> = BTreeMap::new();
    for f in wanted.iter() {
        let place = f.place();
        let leaf = (place.leaf, place.subleaf);
        leaves.entry(leaf).or_default().push(f);
    }
    let (found, most, state, part) = (r8d, r9d, r11d, r10d);
    let mut a = CodeAssembler::new(64)?;
    let mut done = a.create_label();
    a.push(rbx)?;
    a.xor(found, found)?;
    a.xor(eax, eax)?;
    a.cpuid()?;
    a.mov(most, eax)?;
    a.mov(eax, 1)?;
    a.xor(ecx, ecx)?;
    a.cpuid()?;
    a.test(ecx, OSXSAVE as i32)?;
    a.je(done)?;
    a.xor(ecx, ecx)?;
    a.xgetbv()?;
    a.mov(state, eax)?;
    for ((leaf, subleaf), features) in leaves {
        // Leaves rise: where one is missing, so are the others. A subleaf that is missing reads as zeros.
        a.cmp(most, leaf as i32)?;
        a.jb(done)?;
        a.mov(eax, leaf)?;
        a.mov(ecx, subleaf)?;
        a.cpuid()?;
        for f in features {
            let place = f.place();
            let mut next = a.create_label();
            let bit = (1u32 << place.bit) as i32;
            match place.register {
                Register::Eax => a.test(eax, bit)?,
                Register::Ebx => a.test(ebx, bit)?,
                Register::Ecx => a.test(ecx, bit)?,
                Register::Edx => a.test(edx, bit)?,
            }
            a.je(next)?;
            a.mov(part, state)?;
            a.and(part, place.state as i32)?;
            a.cmp(part, place.state as i32)?;
            a.jne(next)?;
            a.or(found, Features::of(&[f]).bits() as i32)?;
            a.set_label(&mut next)?;
            a.zero_bytes()?;
        }
    }
    let asked_for: Vec<Feature> = wanted.iter().filter(|f| f.asked_for()).collect();
    if !asked_for.is_empty() {
        let asked_for = Features::of(&asked_for).bits() as i32;
        a.test(found, asked_for)?;
        a.je(done)?;
        a.mov(eax, ARCH_PRCTL)?;
        a.mov(edi, ARCH_REQ_XCOMP_PERM)?;
        a.mov(esi, ASKED_FOR)?;
        a.syscall()?;
        a.test(rax, rax)?;
        a.je(done)?;
        a.and(found, !asked_for)?;
    }
    a.set_label(&mut done)?;
    a.mov(eax, found)?;
    a.pop(rbx)?;
    a.ret()?;
    Ok(a.assemble(0)?)
}
