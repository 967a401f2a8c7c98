// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Seeded standard-normal numbers, the same bits on every machine.
//!
//! In: a seed, a stream number (one per tensor), a storage type and a shape. Out: a tensor whose element `i` (C order) depends on (seed, stream, i) only,
//! so that any thread can fill any part.
//!
//! Element `i` is made from word `i` of the ChaCha8 key stream (key = the seed as 8 little-endian bytes and 24 zeros, nonce = the stream number):
//! the 32-bit word `x` is taken as the probability p = (x + 1/2) / 2^32 and mapped by the inverse of the normal distribution function,
//! algorithm AS 241 (M. J. Wichura, Applied Statistics 37, 1988, PPND16), then rounded once to the storage type. Only integer operations and correctly
//! rounded f64 operations (+ - * / sqrt) are used, no libm. Values lie within +-6.34, the finest steps of p being 2^-32.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use crate::elem::{Elem, Storage};
use crate::tensor::{Tensor, TensorError};

/// Elements that one work item fills; a multiple of the 16 words of a ChaCha block.
const CHUNK: usize = 1 << 12;

/// A tensor of standard-normal numbers. See the head of the file for what (`seed`, `stream`) mean.
pub fn normal_tensor(
    storage: impl Into<Storage>,
    shape: &[usize],
    seed: u64,
    stream: u64,
) -> Result<Tensor, TensorError> {
    let storage = storage.into();
    let mut t = Tensor::zeros(storage, shape)?;
    fill_tensor::<f32>(&mut t, seed, stream);
    fill_tensor::<half::bf16>(&mut t, seed, stream);
    fill_tensor::<half::f16>(&mut t, seed, stream);
    fill_tensor::<f64>(&mut t, seed, stream);
    Ok(t)
}

/// Fills `t` if it is stored as `T`.
fn fill_tensor<T: Elem>(t: &mut Tensor, seed: u64, stream: u64) {
    if let Some(v) = t.as_mut_slice::<T>() {
        v.par_chunks_mut(CHUNK)
            .enumerate()
            .for_each(|(c, part)| fill_normal(part, seed, stream, (c * CHUNK) as u64));
    }
}

/// Fills `out` with elements `first`, `first + 1`, ... of the sequence that (`seed`, `stream`) name.
pub fn fill_normal<T: Elem>(out: &mut [T], seed: u64, stream: u64, first: u64) {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(stream);
    rng.set_word_pos(u128::from(first));
    let mut bytes = [0u8; 4 * BLOCK];
    let mut words = [0u32; BLOCK];
    let mut values = [0f64; BLOCK];
    for part in out.chunks_mut(BLOCK) {
        rng.fill_bytes(&mut bytes[..4 * part.len()]);
        for (w, b) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *w = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        }
        // The centre formula for all, without branches so that it vectorises, then the tails (15 in 100) on their own.
        for (z, &w) in values.iter_mut().zip(&words) {
            *z = centre(q_of(w));
        }
        for (z, &w) in values.iter_mut().zip(&words) {
            let q = q_of(w);
            if q.abs() > SPLIT {
                *z = tail(q);
            }
        }
        for (o, &z) in part.iter_mut().zip(&values) {
            *o = T::from_f64(z);
        }
    }
}

const BLOCK: usize = 256;

/// p - 1/2 for the word `x`, exact in f64.
#[inline]
fn q_of(x: u32) -> f64 {
    (f64::from(x) + 0.5 - 2_147_483_648.0) / 4_294_967_296.0
}

/// |q| up to which the centre formula holds.
const SPLIT: f64 = 0.425;

#[inline]
fn horner(c: &[f64; 8], x: f64) -> f64 {
    let mut y = c[7];
    for i in (0..7).rev() {
        y = y * x + c[i];
    }
    y
}

/// AS 241, |q| <= 0.425.
#[inline]
fn centre(q: f64) -> f64 {
    let r = 0.180625 - q * q;
    q * horner(&CENTRE_NUM, r) / horner(&CENTRE_DEN, r)
}

/// AS 241, the tails. The smallest probability is 2^-33, so sqrt(-ln p) < 4.79 and the far-tail formula (beyond 5) is never needed.
fn tail(q: f64) -> f64 {
    let p = 0.5 - q.abs();
    let r = (-ln(p)).sqrt() - 1.6;
    let z = horner(&TAIL_NUM, r) / horner(&TAIL_DEN, r);
    if q < 0.0 { -z } else { z }
}

/// Natural logarithm of a positive normal number, to about 2e-16 relative, from correctly rounded operations only:
/// x = m 2^e with m in [sqrt(1/2), sqrt(2)), ln m = 2 artanh((m-1)/(m+1)) by its power series.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut e = ((bits >> 52) as i64) - 1023;
    let mut m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        e += 1;
    }
    let t = (m - 1.0) / (m + 1.0);
    let t2 = t * t;
    let mut s = 0.0;
    for k in (0..11).rev() {
        s = s * t2 + 1.0 / f64::from(2 * k + 1);
    }
    2.0 * t * s + e as f64 * std::f64::consts::LN_2
}

