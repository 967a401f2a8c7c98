// SPDX-License-Identifier: Apache-2.0 OR MIT
//! exp of a block's scores, two rows of f32 to one row of pairs of bf16, and the sum of what was rounded.
//!
//! In: rows of scores, what each lane adds to its exponents. Out: rows of weights, sums, and, by table, whether an exponent was too large.
//! Both ways begin with x = s * scale + d, one fused multiply-add a vector, with x and d in units of their own; a lane's d is t - m.
//!
//! `Polynomial` (AVX512-BF16): a weight is 2^floor(x) p(x - floor(x)) with p of degree 3: relative error 7.5e-5 (Remez's exchange on
//! [0, 1), weighted by 2^-x), a twentieth of what rounding to bf16 takes away in any case. p lies in [1, 2) as far as bf16 can tell, where
//! half a unit in the last place is 2^-8; that is added to its constant, so that cutting off the low half of the product rounds it to the
//! nearest. Errors of 1.7e-3 rms, 3.9e-3 at most. Where weights may be coarser p is of degree 2, one multiply-add a vector less: 2.1e-3 rms,
//! 5.7e-3 at most.
//!
//! `Table` (AMX, whose processors all have AVX512-VBMI): matrix tiles share a port with products, maxima and shifts of 512 bits, and the
//! table has three instructions of those a pair of rows, not twelve, and its share of the sum. The bits of a bf16, seen as a number, are
//! nearly 128 times the logarithm of what they stand for: 2^(n + f) is written 128 (n + 127 + f), plus a bend of 2^f - 1 - f that only
//! the fraction decides. So y = 256 (x + 127) - 64 is rounded to a whole number by the multiply-add itself; seven bits of its fraction
//! choose one of 128 bytes c, the bend in halves of the last place and those 64; and the average of y and c, which rounds, is the bf16.
//! A step of y is 2^(1/256), so errors are 1.9e-3 rms, 1e-5 as mean and 5.1e-3 at most. Where weights may be coarser there are 64 bytes, which
//! one register holds, so that choosing takes two operations less of fourteen: 2.0e-3 and 5.9e-3, 5e-5 as mean. d is rounded to a whole step as well, once for all weights of a lane: references are chosen so
//! that nothing is lost where t is a whole number, and half a step, 1.4e-3, is the most where it is not.
//!
//! What lies below y = 0 is to become 0, however far below: the saturation of the packing from 32 to 16 bits does so, which is needed in
//! any case. The multiply-add leaves t = (y - top) 2^-22, where top - 2^23 is the largest y in use. For no y above that, t is at most -2,
//! and above -4 one step of y is one of its last place: the bits of -(top 2^-22), less those of t, are y; and negative all the way down
//! to t = -inf, for bits of negative numbers rise as these fall. For a larger y, t is above -2: of the two upper bits, which every number
//! from -2 down has set, one is clear. Their conjunction over a block tells, without a maximum, whether the reference is still good; it
//! sees every number, +inf included. Comparing scores with a bound first, and zeroing by mask, would take one shuffle more.
//!
//! y below 256 makes words that are no normal numbers: products of bf16 take them as zeros, those of tiles and those of the sum.

use attnc_tile::core::Accuracy;
use attnc_tile::step::Softmax;
use iced_x86::code_asm::{AsmRegister64, CodeLabel};

use super::softmax::{Columns, LAG, registers};
use crate::claims::asm::{Asm, Operand, V, at};
use crate::coarse;

