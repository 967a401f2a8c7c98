// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A small emitter for claims: vectors by number, of either width, over iced's assembler.
//!
//! In: calls in the order of the code. Out: bytes that are independent of their place. The first instruction that iced refuses is kept
//! and told at the end, so that a kernel reads as a list of instructions and not of errors.

mod elements;
mod words;

use iced_x86::code_asm::{
    AsmMemoryOperand, AsmRegister64, AsmRegisterK, AsmRegisterXmm, AsmRegisterYmm, AsmRegisterZmm,
    CodeAssembler, CodeLabel, dword_ptr, eax, get_xmm, get_ymm, get_zmm, k1, k2, k3, k4, ptr, xmm0,
};
use iced_x86::{Code, IcedError, Instruction, Register};

/// Width of the vectors of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// 256 bits: 8 lanes, 16 registers.
    Ymm,
    /// 512 bits: 16 lanes, 32 registers.
    Zmm,
}

impl Width {
    /// Lanes of f32.
    pub(crate) fn lanes(self) -> u32 {
        match self {
            Width::Ymm => 8,
            Width::Zmm => 16,
        }
    }

    /// Bytes.
    pub(crate) fn bytes(self) -> i32 {
        self.lanes() as i32 * 4
    }

    /// Registers.
    pub(crate) fn registers(self) -> u8 {
        match self {
            Width::Ymm => 16,
            Width::Zmm => 32,
        }
    }
}

/// A vector register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct V(pub(crate) u8);

/// A factor or an addend: a register, or a vector in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operand {
    Reg(V),
    Mem(AsmRegister64, i32),
}

impl From<V> for Operand {
    fn from(v: V) -> Operand {
        Operand::Reg(v)
    }
}

/// A function under assembly.
pub(crate) struct Asm {
    pub(crate) width: Width,
    a: CodeAssembler,
    failed: Option<IcedError>,
}

/// The masks that comparisons write, one a vector of a group.
const MASKS: [AsmRegisterK; 3] = [k1, k2, k3];

pub(super) fn zmm(v: V) -> AsmRegisterZmm {
    get_zmm(Register::ZMM0 + u32::from(v.0)).unwrap_or(iced_x86::code_asm::zmm0)
}
pub(super) fn ymm(v: V) -> AsmRegisterYmm {
    get_ymm(Register::YMM0 + u32::from(v.0)).unwrap_or(iced_x86::code_asm::ymm0)
}

pub(super) fn xmm(v: V) -> AsmRegisterXmm {
    get_xmm(Register::XMM0 + u32::from(v.0)).unwrap_or(xmm0)
}

/// Instructions of the form (destination, source, source).
macro_rules! three {
    ($($name:ident $of:ident $what:literal;)*) => {$(
        #[doc = $what]
        pub(crate) fn $name(&mut self, d: V, x: V, y: impl Into<Operand>) {
            let r = match (self.width, y.into()) {
                (Width::Ymm, Operand::Reg(y)) => self.a.$of(ymm(d), ymm(x), ymm(y)),
                (Width::Zmm, Operand::Reg(y)) => self.a.$of(zmm(d), zmm(x), zmm(y)),
                (Width::Ymm, Operand::Mem(b, disp)) => self.a.$of(ymm(d), ymm(x), at(b, disp)),
                (Width::Zmm, Operand::Mem(b, disp)) => self.a.$of(zmm(d), zmm(x), at(b, disp)),
            };
            self.keep(r);
        }
    )*};
}

/// `[base + disp]`.
pub(crate) fn at(base: AsmRegister64, disp: i32) -> AsmMemoryOperand {
    ptr(base + disp)
}

impl Asm {
    pub(crate) fn new(width: Width) -> Result<Asm, IcedError> {
        Ok(Asm {
            width,
            a: CodeAssembler::new(64)?,
            failed: None,
        })
    }

    fn keep<T>(&mut self, r: Result<T, IcedError>) -> Option<T> {
        match r {
            Ok(x) => Some(x),
            Err(e) => {
                self.failed.get_or_insert(e);
                None
            }
        }
    }

