// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is defined where not all is. A lane of a register is defined as a whole (`def`), or
//! else perhaps in its low or its high half (`half`): compilers pack a register with one
//! that holds nothing, and use the other part only.
//! In: an instruction's rule ([`Part`]) and its sources. Out: what its results hold.

use super::code::{NONE, Part, Slot};
use super::state::Warp;

impl Warp {
    /// Lanes whose low (0) or high (1) half is defined.
    fn half_of(&self, s: Slot, h: usize) -> u32 {
        self.def[s as usize] | self.half[s as usize][h]
    }

    /// Notes for the lanes of `mask` which halves of a register are defined.
    fn note(&mut self, s: Slot, mask: u32, halves: [u32; 2]) {
        if s == NONE {
            return;
        }
        let whole = halves[0] & halves[1];
        let d = &mut self.def[s as usize];
        *d = (*d & !mask) | (whole & mask);
        for (h, now) in self.half[s as usize].iter_mut().zip(halves) {
            *h = (*h & !mask) | (now & mask);
        }
    }

    /// Notes for the lanes of `mask` which hold a value that is defined as a whole.
    pub(crate) fn define(&mut self, s: Slot, mask: u32, def: u32) {
        if s == NONE {
            return;
        }
        if def & mask == mask {
            self.def[s as usize] |= mask;
        } else {
            self.note(s, mask, [def; 2]);
        }
    }

    /// Notes what the results of a computation hold whose sources are not all defined.
    pub(crate) fn define_parts(&mut self, part: Part, d: &[Slot], s: &[Slot], mask: u32) {
        let all = s.iter().fold(u32::MAX, |x, s| x & self.def[*s as usize]);
        let each = |w: &Self, h: usize| s.iter().fold(u32::MAX, |x, s| x & w.half_of(*s, h));
        let halves = match part {
            Part::Whole => [all; 2],
            Part::Each => [each(self, 0), each(self, 1)],
            Part::And(bits) => {
                // A half that is zero for sure hides the other source's.
                let mut out = [each(self, 0), each(self, 1)];
                let m = (1u64 << (bits / 2)) - 1;
                for (h, o) in out.iter_mut().enumerate() {
                    for x in s {
                        let known = self.half_of(*x, h);
                        let v = &self.regs[*x as usize];
                        for l in Self::lanes(mask & known) {
                            *o |= u32::from(v[l] >> (bits / 2 * h as u32) & m == 0) << l;
                        }
                    }
                }
                out
            }
            Part::Pack => {
                let (a, b) = s.split_at(s.len() / 2);
                let of = |p: &[Slot]| p.iter().fold(u32::MAX, |x, s| x & self.def[*s as usize]);
                [of(a), of(b)]
            }
            Part::Unpack => {
                let parts = [self.half_of(s[0], 0), self.half_of(s[0], 1)];
                for (k, x) in d.iter().enumerate() {
                    self.note(*x, mask, [parts[usize::from(2 * k >= d.len())]; 2]);
                }
                return;
            }
            Part::Low => [self.half_of(s[0], 0); 2],
            Part::Down => [self.half_of(s[0], 1), u32::MAX],
            Part::Up => [u32::MAX, self.half_of(s[0], 0)],
            Part::Select(negated) => {
                let p = &self.regs[s[2] as usize];
                let first = Self::lanes(mask)
                    .filter(|l| (p[*l] & 1 == 1) != negated)
                    .fold(0u32, |b, l| b | 1 << l);
                let known = self.def[s[2] as usize];
                [0, 1].map(|h| {
                    known & ((first & self.half_of(s[0], h)) | (!first & self.half_of(s[1], h)))
                })
            }
            Part::Bytes(selector) => [0u32, 2].map(|k| {
                [k, k + 1].into_iter().fold(u32::MAX, |x, k| {
                    let byte = (selector >> (4 * k) & 7) as usize;
                    x & self.half_of(s[byte / 4], byte % 4 / 2)
                })
            }),
        };
        for d in d {
            self.note(*d, mask, halves);
        }
    }
}
