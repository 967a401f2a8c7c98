// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is defined where not all is. A lane of a register is defined as a whole (`def`), or
//! else in some of its bytes (`bytes`): compilers pack a register with one that holds
//! nothing, and use the other part only.
//! In: an instruction's rule ([`Part`]) and its sources. Out: what its results hold.

use super::code::{NONE, Part, Slot};
use super::state::Warp;

/// Lanes whose byte 0, 1, ... is defined.
pub(crate) type Bytes = [u32; 8];

const ALL: Bytes = [u32::MAX; 8];

impl Warp {
    fn byte(&self, s: Slot, b: usize) -> u32 {
        self.def[s as usize] | self.bytes[s as usize][b]
    }

    /// Lanes whose lowest `n` bytes are defined.
    pub(crate) fn low_bytes(&self, s: Slot, n: usize) -> u32 {
        (0..n.min(8)).fold(u32::MAX, |x, b| x & self.byte(s, b))
    }

    /// Notes for the lanes of `mask` which bytes of a register are defined.
    fn note(&mut self, s: Slot, mask: u32, bytes: &Bytes) {
        if s == NONE {
            return;
        }
        let whole = bytes.iter().fold(u32::MAX, |x, b| x & b);
        let d = &mut self.def[s as usize];
        *d = (*d & !mask) | (whole & mask);
        for (b, now) in self.bytes[s as usize].iter_mut().zip(bytes) {
            *b = (*b & !mask) | (now & mask);
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
            self.note(s, mask, &[def; 8]);
        }
    }

    /// Notes that lanes of `to` hold what lanes `lane[..]` of `from` held, where `valid`.
    /// `to` must not have been written yet.
    pub(crate) fn define_from(
        &mut self,
        to: Slot,
        from: Slot,
        lane: &[u8; 32],
        valid: u32,
        mask: u32,
    ) {
        let bytes: Bytes = std::array::from_fn(|b| {
            let have = self.byte(from, b);
            Self::lanes(mask & valid).fold(0u32, |x, l| x | (have >> lane[l] & 1) << l)
        });
        self.note(to, mask, &bytes);
    }

    /// Notes what the results of a computation hold whose sources are not all defined.
    /// Bytes above a result's width count as defined.
    pub(crate) fn define_parts(&mut self, part: Part, d: &[Slot], s: &[Slot], mask: u32) {
        let mut out = ALL;
        match part {
            Part::Whole => {
                let all = s.iter().fold(u32::MAX, |x, s| x & self.def[*s as usize]);
                out = [all; 8];
            }
            Part::Each { unit, width } => {
                for (b, o) in out.iter_mut().enumerate().take(width) {
                    for k in b / unit * unit..(b / unit + 1) * unit {
                        *o &= s.iter().fold(u32::MAX, |x, s| x & self.byte(*s, k));
                    }
                }
            }
            Part::And(width) => {
                for (b, o) in out.iter_mut().enumerate().take(width) {
                    *o = s.iter().fold(u32::MAX, |x, s| x & self.byte(*s, b));
                    // A byte that is zero for sure hides the other source's.
                    for x in s {
                        let known = self.byte(*x, b);
                        let v = &self.regs[*x as usize];
                        for l in Self::lanes(mask & known) {
                            *o |= u32::from(v[l] >> (8 * b) & 0xff == 0) << l;
                        }
                    }
                }
            }
            Part::Pack(w) => {
                for (b, o) in out.iter_mut().enumerate().take(w * s.len()) {
                    *o = self.byte(s[b / w], b % w);
                }
            }
            Part::Unpack(w) => {
                let source: Bytes = std::array::from_fn(|b| self.byte(s[0], b));
                for (k, x) in d.iter().enumerate() {
                    let mut part = ALL;
                    for b in 0..w {
                        part[b] = source[(w * k + b).min(7)];
                    }
                    self.note(*x, mask, &part);
                }
                return;
            }
            Part::Cvt { from, to, signed } => {
                for (b, o) in out.iter_mut().enumerate().take(to) {
                    *o = match (b < from, signed) {
                        (true, _) => self.byte(s[0], b),
                        (false, true) => self.byte(s[0], from - 1),
                        (false, false) => u32::MAX,
                    };
                }
            }
            Part::Down { by, width } => {
                for b in by..width {
                    out[b - by] = self.byte(s[0], b);
                }
            }
            Part::Up { by, width } => {
                for b in by..width {
                    out[b] = self.byte(s[0], b - by);
                }
            }
            Part::Select { negated, width } => {
                let p = &self.regs[s[2] as usize];
                let first = Self::lanes(mask)
                    .filter(|l| (p[*l] & 1 == 1) != negated)
                    .fold(0u32, |b, l| b | 1 << l);
                let known = self.def[s[2] as usize];
                for (b, o) in out.iter_mut().enumerate().take(width) {
                    let (x, y) = (self.byte(s[0], b), self.byte(s[1], b));
                    *o = known & ((first & x) | (!first & y));
                }
            }
            Part::Bytes(selector) => {
                for (b, o) in out.iter_mut().enumerate().take(4) {
                    let k = (selector >> (4 * b) & 7) as usize;
                    *o = self.byte(s[k / 4], k % 4);
                }
            }
        }
        for d in d {
            self.note(*d, mask, &out);
        }
    }
}
