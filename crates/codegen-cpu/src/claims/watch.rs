// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Gathers look at what they gather: the largest magnitude of all elements decides whether `step` must be careful.
//!
//! In: vectors that pass by. Out: code that keeps their largest magnitude, and that tells it at the end.

use iced_x86::code_asm::AsmRegister64;

use super::asm::{Asm, V};

/// Three registers of a gather.
pub(super) struct Watch {
    most: V,
    /// Everything but the signs.
    mask: V,
    spare: V,
}

impl Watch {
    /// Nothing seen yet. Writes EAX.
    pub(super) fn new(asm: &mut Asm, most: V, mask: V, spare: V) -> Watch {
        asm.zero(most);
        asm.constant(mask, 0x7fff_ffff);
        Watch { most, mask, spare }
    }

    /// Takes in the lanes of `x`.
    pub(super) fn see(&self, asm: &mut Asm, x: V) {
        asm.and(self.spare, x, self.mask);
        asm.most_bits(self.most, self.spare);
    }

    /// Raises the flag, where there is one, if a magnitude has reached `limit`, as bits of an f32. Writes EAX.
    pub(super) fn tell(&self, asm: &mut Asm, limit: u32, flag: AsmRegister64) {
        let mut quiet = asm.label();
        asm.scalar(|a| {
            a.test(flag, flag)?;
            a.jz(quiet)
        });
        asm.constant(self.mask, limit - 1);
        asm.any_above(self.most, self.mask);
        asm.scalar(|a| {
            a.jz(quiet)?;
            a.mov(iced_x86::code_asm::qword_ptr(flag), 1)
        });
        asm.bind(&mut quiet);
    }
}