// The digits are kept as published.
#[allow(clippy::excessive_precision)]
const CENTRE_NUM: [f64; 8] = [
    3.387_132_872_796_366_608,
    1.331_416_678_917_843_774_5e2,
    1.971_590_950_306_551_442_7e3,
    1.373_169_376_550_946_112_5e4,
    4.592_195_393_154_987_145_7e4,
    6.726_577_092_700_870_085_3e4,
    3.343_057_558_358_812_810_5e4,
    2.509_080_928_730_122_672_7e3,
];
#[allow(clippy::excessive_precision)]
const CENTRE_DEN: [f64; 8] = [
    1.0,
    4.231_333_070_160_091_125_2e1,
    6.871_870_074_920_579_083e2,
    5.394_196_021_424_751_107_7e3,
    2.121_379_430_158_659_586_7e4,
    3.930_789_580_009_271_061e4,
    2.872_908_573_572_194_267_4e4,
    5.226_495_278_852_854_561e3,
];
#[allow(clippy::excessive_precision)]
const TAIL_NUM: [f64; 8] = [
    1.423_437_110_749_683_577_34,
    4.630_337_846_156_545_295_9,
    5.769_497_221_460_691_405_5,
    3.647_848_324_763_204_605_04,
    1.270_458_252_452_368_382_58,
    2.417_807_251_774_506_117_7e-1,
    2.272_384_498_926_918_458_33e-2,
    7.745_450_142_783_414_076_4e-4,
];
#[allow(clippy::excessive_precision)]
const TAIL_DEN: [f64; 8] = [
    1.0,
    2.053_191_626_637_758_821_87,
    1.676_384_830_183_803_849_4,
    6.897_673_349_851_000_045_5e-1,
    1.481_039_764_274_800_745_9e-1,
    1.519_866_656_361_645_719_66e-2,
    5.475_938_084_995_344_946e-4,
    1.050_750_071_644_416_843_24e-9,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_the_same_everywhere() {
        // Recorded once; a change of these bits changes every published run.
        let mut v = [0f64; 6];
        fill_normal(&mut v, 0, 0, 0);
        let bits: Vec<u64> = v.iter().map(|x| x.to_bits()).collect();
        assert_eq!(bits, FIRST_SIX, "{bits:#x?}");
        let t = normal_tensor(Storage::Bf16, &[3, 5], 7, 2).unwrap();
        let bits: Vec<u16> = t
            .as_slice::<half::bf16>()
            .unwrap()
            .iter()
            .map(|x| x.to_bits())
            .collect();
        assert_eq!(bits[..4], BF16_FOUR, "{bits:#x?}");
    }
    const FIRST_SIX: [u64; 6] = [
        0xbfec_6b67_0acb_26ec,
        0x3fef_6b89_26f5_6788,
        0x3ff5_5c30_ee8e_d1bd,
        0x3fd5_7af0_0eb3_3760,
        0x3fe6_cd45_cbda_0eb0,
        0xbfe7_63a5_bf67_921a,
    ];
    const BF16_FOUR: [u16; 4] = [0x3f1a, 0xc013, 0x3f92, 0xbf5d];

    #[test]
    fn any_part_can_be_filled_alone() {
        let mut whole = vec![0f32; 3 * CHUNK + 77];
        fill_normal(&mut whole, 3, 1, 0);
        let t = normal_tensor(Storage::F32, &[whole.len()], 3, 1).unwrap();
        assert_eq!(t.as_slice::<f32>().unwrap(), &whole[..]);
        for first in [1usize, 15, 16, 4095, 5000] {
            let mut part = vec![0f32; 300];
            fill_normal(&mut part, 3, 1, first as u64);
            assert_eq!(part, whole[first..first + 300]);
        }
    }

    #[test]
    fn quantiles_match_published_values() {
        // Phi^-1 at p = 0.75, 0.975, 0.999, 1e-6, 1e-9 (tables; 16 digits).
        for (p, z) in [
            (0.75, 0.674_489_750_196_081_7),
            (0.975, 1.959_963_984_540_054),
            (0.999, 3.090_232_306_167_814),
            (1e-6, -4.753_424_308_822_899),
            (1e-9, -5.997_807_015_007_687),
        ] {
            let q: f64 = p - 0.5;
            let got = if q.abs() <= SPLIT { centre(q) } else { tail(q) };
            // p - 1/2 costs tail probabilities some of their digits.
            let tol = if p < 1e-3 { 1e-8 } else { 1e-13 };
            assert!((got - z).abs() <= tol * z.abs(), "{p}: {got} {z}");
        }
        for x in [1.0, 0.5, 0.07, 1e-5, 2f64.powi(-33), 1.41, 1.42, 3.7] {
            assert!(
                (ln(x) - x.ln()).abs() <= 4e-16 * x.ln().abs().max(1.0),
                "{x}"
            );
        }
    }

    #[test]
    fn moments_and_tails_are_those_of_the_normal_distribution() {
        let n = 1 << 20;
        let mut v = vec![0f64; n];
        fill_normal(&mut v, 11, 0, 0);
        let mean = |f: &dyn Fn(f64) -> f64| v.iter().map(|&x| f(x)).sum::<f64>() / n as f64;
        // Four standard errors each.
        let se = 4.0 / (n as f64).sqrt();
        assert!(mean(&|x| x).abs() < se);
        assert!((mean(&|x| x * x) - 1.0).abs() < se * 2f64.sqrt());
        assert!(mean(&|x| x.powi(3)).abs() < se * 15f64.sqrt());
        assert!((mean(&|x| x.powi(4)) - 3.0).abs() < se * 96f64.sqrt());
        for (z, p) in [
            (1.0, 0.158_655_25),
            (2.0, 0.022_750_13),
            (3.0, 0.001_349_898),
        ] {
            let seen = mean(&|x| f64::from(u8::from(x > z)));
            assert!((seen - p).abs() < se * f64::sqrt(p), "{z} {seen} {p}");
        }
        // Neighbours and streams are unrelated.
        let lag = v.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / n as f64;
        assert!(lag.abs() < se);
        let mut w = vec![0f64; n];
        fill_normal(&mut w, 11, 1, 0);
        let cross = v.iter().zip(&w).map(|(a, b)| a * b).sum::<f64>() / n as f64;
        assert!(cross.abs() < se);
    }
}