    /// The bytes.
    ///
    /// # Errors
    /// The first instruction that could not be encoded: a bug of ours.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, IcedError> {
        match self.failed.take() {
            Some(e) => Err(e),
            None => self.a.assemble(0),
        }
    }

    /// Scalar instructions, in iced's own words.
    pub(crate) fn scalar(&mut self, f: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) {
        let r = f(&mut self.a);
        self.keep(r);
    }

    pub(crate) fn label(&mut self) -> CodeLabel {
        self.a.create_label()
    }

    pub(crate) fn bind(&mut self, label: &mut CodeLabel) {
        let r = self.a.set_label(label);
        self.keep(r);
        // An instruction of no bytes: the next one may have a label of its own.
        let r = self.a.zero_bytes();
        self.keep(r);
    }

    /// Repeats `body` while `count`, at least 1, is not 0 after it was lowered by one.
    pub(crate) fn repeat(&mut self, count: AsmRegister64, body: impl FnOnce(&mut Asm)) {
        let mut top = self.label();
        self.bind(&mut top);
        body(self);
        self.scalar(|a| {
            a.dec(count)?;
            a.jnz(top)
        });
    }

    pub(crate) fn load(&mut self, d: V, from: AsmMemoryOperand) {
        let r = match self.width {
            Width::Ymm => self.a.vmovups(ymm(d), from),
            Width::Zmm => self.a.vmovups(zmm(d), from),
        };
        self.keep(r);
    }

    pub(crate) fn store(&mut self, to: AsmMemoryOperand, x: V) {
        let r = match self.width {
            Width::Ymm => self.a.vmovups(to, ymm(x)),
            Width::Zmm => self.a.vmovups(to, zmm(x)),
        };
        self.keep(r);
    }

    pub(crate) fn copy(&mut self, d: V, x: V) {
        let r = match self.width {
            Width::Ymm => self.a.vmovaps(ymm(d), ymm(x)),
            Width::Zmm => self.a.vmovaps(zmm(d), zmm(x)),
        };
        self.keep(r);
    }

    /// All lanes = one f32 in memory.
    pub(crate) fn broadcast(&mut self, d: V, base: AsmRegister64, disp: i32) {
        let from = dword_ptr(base + disp);
        let r = match self.width {
            Width::Ymm => self.a.vbroadcastss(ymm(d), from),
            Width::Zmm => self.a.vbroadcastss(zmm(d), from),
        };
        self.keep(r);
    }

    /// All lanes = a constant. Writes EAX.
    pub(crate) fn constant(&mut self, d: V, bits: u32) {
        let wide = self.width;
        self.scalar(|a| {
            a.mov(eax, bits)?;
            match wide {
                Width::Zmm => a.vpbroadcastd(zmm(d), eax),
                Width::Ymm => {
                    let low = xmm(d);
                    a.vmovd(low, eax)?;
                    a.vbroadcastss(ymm(d), low)
                }
            }
        });
    }

    /// All lanes = 0.
    pub(crate) fn zero(&mut self, d: V) {
        match self.width {
            Width::Ymm => self.xor(d, d, d),
            Width::Zmm => {
                let r = self.a.vpxord(zmm(d), zmm(d), zmm(d));
                self.keep(r);
            }
        }
    }

    three! {
        add vaddps "d = x + y.";
        sub vsubps "d = x - y.";
        mul vmulps "d = x * y.";
        div vdivps "d = x / y.";
        max vmaxps "d = max(x, y); y where either is NaN.";
        xor vxorps "d = x ^ y.";
        and vandps "d = x & y.";
        fma231 vfmadd231ps "d = x * y + d.";
        fma213 vfmadd213ps "d = x * d + y.";
    }

    /// The vector of an operand in a register: its own, or `spare`.
    pub(crate) fn held(&mut self, x: Operand, spare: V) -> V {
        match x {
            Operand::Reg(v) => v,
            Operand::Mem(base, disp) => {
                self.load(spare, at(base, disp));
                spare
            }
        }
    }

    /// d = x - floor(x) (512 bits; 0 for infinities).
    pub(crate) fn fraction(&mut self, d: V, x: V) {
        // Fixed point with no fraction bits, rounding down, no exceptions.
        let r = self.a.vreduceps(zmm(d), zmm(x), 9);
        self.keep(r);
    }

    /// d = x * 2^floor(y) (512 bits).
    pub(crate) fn scale(&mut self, d: V, x: V, y: V) {
        let r = self.a.vscalefps(zmm(d), zmm(x), zmm(y));
        self.keep(r);
    }

    /// x becomes the number whose sign and exponent are the last nine bits of x (256 bits).
    pub(crate) fn last_bits_as_exponent(&mut self, x: V) {
        let r = self.a.vpslld(ymm(x), ymm(x), 23);
        self.keep(r);
    }

    /// d += the products of x's and y's pairs of bf16 (512 bits).
    pub(crate) fn multiply_pairs(&mut self, d: V, x: V, y: V) {
        let r = self.a.vdpbf16ps(zmm(d), zmm(x), zmm(y));
        self.keep(r);
    }

    /// Pairs of the upper halves of `even` and of `odd`, whose lower halves are zeros, into `odd`; `even` is overwritten (512 bits). A
    /// shift by bytes is a shuffle, which leaves the multipliers' port alone; what it moves from lane to lane are those zeros.
    pub(crate) fn merge_pair(&mut self, even: V, odd: V) {
        self.scalar(|a| {
            a.vpsrldq(zmm(even), zmm(even), 2)?;
            a.vpord(zmm(odd), zmm(odd), zmm(even))
        });
    }

    /// Mask 1 + `v` = the lanes where x > y (512 bits).
    pub(crate) fn exceeds(&mut self, v: usize, x: V, y: V) {
        const GREATER: i32 = 0x1e;
        let r = self.a.vcmpps(MASKS[v], zmm(x), zmm(y), GREATER);
        self.keep(r);
    }

    /// Jumps where none of the first `n` of those masks has a lane; writes K4.
    pub(crate) fn unless_any(&mut self, n: usize, to: CodeLabel) {
        self.scalar(|a| {
            a.kmovw(k4, k1)?;
            for k in &MASKS[1..n] {
                a.korw(k4, k4, *k)?;
            }
            a.kortestw(k4, k4)?;
            a.jz(to)
        });
    }

    /// All 64-bit lanes = one integer in memory.
    pub(crate) fn broadcast_position(&mut self, d: V, base: AsmRegister64) {
        let r = match self.width {
            Width::Ymm => self.a.vpbroadcastq(ymm(d), ptr(base)),
            Width::Zmm => self.a.vpbroadcastq(zmm(d), ptr(base)),
        };
        self.keep(r);
    }

    /// d = where key > the lanes' 64-bit positions at `[base + disp]`: low, else d. Writes `spare` (256 bits: two registers from it on).
    pub(crate) fn hide_behind(
        &mut self,
        d: V,
        key: V,
        low: V,
        (base, disp): (AsmRegister64, i32),
        spare: V,
    ) {
        match self.width {
            Width::Zmm => self.scalar(|a| {
                a.vpcmpgtq(k1, zmm(key), at(base, disp))?;
                a.vpcmpgtq(k2, zmm(key), at(base, disp + 64))?;
                a.kunpckbw(k1, k2, k1)?;
                a.vmovaps(zmm(d).k1(), zmm(low))
            }),
            Width::Ymm => {
                let (x, y) = (ymm(spare), ymm(V(spare.0 + 1)));
                self.scalar(|a| {
                    a.vpcmpgtq(x, ymm(key), at(base, disp))?;
                    a.vpcmpgtq(y, ymm(key), at(base, disp + 32))?;
                    // The low halves of eight 64-bit masks, in the order of the lanes.
                    a.vshufps(x, x, y, 0x88)?;
                    a.vpermq(x, x, 0xd8)?;
                    a.vblendvps(ymm(d), ymm(d), ymm(low), x)
                });
            }
        }
    }

    /// The instructions of `vectors` and of `tiles`, each in their order, neither with labels: tiles among vectors in proportion to how
    /// long the tile unit is busy with them, a product four times as long as anything else.
    pub(crate) fn weave(&mut self, vectors: Asm, tiles: Asm) {
        let weight = |i: &Instruction| match i.code() {
            Code::VEX_Tdpbf16ps_tmm_tmm_tmm => 8,
            _ => 2,
        };
        for part in [&vectors, &tiles] {
            if let Some(e) = &part.failed {
                self.failed.get_or_insert_with(|| e.clone());
            }
        }
        let (vectors, tiles) = (vectors.a.instructions(), tiles.a.instructions());
        let whole: usize = tiles.iter().map(weight).sum();
        let mut rest = vectors;
        let mut busy = 0;
        for i in tiles {
            let r = self.a.add_instruction(*i);
            self.keep(r);
            busy += weight(i);
            let due = vectors.len() * busy / whole;
            let (now, later) = rest.split_at(due - (vectors.len() - rest.len()));
            for i in now {
                let r = self.a.add_instruction(*i);
                self.keep(r);
            }
            rest = later;
        }
        for i in rest {
            let r = self.a.add_instruction(*i);
            self.keep(r);
        }
    }

    /// Leaves no state that slows 128-bit code of before AVX, and returns.
    pub(crate) fn leave(&mut self, saved: &[AsmRegister64]) {
        self.scalar(|a| {
            a.vzeroupper()?;
            for r in saved.iter().rev() {
                a.pop(*r)?;
            }
            a.ret()
        });
    }
}