/// How weights come about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Exponential {
    /// By its coefficients, from the constant on.
    Polynomial(&'static [f32]),
    /// By its bends: 128, or 64 where they may be coarser.
    Table(&'static [u8]),
}

/// Half a unit in the last place of bf16 in [1, 2).
const HALF: f32 = 1.0 / 256.0;
/// The half of an f32 that is a bf16.
const UPPER_HALF: u32 = 0xffff_0000;

/// Steps of y a power of two, and by how many y is lower than the bits it becomes.
const STEPS: f32 = 256.0;
const BELOW: u8 = 64;
/// What a step of y is in t.
const STEP: f32 = 2.0 * f32::EPSILON;
/// From here down the two upper bits are set.
const RANGE_BITS: u32 = 0xc000_0000;
/// The bends by the seven bits: those that make the mean square of the relative error least.
const BENDS: [u8; 128] = [
    48, 47, 47, 47, 47, 46, 46, 46, 45, 45, 45, 45, 44, 44, 44, 44, //
    43, 43, 43, 43, 43, 43, 42, 42, 42, 42, 42, 42, 42, 42, 42, 42, //
    42, 41, 41, 41, 41, 41, 42, 42, 42, 42, 42, 42, 42, 42, 42, 42, //
    42, 42, 43, 43, 43, 43, 43, 44, 44, 44, 44, 45, 45, 45, 46, 46, //
    46, 46, 47, 47, 48, 48, 48, 49, 49, 50, 50, 50, 51, 52, 52, 52, //
    53, 54, 54, 55, 56, 56, 57, 57, 58, 58, 59, 60, 61, 62, 62, 63, //
    63, 63, 62, 61, 61, 61, 60, 59, 59, 58, 57, 57, 57, 56, 55, 55, //
    55, 54, 53, 53, 53, 52, 52, 51, 51, 51, 50, 50, 49, 49, 49, 48, //
];
/// The same by the upper six of the seven bits.
const FEWER_BENDS: [u8; 64] = [
    48, 47, 46, 46, 45, 45, 44, 44, 43, 43, 43, 42, 42, 42, 42, 42, //
    42, 41, 41, 42, 42, 42, 42, 42, 42, 43, 43, 44, 44, 44, 45, 46, //
    46, 47, 48, 48, 50, 50, 51, 52, 54, 54, 56, 57, 58, 60, 61, 62, //
    63, 62, 61, 59, 59, 57, 56, 55, 54, 53, 53, 51, 51, 50, 49, 48, //
];
/// Four words of one row and four of the other, as pairs.
const AS_PAIRS: [u8; 16] = [0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15];
/// (1, 1) in bf16.
const ONES: u32 = 0x3f80_3f80;

// Registers of constants: what both have, what one has. Lanes' are read before scores are.
const SCALE: V = V(31);
const LOWEST: V = V(22);
const FACTOR: V = V(21);
const ADDEND: V = V(20);
const C: [V; 4] = [V(29), V(28), V(27), V(26)];
const UPPER: V = V(30);
const LOW_BENDS: V = V(30);
const HIGH_BENDS: V = V(29);
const FROM: V = V(28);
const PAIRS: V = V(27);
const TOP: V = V(26);
const ONE: V = V(25);
const RANGE: V = V(24);
/// The conjunction of all t.
const SEEN: V = V(23);

/// The largest y in use, one power of two above what the reference may lag behind.
fn limit(unit: f32) -> f32 {
    (STEPS * (128.0 + LAG * unit)).ceil() - f32::from(BELOW)
}

/// For each byte, from which bit of its 64 the number of a bend comes: the lower byte of a word from its bit 1 on, or from 2 where
/// there are half as many.
fn from_bits(bends: &[u8]) -> [u8; 8] {
    let first = if bends.len() == BENDS.len() { 1 } else { 2 };
    [0, 0, 16, 16, 32, 32, 48, 48].map(|word| word + first)
}

/// 2^23 and the largest y.
fn top(unit: f32) -> f32 {
    2.0 / STEP + limit(unit)
}

impl Exponential {
    pub(super) fn polynomial(weights: Accuracy) -> Exponential {
        // What is rounded to bf16 is never nearer than by degree 3.
        Exponential::Polynomial(match weights {
            Accuracy::Full | Accuracy::Bits13 => &coarse::ABOVE_3,
            Accuracy::Bits9 => &coarse::ABOVE_2,
        })
    }

    pub(super) fn table(weights: Accuracy) -> Exponential {
        Exponential::Table(match weights {
            Accuracy::Full | Accuracy::Bits13 => &BENDS,
            Accuracy::Bits9 => &FEWER_BENDS,
        })
    }

    /// Powers of two in one of the exponent's own units.
    fn unit(softmax: Softmax) -> f32 {
        if softmax.base2 {
            1.0
        } else {
            std::f32::consts::LOG2_E
        }
    }

    /// Whether constants stay in their registers: nothing multiplies in the vector unit but this.
    pub(super) fn keeps(self) -> bool {
        matches!(self, Exponential::Table(_))
    }

    /// Loads the constants, by way of 64 bytes at `scratch`. Writes RAX and K7.
    pub(super) fn load(self, asm: &mut Asm, softmax: Softmax, scratch: (AsmRegister64, i32)) {
        // A natural exponent becomes one of base 2 with the scale, and with what the lanes add.
        let unit = Exponential::unit(softmax);
        let (factor, addend) = match self {
            Exponential::Polynomial(_) => (1.0, 0.0),
            Exponential::Table(_) => {
                let zero = STEPS * 127.0 - f32::from(BELOW);
                (STEPS * STEP, (zero - top(unit)) * STEP)
            }
        };
        // An empty state's m is the lowest number there is: half of it is as low, and times log2 e still a number.
        for (to, x) in [
            (SCALE, softmax.scale * unit * factor),
            (LOWEST, f32::MIN / 2.0),
            (FACTOR, unit * factor),
            (ADDEND, addend),
        ] {
            asm.constant(to, x.to_bits());
        }
        match self {
            Exponential::Polynomial(p) => {
                asm.constant(UPPER, UPPER_HALF);
                let halves = std::iter::once(HALF).chain(std::iter::repeat(0.0));
                for (c, (value, half)) in C.into_iter().zip(p.iter().zip(halves)) {
                    asm.constant(c, (value + half).to_bits());
                }
            }
            Exponential::Table(bends) => {
                for (to, bends) in [LOW_BENDS, HIGH_BENDS].into_iter().zip(bends.as_chunks().0) {
                    asm.bytes(to, *bends, scratch);
                }
                let repeated = |x: &[u8]| std::array::from_fn(|i| x[i % x.len()]);
                asm.bytes(FROM, repeated(&from_bits(bends)), scratch);
                asm.bytes(PAIRS, repeated(&AS_PAIRS), scratch);
                asm.constant(TOP, (-top(unit) * STEP).to_bits());
                asm.constant(ONE, ONES);
                asm.constant(RANGE, RANGE_BITS);
                asm.choose_low_bytes();
            }
        }
    }

    /// What the lanes add, from t at `counts` and m at `reference`; sums at 0.
    pub(super) fn open(
        self,
        asm: &mut Asm,
        columns: Columns,
        (counts, reference): (AsmRegister64, AsmRegister64),
    ) {
        let (d, sum) = (columns.added(), columns.sums());
        for (v, off) in columns.slots() {
            asm.max(sum[v], LOWEST, Operand::Mem(reference, off));
            asm.load(d[v], at(counts, off));
            asm.sub(d[v], d[v], sum[v]);
            asm.fma213(d[v], FACTOR, ADDEND);
        }
        for sum in sum {
            asm.zero(sum);
        }
        if self.keeps() {
            asm.copy(SEEN, RANGE);
        }
    }

    /// The weights of a few pairs of rows, from scores at `from` to rows of pairs at `to`.
    pub(super) fn emit(
        self,
        asm: &mut Asm,
        columns: Columns,
        row: i32,
        (from, from_disp): (AsmRegister64, i32),
        to: (AsmRegister64, i32),
    ) {
        let n = usize::from(columns.n);
        let d = columns.added();
        let x = registers(columns.free(), 2 * columns.pairs() as u8 * columns.n);
        for (i, x) in x.chunks(n).enumerate() {
            for (v, off) in columns.slots() {
                let s = Operand::Mem(from, from_disp + i as i32 * row + off);
                asm.copy(x[v], d[v]);
                asm.fma231(x[v], SCALE, s);
            }
        }
        match self {
            Exponential::Polynomial(p) => polynomial(asm, columns, row, (p.len(), &x), to),
            Exponential::Table(bends) => table(asm, columns, row, (bends.len(), &x), to),
        }
    }

    /// Goes on at `kept` unless an exponent has been too large since `open`; otherwise the weights are to be made again, under a higher
    /// reference. Writes K1 and K4.
    pub(super) fn unless_exceeded(asm: &mut Asm, kept: CodeLabel) {
        asm.differs(SEEN, RANGE);
        asm.unless_any(1, kept);
    }

    /// References become such that a step of y divides them, which the largest weights are then nearest to. Writes `spare`.
    pub(super) fn round(self, asm: &mut Asm, softmax: Softmax, xs: &[V], spare: &[V]) {
        if !self.keeps() {
            return;
        }
        let unit = Exponential::unit(softmax);
        asm.constant(spare[0], unit.to_bits());
        asm.constant(spare[1], unit.recip().to_bits());
        for x in xs {
            asm.mul(*x, *x, spare[0]);
            asm.round_to(*x, *x, STEPS.log2() as u32);
            asm.mul(*x, *x, spare[1]);
        }
    }
}

/// Rows of exponents become rows of pairs of powers, by a polynomial of so many coefficients.
fn polynomial(
    asm: &mut Asm,
    columns: Columns,
    row: i32,
    (coefficients, x): (usize, &[V]),
    (to, disp): (AsmRegister64, i32),
) {
    let n = usize::from(columns.n);
    let all = x.len() as u8;
    let sum = columns.sums();
    let (f, p) = (
        registers(columns.free() + all, all),
        registers(columns.free() + 2 * all, all),
    );
    powers(asm, &C[..coefficients], x, (&f, &p));
    for (pair, x) in (0..).zip(x.chunks(2 * n)) {
        let (even, odd) = x.split_at(n);
        for (v, off) in columns.slots() {
            for x in [even[v], odd[v]] {
                asm.and(x, x, UPPER);
                asm.add(sum[pair * n + v], sum[pair * n + v], x);
            }
            asm.merge_pair(even[v], odd[v]);
            asm.store(at(to, disp + pair as i32 * row + off), odd[v]);
        }
    }
}

/// `xs` become their powers of two, half a unit of bf16 too large. Instruction by instruction over all vectors, so that neighbours never
/// wait for each other.
fn powers(asm: &mut Asm, coefficients: &[V], xs: &[V], (fs, ps): (&[V], &[V])) {
    let mut down = coefficients.iter().rev();
    for (f, x) in fs.iter().zip(xs) {
        asm.fraction(*f, *x);
    }
    if let Some(c) = down.next() {
        for p in ps {
            asm.copy(*p, *c);
        }
    }
    for c in down {
        for (p, f) in ps.iter().zip(fs) {
            asm.fma213(*p, *f, *c);
        }
    }
    for (p, x) in ps.iter().zip(xs) {
        asm.scale(*x, *p, *x);
    }
}

/// Rows of t become rows of pairs of powers, by a table of so many bends; again instruction by instruction over all vectors.
fn table(
    asm: &mut Asm,
    columns: Columns,
    row: i32,
    (entries, x): (usize, &[V]),
    (to, disp): (AsmRegister64, i32),
) {
    let n = usize::from(columns.n);
    let sum = columns.sums();
    let pairs = || x.chunks(2 * n).flat_map(|x| x[..n].iter().zip(&x[n..]));
    let bends = registers(columns.free() + x.len() as u8, x.len() as u8 / 2);
    for (even, odd) in pairs() {
        asm.and_both(SEEN, *even, *odd);
    }
    for x in x {
        asm.sub_int(*x, TOP, *x);
    }
    for (even, odd) in pairs() {
        asm.pack_words(*even, *even, *odd);
    }
    for (y, _) in pairs() {
        asm.shuffle_bytes(*y, *y, PAIRS);
    }
    for ((y, _), bend) in pairs().zip(&bends) {
        asm.bits_from(*bend, FROM, *y);
    }
    for bend in &bends {
        if entries == BENDS.len() {
            asm.look_up(*bend, LOW_BENDS, HIGH_BENDS);
        } else {
            asm.look_up_one(*bend, LOW_BENDS);
        }
    }
    for ((y, _), bend) in pairs().zip(&bends) {
        asm.average_words(*y, *y, *bend);
    }
    for ((y, _), sum) in pairs().zip(&sum) {
        asm.multiply_pairs(*sum, *y, ONE);
    }
    for (pair, x) in (0..).zip(x.chunks(2 * n)) {
        for (v, off) in columns.slots() {
            asm.store(at(to, disp + pair * row + off), x[v]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// y of a fraction, as the multiply-add rounds it.
    fn steps(x: f64) -> u32 {
        (f64::from(STEPS) * (x + 127.0)).round_ties_even() as u32 - u32::from(BELOW)
    }

    fn weight(y: u32, bend: u8) -> f64 {
        let average = (y + u32::from(bend) + 1) >> 1;
        f64::from(f32::from_bits(average << 16))
    }

    /// The number of a bend.
    fn bend(y: u32, bends: &[u8]) -> usize {
        (y >> from_bits(bends)[0]) as usize % bends.len()
    }

    /// Mean square, mean and largest of errors.
    fn errors(all: impl Iterator<Item = f64>) -> [f64; 3] {
        let all: Vec<f64> = all.collect();
        let mean = |f: fn(f64) -> f64| all.iter().map(|x| f(*x)).sum::<f64>() / all.len() as f64;
        let most = all.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        [mean(|x| x * x).sqrt(), mean(|x| x), most]
    }

    /// What cutting off leaves of p with half a unit added, in both degrees.
    #[test]
    fn weights_by_polynomial_are_as_close_as_it_says() {
        for (weights, most) in [
            (Accuracy::Full, [1.67e-3, 1e-5, 3.95e-3]),
            (Accuracy::Bits9, [2.06e-3, 8e-5, 5.7e-3]),
        ] {
            let Exponential::Polynomial(p) = Exponential::polynomial(weights) else {
                panic!("not a polynomial");
            };
            let all = (0..1 << 16).map(|i| {
                let x = i as f32 / 65536.0;
                let p = p.iter().rev().fold(0.0, |y: f32, c| y.mul_add(x, *c)) + HALF;
                let weight = f32::from_bits(p.to_bits() & UPPER_HALF);
                f64::from(weight) / f64::from(x).exp2() - 1.0
            });
            let found = errors(all);
            for (x, most) in found.iter().zip(most) {
                assert!(x.abs() < most, "{weights:?}: {found:?}");
            }
        }
    }

    /// All fractions of 16 bits, of a power of two and of a tiny one.
    #[test]
    fn weights_by_table_are_as_close_as_it_says() {
        for (bends, most) in [
            (&BENDS[..], [1.86e-3, 1.2e-5, 5.1e-3]),
            (&FEWER_BENDS, [1.96e-3, 5.3e-5, 5.9e-3]),
        ] {
            for power in [0.0, -125.0, 9.0] {
                let found = errors((0..1 << 16).map(|i| {
                    let x = power + f64::from(i) / 65536.0;
                    let y = steps(x);
                    weight(y, bends[bend(y, bends)]) / x.exp2() - 1.0
                }));
                for (x, most) in found.iter().zip(most) {
                    assert!(x.abs() < most, "{} bends: {found:?}", bends.len());
                }
            }
            let one = steps(0.0);
            assert_eq!(weight(one, bends[bend(one, bends)]), 1.0);
        }
    }

    /// Any other byte in any place would be worse.
    #[test]
    fn every_bend_is_the_best_one() {
        for bends in [&BENDS[..], &FEWER_BENDS] {
            let mut squares = vec![[0.0; 256]; bends.len()];
            for i in 0..1 << 16 {
                let x = f64::from(i) / 65536.0;
                let y = steps(x);
                for c in 0..=255u8 {
                    let off = weight(y, c) / x.exp2() - 1.0;
                    squares[bend(y, bends)][usize::from(c)] += off * off;
                }
            }
            for (i, all) in squares.iter().enumerate() {
                let better = |a: &u8, b: &u8| all[usize::from(*a)].total_cmp(&all[usize::from(*b)]);
                let best = (0..=255u8).min_by(better);
                assert_eq!(best, Some(bends[i]), "{i} of {}", bends.len());
            }
        }
    }

    /// What instructions make of t, from far below to far above, in both bases.
    #[test]
    fn the_bits_of_t_are_y_or_tell_that_it_is_too_large() {
        for unit in [1.0, std::f32::consts::LOG2_E] {
            let bits = (-top(unit) * STEP).to_bits() as i32;
            assert_eq!(top(unit).fract(), 0.0);
            assert!(top(unit) < 2.0 * (2.0 / STEP) && limit(unit) + 64.0 < 65536.0);
            let y = |t: f32| bits.wrapping_sub(t.to_bits() as i32);
            let good = |t: f32| t.to_bits() & RANGE_BITS == RANGE_BITS;
            for whole in -70_000..=limit(unit) as i32 {
                let t = (whole as f32 - top(unit)) * STEP;
                assert!(good(t) && y(t) == whole, "{whole}");
            }
            for far in [-4.5, -1e3, -1e30, f32::MIN, f32::NEG_INFINITY] {
                assert!(good(far) && y(far) < 0, "{far}");
            }
            for near in [-1.999_999_9, -1e-30, 0.0, 1.0, 3.0, f32::MAX, f32::INFINITY] {
                assert!(!good(near), "{near}");
            }
        }
    }
}
