// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A function under construction: Cranelift's builder with loops that carry values, and the vector arithmetic that kernels share.
//!
//! In: calls in program order. Out: CLIF in the builder. Loops are `lo..hi` by a step; all memory is trusted: the verifier of
//! the tile IR has bounded every access.

use attnc_tile::core::Accuracy;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{
    BlockArg, ConstantData, InstBuilder, MemFlagsData, Type, Value, types,
};
use cranelift_frontend::FunctionBuilder;

use crate::coarse;

/// Four floats.
pub(crate) const F4: Type = types::F32X4;
const I4: Type = types::I32X4;

/// Two vectors that are computed alike.
pub(crate) type Pair = [Value; 2];

/// f of both halves of two pairs.
pub(crate) fn both(a: Pair, b: Pair, mut f: impl FnMut(Value, Value) -> Value) -> Pair {
    [f(a[0], b[0]), f(a[1], b[1])]
}

/// A function under construction.
pub(crate) struct Fx<'a> {
    pub(crate) b: FunctionBuilder<'a>,
    /// Whether fused multiply-add is one instruction.
    pub(crate) fma: bool,
}

impl Fx<'_> {
    pub(crate) fn int(&mut self, x: i64) -> Value {
        self.b.ins().iconst(types::I64, x)
    }
    pub(crate) fn int32(&mut self, x: u32) -> Value {
        self.b.ins().iconst(types::I32, i64::from(x))
    }
    pub(crate) fn add(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().iadd(a, b)
    }
    pub(crate) fn addc(&mut self, a: Value, x: i64) -> Value {
        let x = self.int(x);
        self.b.ins().iadd(a, x)
    }
    pub(crate) fn mulc(&mut self, a: Value, x: i64) -> Value {
        let x = self.int(x);
        self.b.ins().imul(a, x)
    }
    /// ceil(a / n) for a constant n.
    pub(crate) fn groups(&mut self, a: Value, n: i64) -> Value {
        let a = self.addc(a, n - 1);
        let n = self.int(n);
        self.b.ins().udiv(a, n)
    }
    /// The largest multiple of n, a power of two, that is at most a.
    pub(crate) fn round_down(&mut self, a: Value, n: i64) -> Value {
        let mask = self.int(-n);
        self.b.ins().band(a, mask)
    }
    pub(crate) fn load(&mut self, ty: Type, p: Value, off: i32) -> Value {
        self.b
            .ins()
            .load(ty, MemFlagsData::new().with_notrap(), p, off)
    }
    pub(crate) fn store(&mut self, x: Value, p: Value, off: i32) {
        self.b
            .ins()
            .store(MemFlagsData::new().with_notrap(), x, p, off);
    }

    /// for iv in (lo..hi).step_by(step), with values carried from round to round; yields them at the end. The test stands at the end of
    /// a round, which costs one jump.
    pub(crate) fn carry(
        &mut self,
        [lo, hi, step]: [Value; 3],
        init: &[Value],
        body: impl FnOnce(&mut Self, Value, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        let (round, exit) = (self.b.create_block(), self.b.create_block());
        self.b.append_block_param(round, types::I64);
        for v in init {
            let ty = self.b.func.dfg.value_type(*v);
            self.b.append_block_param(round, ty);
            self.b.append_block_param(exit, ty);
        }
        let out = |rest: &[Value]| -> Vec<BlockArg> { rest.iter().map(|v| (*v).into()).collect() };
        let on = |first: Value, rest: &[Value]| -> Vec<BlockArg> {
            std::iter::once(BlockArg::from(first))
                .chain(out(rest))
                .collect()
        };
        let some = self.b.ins().icmp(IntCC::SignedLessThan, lo, hi);
        self.b
            .ins()
            .brif(some, round, &on(lo, init), exit, &out(init));
        self.b.switch_to_block(round);
        let params: Vec<Value> = self.b.block_params(round).to_vec();
        let next = body(self, params[0], &params[1..]);
        let iv = self.b.ins().iadd(params[0], step);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, iv, hi);
        self.b
            .ins()
            .brif(more, round, &on(iv, &next), exit, &out(&next));
        self.b.switch_to_block(exit);
        self.b.block_params(exit).to_vec()
    }

    /// A loop that carries nothing.
    pub(crate) fn each(
        &mut self,
        lo: Value,
        hi: Value,
        step: i64,
        body: impl FnOnce(&mut Self, Value),
    ) {
        let step = self.int(step);
        self.carry([lo, hi, step], &[], |f, iv, _| {
            body(f, iv);
            Vec::new()
        });
    }

    /// for i in 0..n.
    pub(crate) fn upto(&mut self, n: Value, body: impl FnOnce(&mut Self, Value)) {
        let zero = self.int(0);
        self.each(zero, n, 1, body);
    }

    /// if cond != 0 { then } else { els }.
    pub(crate) fn either(
        &mut self,
        cond: Value,
        then: impl FnOnce(&mut Self),
        els: impl FnOnce(&mut Self),
    ) {
        let (a, b, exit) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        self.b.ins().brif(cond, a, &[], b, &[]);
        self.b.switch_to_block(a);
        then(self);
        self.b.ins().jump(exit, &[]);
        self.b.switch_to_block(b);
        els(self);
        self.b.ins().jump(exit, &[]);
        self.b.switch_to_block(exit);
    }

    pub(crate) fn when(&mut self, cond: Value, then: impl FnOnce(&mut Self)) {
        self.either(cond, then, |_| {});
    }

    /// The same float in four lanes: one load from the constant pool.
    pub(crate) fn splat(&mut self, x: f32) -> Value {
        self.vector(F4, x.to_bits())
    }
    /// The same 32 bits in four lanes.
    pub(crate) fn splat_int(&mut self, x: u32) -> Value {
        self.vector(I4, x)
    }
    fn vector(&mut self, ty: Type, x: u32) -> Value {
        let bytes: Vec<u8> = x.to_le_bytes().repeat(4);
        let data = self
            .b
            .func
            .dfg
            .constants
            .insert(ConstantData::from(&bytes[..]));
        self.b.ins().vconst(ty, data)
    }
    pub(crate) fn mul_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        if self.fma {
            self.b.ins().fma(a, b, c)
        } else {
            let p = self.b.ins().fmul(a, b);
            self.b.ins().fadd(p, c)
        }
    }
    /// Lanes of `a` where the mask is set, else of `b`.
    pub(crate) fn pick(&mut self, mask: Value, a: Value, b: Value) -> Value {
        let mask = self.bits(mask, F4);
        self.b.ins().bitselect(mask, a, b)
    }
    pub(crate) fn bits(&mut self, x: Value, ty: Type) -> Value {
        if self.b.func.dfg.value_type(x) == ty {
            return x;
        }
        let flags = MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little);
        self.b.ins().bitcast(ty, flags, x)
    }
    /// a > b ? a : b in each lane, which is one instruction; b where either is NaN.
    pub(crate) fn larger(&mut self, a: Value, b: Value) -> Value {
        // Written as b < a: the form that instruction selection knows.
        let more = self.compare(FloatCC::LessThan, b, a);
        self.pick(more, a, b)
    }
    /// Two masks of two 64-bit lanes as one of four 32-bit lanes.
    pub(crate) fn halves(&mut self, a: Value, b: Value) -> Value {
        let (a, b) = (self.bits(a, types::I8X16), self.bits(b, types::I8X16));
        let low = [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27u8];
        let low = self
            .b
            .func
            .dfg
            .immediates
            .push(ConstantData::from(&low[..]));
        let y = self.b.ins().shuffle(a, b, low);
        self.bits(y, I4)
    }
    pub(crate) fn compare(&mut self, cc: FloatCC, a: Value, b: Value) -> Value {
        self.b.ins().fcmp(cc, a, b)
    }

    /// 2^x for x <= 1, of both vectors of a pair: range reduction by a magic number, a polynomial of degree 6 in [-1/2, 1/2]
    /// (Taylor-like minimax with c0 = 1, relative error below 3e-8) or a coarse one, exponent by integer arithmetic; exactly 0 at and
    /// below -126, NaN for NaN. A pair at a time, so that each constant is loaded once for two.
    pub(crate) fn exp2(&mut self, x: Pair, accuracy: Accuracy) -> Pair {
        const P: [f32; 7] = [
            1.0,
            std::f32::consts::LN_2,
            2.402_265e-1,
            5.550_411e-2,
            9.618_129e-3,
            1.333_355_8e-3,
            1.540_353e-4,
        ];
        let magic = self.splat(12_582_912.0 + 127.0);
        let t = x.map(|x| self.b.ins().fadd(x, magic));
        let n = t.map(|t| self.b.ins().fsub(t, magic));
        let f = both(x, n, |x, n| self.b.ins().fsub(x, n));
        let mut down = coarse::around(accuracy).unwrap_or(&P).iter().rev();
        let mut p = f;
        if let Some(first) = down.next() {
            p = [self.splat(*first); 2];
        }
        for c in down {
            let c = self.splat(*c);
            p = both(p, f, |p, f| self.mul_add(p, f, c));
        }
        let by = self.int32(23);
        let floor = self.splat(-126.0);
        let y = both(p, t, |p, t| {
            let t = self.bits(t, I4);
            let e = self.b.ins().ishl(t, by);
            let e = self.bits(e, F4);
            self.b.ins().fmul(p, e)
        });
        // What lies too low for the exponent's bits is cleared, whatever came out above.
        both(y, x, |y, x| {
            let low = self.compare(FloatCC::LessThanOrEqual, x, floor);
            let y = self.bits(y, I4);
            let y = self.b.ins().band_not(y, low);
            self.bits(y, F4)
        })
    }

    /// log2 x: exponent by integer arithmetic, log of the mantissa in [sqrt(1/2), sqrt 2) by the series of atanh.
    pub(crate) fn log2(&mut self, x: Value) -> Value {
        let bits = self.bits(x, I4);
        let root = self.splat_int(0x3f35_04f3);
        let by = self.int32(23);
        let e = self.b.ins().isub(bits, root);
        let e = self.b.ins().sshr(e, by);
        let shifted = self.b.ins().ishl(e, by);
        let m = self.b.ins().isub(bits, shifted);
        let m = self.bits(m, F4);
        let one = self.splat(1.0);
        let two = self.splat(2.0);
        let f = self.b.ins().fsub(m, one);
        let g = self.b.ins().fadd(f, two);
        let z = self.b.ins().fdiv(f, g);
        let z2 = self.b.ins().fmul(z, z);
        let scale = 2.0 * std::f64::consts::LOG2_E;
        let mut p = self.splat((scale / 11.0) as f32);
        for k in [9.0, 7.0, 5.0, 3.0, 1.0] {
            let c = self.splat((scale / k) as f32);
            p = self.mul_add(p, z2, c);
        }
        let e = self.b.ins().fcvt_from_sint(F4, e);
        let y = self.mul_add(p, z, e);
        let zero = self.splat(0.0);
        let inf = self.splat(f32::INFINITY);
        let nan = self.splat(f32::NAN);
        let neg = self.splat(f32::NEG_INFINITY);
        let is_inf = self.compare(FloatCC::Equal, x, inf);
        let y = self.pick(is_inf, inf, y);
        let is_zero = self.compare(FloatCC::Equal, x, zero);
        let y = self.pick(is_zero, neg, y);
        let positive = self.compare(FloatCC::GreaterThanOrEqual, x, zero);
        self.pick(positive, y, nan)
    }
}
