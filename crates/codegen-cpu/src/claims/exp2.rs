// SPDX-License-Identifier: Apache-2.0 OR MIT
//! exp2 of several vectors at once.
//!
//! In: vectors of finite numbers or -inf, at most 127. Out: their powers of two, exactly 1 for 0 and 0 for -inf (and for results below
//! the smallest normal number, at 256 bits). 2^x = 2^floor(x) p(x - floor(x)), p of degree 5 with p(0) = 1: relative error 8.3e-8
//! before rounding, 1.5e-7 after (Remez's exchange on [0, 1), weighted by 2^-x).

use iced_x86::code_asm::AsmRegister64;

use super::asm::{Asm, Operand, V, Width, at};

/// p, from the constant on.
const P: [f32; 6] = [
    1.0,
    0.693_151_3,
    0.240_164_44,
    0.055_799_916,
    0.009_017_028,
    0.001_867_131_3,
];

/// The constants of exp2, where the kernel keeps them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exp2 {
    p: [Operand; 6],
    /// -126 (256 bits).
    lowest: Option<Operand>,
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
        let mut put = |asm: &mut Asm, x: f32| {
            let slot = (scratch, disp);
            disp += asm.width.bytes();
            asm.constant(V(0), x.to_bits());
            asm.store(at(slot.0, slot.1), V(0));
            Operand::Mem(slot.0, slot.1)
        };
        let exp2 = Exp2 {
            p: P.map(|c| put(asm, c)),
            lowest: (asm.width == Width::Ymm).then(|| put(asm, -126.0)),
            natural: natural.then(|| put(asm, std::f32::consts::LOG2_E)),
        };
        (exp2, disp)
    }

    /// Emits the loading of the constants into registers from `first` on, where there are enough (512 bits).
    pub(crate) fn held(self, asm: &mut Asm, first: u8) -> Exp2 {
        match asm.width {
            Width::Ymm => self,
            Width::Zmm => {
                let mut next = first..;
                let mut hold = |x: Operand| {
                    let v = next.next().map_or(V(first), V);
                    Operand::Reg(asm.held(x, v))
                };
                Exp2 {
                    p: self.p.map(&mut hold),
                    lowest: self.lowest.map(&mut hold),
                    natural: self.natural.map(&mut hold),
                }
            }
        }
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
        match asm.width {
            Width::Zmm => {
                for (f, x) in fs.iter().zip(xs) {
                    asm.fraction(*f, *x);
                }
            }
            Width::Ymm => {
                // x - floor(x) of -inf is NaN; such lanes are cleared at the end.
                for (f, x) in fs.iter().zip(xs) {
                    asm.floor(*f, *x);
                    asm.sub(*f, *x, *f);
                }
            }
        }
        for (p, f) in ps.iter().zip(fs) {
            let top = asm.held(self.p[5], *p);
            if top != *p {
                asm.copy(*p, top);
            }
            asm.fma213(*p, *f, self.p[4]);
        }
        for c in self.p[..4].iter().rev() {
            for (p, f) in ps.iter().zip(fs) {
                asm.fma213(*p, *f, *c);
            }
        }
        for ((p, f), x) in ps.iter().zip(fs).zip(xs) {
            match self.lowest {
                None => asm.scale(*x, *p, *x),
                Some(lowest) => {
                    asm.floor(*f, *x);
                    asm.at_least(*x, *x, lowest);
                    asm.scale_normal(*p, *p, *f);
                    asm.and(*x, *x, *p);
                }
            }
        }
    }
}
