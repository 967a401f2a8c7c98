// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Gathers look at what they gather: the largest magnitude of all elements decides whether `step` must be careful.
//!
//! In: vectors that pass by. Out: code that keeps their largest magnitude, and that tells it at the end.

use iced_x86::code_asm::AsmRegister64;

use super::asm::{Asm, V};

/// Three registers of a gather, and what its lanes are.
pub(super) struct Watch {
    lanes: Lanes,
    most: V,
    /// Everything but the signs.
    mask: V,
    spare: V,
}

/// What a vector holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lanes {
    /// f32.
    Floats,
    /// 16-bit elements as they are. Their magnitudes are in order as signed words.
    Words,
}

impl Watch {
    /// Nothing seen yet. Writes EAX.
    pub(super) fn new(asm: &mut Asm, lanes: Lanes, [most, mask, spare]: [V; 3]) -> Watch {
        asm.zero(most);
        let all = match lanes {
            Lanes::Floats => 0x7fff_ffff,
            Lanes::Words => 0x7fff_7fff,
        };
        asm.constant(mask, all);
        Watch {
            lanes,
            most,
            mask,
            spare,
        }
    }

    /// Takes in the lanes of `x`.
    pub(super) fn see(&self, asm: &mut Asm, x: V) {
        asm.and(self.spare, x, self.mask);
        match self.lanes {
            Lanes::Floats => asm.most_bits(self.most, self.spare),
            Lanes::Words => asm.most_words(self.most, self.spare),
        }
    }

    /// Raises the flag, where there is one, if a magnitude has reached `limit`, as the bits of a lane. Writes EAX, or K1.
    pub(super) fn tell(&self, asm: &mut Asm, limit: u32, flag: AsmRegister64) {
        let mut quiet = asm.label();
        asm.scalar(|a| {
            a.test(flag, flag)?;
            a.jz(quiet)
        });
        let below = limit.wrapping_sub(1);
        match self.lanes {
            Lanes::Floats => {
                asm.constant(self.mask, below);
                asm.any_above(self.most, self.mask);
            }
            Lanes::Words => {
                asm.constant(self.mask, (below & 0xffff) * 0x1_0001);
                asm.any_word_above(self.most, self.mask);
            }
        }
        asm.scalar(|a| {
            a.jz(quiet)?;
            a.mov(iced_x86::code_asm::qword_ptr(flag), 1)
        });
        asm.bind(&mut quiet);
    }
}
