// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the claims of `step` share with its callers: where the parameters are, what is kept, and when the portable body runs instead.
//!
//! In: the body of a claim. Out: its code, which begins with the question whether the case is one for the portable body, and where the
//! distance to that body is to be filled in. The first six parameters (m, l, o, q, k, v) come in registers, the others on the stack, as
//! System V has it.

use iced_x86::IcedError;
use iced_x86::code_asm::{AsmRegister64, qword_ptr, r12, r13, r14, r15, rbp, rbx, rsp};

use super::asm::{Asm, Width};

/// Registers that callers keep: pushed in this order.
const SAVED: [AsmRegister64; 6] = [rbx, rbp, r12, r13, r14, r15];
/// Bytes of stack slots of our own, from RSP on.
pub(super) const OWN: i32 = 32;
/// Where the parameters on the stack begin, seen from RSP in the body: own slots, saved registers, return address. The first is t, the
/// logarithms of counts.
pub(super) const COUNTS: i32 = OWN + 8 * SAVED.len() as i32 + 8;
pub(super) const KPOS: i32 = COUNTS + 8;
pub(super) const QPOS: i32 = COUNTS + 16;
pub(super) const LIVE_Q: i32 = COUNTS + 24;
pub(super) const LIVE_K: i32 = COUNTS + 32;
pub(super) const MIXED: i32 = COUNTS + 40;
const CAREFUL: i32 = COUNTS + 48;
pub(super) const TEMPS: i32 = COUNTS + 56;

/// The code, and the offset in it of the 32-bit distance to the portable body.
///
/// # Errors
/// An instruction that does not exist: a bug of ours.
pub(super) fn with_guard(body: Vec<u8>) -> Result<(Vec<u8>, u32), IcedError> {
    let mut bytes = guard()?;
    // A jump whose distance the linker fills in, then the body.
    let hole = bytes.len() as u32 + 1;
    bytes.extend([0xe9, 0, 0, 0, 0]);
    bytes.extend(body);
    Ok((bytes, hole))
}

/// Falls through to the portable body where that is asked for; else passes over the jump to it.
fn guard() -> Result<Vec<u8>, IcedError> {
    let mut asm = Asm::new(Width::Zmm)?;
    // Nothing is pushed yet.
    let stack = |slot: i32| qword_ptr(rsp + (slot - COUNTS + 8));
    let (mut body, mut leave) = (asm.label(), asm.label());
    asm.scalar(|a| {
        a.cmp(stack(CAREFUL), 0)?;
        a.jne(leave)?;
        a.cmp(stack(LIVE_K), 1)?;
        a.jl(leave)?;
        a.cmp(stack(LIVE_Q), 1)?;
        a.jge(body)
    });
    asm.bind(&mut leave);
    // Stands for the jump: five bytes that are cut off again.
    asm.scalar(|a| a.db(&[0xe9, 0, 0, 0, 0]));
    asm.bind(&mut body);
    asm.scalar(|a| a.nop());
    let mut bytes = asm.finish()?;
    bytes.truncate(bytes.len() - 6);
    Ok(bytes)
}

/// Keeps what callers keep, and makes room for our own slots.
pub(super) fn enter(asm: &mut Asm) {
    asm.scalar(|a| {
        for r in SAVED {
            a.push(r)?;
        }
        a.sub(rsp, OWN)
    });
}

/// The way back.
pub(super) fn leave(asm: &mut Asm) {
    asm.scalar(|a| a.add(rsp, OWN));
    asm.leave(&SAVED);
}
