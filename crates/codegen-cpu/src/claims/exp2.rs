// SPDX-License-Identifier: Apache-2.0 OR MIT
//! exp2 of several vectors at once.
//!
//! In: vectors of finite numbers or -inf, at most 127. Out: their powers of two, exactly 1 for 0 and 0 for -inf (and for results below
//! the smallest normal number, at 256 bits). 2^x = 2^n p(x - n), p of degree 5 with p(0) = 1 (Remez's exchange, weighted by 2^-x).
//!
//! At 512 bits n is floor(x), which two instructions know: relative error of p 9.3e-8, of the result 1.5e-7. At 256 bits n is the nearest
//! whole number: added to a number so large that its last bits count ones, x leaves there n and the exponent's bias. Relative error of
//! p 9.4e-8, of the result 1.6e-7.
//!
//! Weights that may be coarser have a p of lower degree ([`crate::coarse`]) between the same two ends; what is said of 0 above is then said
//! to that accuracy.

use attnc_tile::core::Accuracy;
use iced_x86::code_asm::AsmRegister64;

use super::asm::{Asm, Operand, V, Width, at};
use crate::coarse;

/// p on [0, 1), from the constant on.
const ABOVE: [f32; 6] = [
    1.0,
    0.693_151_3,
    0.240_164_44,
    0.055_799_916,
    0.009_017_028,
    0.001_867_131_3,
];
/// p on [-1/2, 1/2].
#[expect(
    clippy::approx_constant,
    reason = "the exchange's coefficient, which is near ln 2 but not it"
)]
const AROUND: [f32; 6] = [
    1.0,
    0.693_147,
    0.240_222_47,
    0.055_507_11,
    0.009_671_291,
    0.001_326_952_1,
];
/// 3 * 2^22 and the bias of exponents: the last bits of x + ROUND are n + 127.
const ROUND: f32 = 12_582_912.0 + 127.0;
/// The lowest argument: its power has the exponent of 0, and the same n as all below.
const LOWEST: f32 = -127.0;

/// The constants of exp2, where the kernel keeps them.
#[derive(Clone, Debug)]
pub(crate) struct Exp2 {
    /// From the constant on.
    p: Vec<Operand>,
    /// ROUND and LOWEST (256 bits).
    nearest: Option<[Operand; 2]>,
    /// log2 e, where the argument is a natural exponent.
    natural: Option<Operand>,
}

impl Exp2 {
    /// Emits the writing of the constants to memory at `scratch`; yields the offset behind the last one. Writes EAX and vector 0.
    pub(crate) fn write(
        asm: &mut Asm,
        natural: bool,
        (scratch, mut disp): (AsmRegister64, i32),
    ) -> (Exp2, i32) {
        let mut put = |asm: &mut Asm, x: f32| put(asm, x, (scratch, &mut disp));
        let (p, nearest) = match asm.width {
            Width::Ymm => (AROUND, Some([ROUND, LOWEST])),
            Width::Zmm => (ABOVE, None),
        };
        let exp2 = Exp2 {
            p: p.map(|c| put(asm, c)).to_vec(),
            nearest: nearest.map(|both| both.map(|c| put(asm, c))),
            natural: natural.then(|| put(asm, std::f32::consts::LOG2_E)),
        };
        (exp2, disp)
    }

    /// One of another accuracy that shares what it can; likewise.
    pub(crate) fn coarser(
        &self,
        asm: &mut Asm,
        accuracy: Accuracy,
        (scratch, mut disp): (AsmRegister64, i32),
    ) -> (Exp2, i32) {
        let p = match asm.width {
            Width::Ymm => coarse::around(accuracy),
            Width::Zmm => coarse::above(accuracy),
        };
        let mut exp2 = self.clone();
        if let Some(p) = p {
            let p = p.iter().map(|c| put(asm, *c, (scratch, &mut disp)));
            exp2.p = p.collect();
        }
        (exp2, disp)
    }

    /// Emits the loading of constants into `registers`, those first that are used most, as far as registers go.
    pub(crate) fn held(mut self, asm: &mut Asm, registers: impl IntoIterator<Item = u8>) -> Exp2 {
        let all = self.nearest.iter_mut().flatten().chain(&mut self.natural);
        for (x, v) in all.chain(self.p.iter_mut().rev()).zip(registers) {
            *x = Operand::Reg(asm.held(*x, V(v)));
        }
        self
    }

    /// `xs` become their powers; `spare`: twice as many registers. Instruction by instruction over all vectors, so that neighbours
    /// never wait for each other.
    pub(crate) fn emit(&self, asm: &mut Asm, xs: &[V], spare: &[V]) {
        let (ps, fs) = spare.split_at(xs.len());
        if let Some(c) = self.natural {
            for x in xs {
                asm.mul(*x, *x, c);
            }
        }
        // Where p's argument is, and what then holds the exponent.
        let (fs, exponents) = match self.nearest {
            None => {
                for (f, x) in fs.iter().zip(xs) {
                    asm.fraction(*f, *x);
                }
                (fs, xs)
            }
            Some([round, lowest]) => {
                for (t, x) in fs.iter().zip(xs) {
                    // The second operand stays where it is not a number.
                    let low = asm.held(lowest, *t);
                    asm.max(*x, low, *x);
                }
                for (t, x) in fs.iter().zip(xs) {
                    asm.add(*t, *x, round);
                }
                for ((t, x), p) in fs.iter().zip(xs).zip(ps) {
                    asm.sub(*p, *t, round);
                    asm.sub(*x, *x, *p);
                }
                (xs, fs)
            }
        };
        if let [rest @ .., next, first] = &self.p[..] {
            for (p, f) in ps.iter().zip(fs) {
                let top = asm.held(*first, *p);
                if top != *p {
                    asm.copy(*p, top);
                }
                asm.fma213(*p, *f, *next);
            }
            for c in rest.iter().rev() {
                for (p, f) in ps.iter().zip(fs) {
                    asm.fma213(*p, *f, *c);
                }
            }
        }
        for ((p, n), x) in ps.iter().zip(exponents).zip(xs) {
            match self.nearest {
                None => asm.scale(*x, *p, *n),
                Some(_) => {
                    asm.last_bits_as_exponent(*n);
                    asm.mul(*x, *p, *n);
                }
            }
        }
    }
}

/// Writes a constant to the slot at `scratch` and goes on to the next. Writes EAX and vector 0.
fn put(asm: &mut Asm, x: f32, (scratch, disp): (AsmRegister64, &mut i32)) -> Operand {
    let slot = *disp;
    *disp += asm.width.bytes();
    asm.constant(V(0), x.to_bits());
    asm.store(at(scratch, slot), V(0));
    Operand::Mem(scratch, slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_polynomials_are_powers_of_two_to_within_a_few_units() {
        for (p, from) in [(ABOVE, 0.0), (AROUND, -0.5)] {
            let error = |i: u32| {
                let f = from + f64::from(i) / 65536.0;
                let value = p.iter().rev().fold(0.0, |y, c| y * f + f64::from(*c));
                (value / f.exp2() - 1.0).abs()
            };
            let most = (0..=65536).map(error).fold(0.0, f64::max);
            assert!(most < 9.4e-8, "{most:e} from {from}");
            assert_eq!(p[0], 1.0);
        }
    }
}
