// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What weights by table need of the emitter: words and bytes in vectors of 512 bits (AVX512-BW, AVX512-VBMI).
//!
//! In: calls in the order of the code. Out: instructions at the end of the function under assembly.

use iced_x86::code_asm::{AsmRegister64, k1, k7, qword_ptr, rax};

use super::{Asm, V, at, zmm};

impl Asm {
    /// d = these bytes, by way of 64 bytes at `[base + disp]`. Writes RAX.
    pub(crate) fn bytes(&mut self, d: V, bytes: [u8; 64], (base, disp): (AsmRegister64, i32)) {
        let (words, _) = bytes.as_chunks::<8>();
        for (i, word) in (0..).zip(words) {
            self.scalar(|a| {
                a.mov(rax, u64::from_le_bytes(*word))?;
                a.mov(qword_ptr(base + (disp + 8 * i)), rax)
            });
        }
        self.load(d, at(base, disp));
    }

    /// d &= x & y.
    pub(crate) fn and_both(&mut self, d: V, x: V, y: V) {
        const AND: u32 = 0x80;
        self.scalar(|a| a.vpternlogd(zmm(d), zmm(x), zmm(y), AND));
    }

    /// d = the signed double words of x, then those of y, as words from 0 to 2^16 - 1, 128 bits by 128 bits.
    pub(crate) fn pack_words(&mut self, d: V, x: V, y: V) {
        self.scalar(|a| a.vpackusdw(zmm(d), zmm(x), zmm(y)));
    }

    /// d = the bytes of x that `by` numbers, 128 bits by 128 bits.
    pub(crate) fn shuffle_bytes(&mut self, d: V, x: V, by: V) {
        self.scalar(|a| a.vpshufb(zmm(d), zmm(x), zmm(by)));
    }

    /// Each byte of d = the 8 bits of x from the bit on that `by` numbers, 64 bits by 64 bits.
    pub(crate) fn bits_from(&mut self, d: V, by: V, x: V) {
        self.scalar(|a| a.vpmultishiftqb(zmm(d), zmm(by), zmm(x)));
    }

    /// K7 = the lower byte of each word, for [`Asm::look_up`] and [`Asm::look_up_one`]. Writes RAX.
    pub(crate) fn choose_low_bytes(&mut self) {
        self.scalar(|a| {
            a.mov(rax, 0x5555_5555_5555_5555u64)?;
            a.kmovq(k7, rax)
        });
    }

    /// Each word of d = the byte of the table of 128, `low` then `high`, that the lower 7 bits of d number; needs K7.
    pub(crate) fn look_up(&mut self, d: V, low: V, high: V) {
        self.scalar(|a| a.vpermi2b(zmm(d).k7().z(), zmm(low), zmm(high)));
    }

    /// The same with a table of 64, and the lower 6 bits.
    pub(crate) fn look_up_one(&mut self, d: V, table: V) {
        self.scalar(|a| a.vpermb(zmm(d).k7().z(), zmm(d), zmm(table)));
    }

    /// d = (x + y + 1) / 2 rounded down, words without sign.
    pub(crate) fn average_words(&mut self, d: V, x: V, y: V) {
        self.scalar(|a| a.vpavgw(zmm(d), zmm(x), zmm(y)));
    }

    /// Mask 1 = the lanes of 32 bits where x and y differ.
    pub(crate) fn differs(&mut self, x: V, y: V) {
        self.scalar(|a| a.vpcmpneqd(k1, zmm(x), zmm(y)));
    }

    /// d = x rounded to the nearest multiple of 2^-`bits`; infinities stay.
    pub(crate) fn round_to(&mut self, d: V, x: V, bits: u32) {
        self.scalar(|a| a.vrndscaleps(zmm(d), zmm(x), bits << 4));
    }
}
