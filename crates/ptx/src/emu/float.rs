// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Floating point beside what the host has: every rounding mode, f16, bf16, tf32, e4m3, e5m2.
//! In: bits. Out: bits, each rounded once. Method: a result is held in f64 rounded to odd
//! (exact except for a sticky last bit), which any narrower format may round again safely.

/// How to round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    /// To nearest, ties to even.
    Near,
    /// To nearest, ties away from zero.
    Away,
    /// Toward zero.
    Zero,
    /// Toward minus infinity.
    Down,
    /// Toward plus infinity.
    Up,
}

impl Round {
    /// From a modifier: `rn`, `rna`, `rz`, `rm`, `rp`, and the same with an `i`.
    pub(crate) fn of(m: Option<&str>) -> Self {
        match m {
            Some("rz" | "rzi") => Self::Zero,
            Some("rm" | "rmi") => Self::Down,
            Some("rp" | "rpi") => Self::Up,
            Some("rna") => Self::Away,
            Some(_) | None => Self::Near,
        }
    }
}

/// A binary format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// Exponent bits.
    pub(crate) exp: u32,
    /// Fraction bits.
    pub(crate) frac: u32,
    /// Has infinities (e4m3 has none, and a single NaN code).
    pub(crate) inf: bool,
    /// The NaN that instructions return.
    pub(crate) nan: u64,
}

pub(crate) const F16: Format = Format {
    exp: 5,
    frac: 10,
    inf: true,
    nan: 0x7fff,
};
pub(crate) const BF16: Format = Format {
    exp: 8,
    frac: 7,
    inf: true,
    nan: 0x7fff,
};
pub(crate) const TF32: Format = Format {
    exp: 8,
    frac: 10,
    inf: true,
    nan: 0x3_ffff,
};
pub(crate) const F32: Format = Format {
    exp: 8,
    frac: 23,
    inf: true,
    nan: 0x7fff_ffff,
};
pub(crate) const E4M3: Format = Format {
    exp: 4,
    frac: 3,
    inf: false,
    nan: 0x7f,
};
pub(crate) const E5M2: Format = Format {
    exp: 5,
    frac: 2,
    inf: true,
    nan: 0x7f,
};

/// Rounds a value into a format. `finite`: what overflows becomes the largest finite value.
pub(crate) fn encode(x: f64, f: Format, mode: Round, finite: bool) -> u64 {
    let sign = x.is_sign_negative();
    let top = 1u64 << (f.exp + f.frac);
    let s = if sign { top } else { 0 };
    if x.is_nan() {
        return f.nan;
    }
    let bias = (1i32 << (f.exp - 1)) - 1;
    let emax = if f.inf {
        (1u64 << f.exp) - 2
    } else {
        (1u64 << f.exp) - 1
    };
    let max = if f.inf {
        (emax << f.frac) | ((1 << f.frac) - 1)
    } else {
        (emax << f.frac) | ((1 << f.frac) - 2)
    };
    let inf = if f.inf { (emax + 1) << f.frac } else { f.nan };
    if x.is_infinite() {
        return if finite { s | max } else { s | inf };
    }
    if x == 0.0 {
        return s;
    }
    let bits = x.to_bits() & !(1 << 63);
    let (mut e, mut m) = ((bits >> 52) as i32, bits & ((1 << 52) - 1));
    if e == 0 {
        let sh = m.leading_zeros() - 11;
        m <<= sh;
        e = 1 - sh as i32;
    } else {
        m |= 1 << 52;
    }
    // Value = m * 2^(e-1075), m in [2^52, 2^53). Target exponent field:
    let mut te = e - 1023 + bias;
    let mut drop = 52 - f.frac;
    if te < 1 {
        drop = (drop as i64 + i64::from(1 - te)).min(63) as u32;
        te = 1;
    }
    let kept = m.checked_shr(drop).unwrap_or(0);
    let rest = m & ((1u64 << drop) - 1);
    let half = 1u64 << (drop - 1);
    let up = match mode {
        Round::Near => rest > half || (rest == half && kept & 1 == 1),
        Round::Away => rest >= half,
        Round::Zero => false,
        Round::Down => sign && rest != 0,
        Round::Up => !sign && rest != 0,
    };
    // kept has its leading 1 (bit `frac`) unless subnormal; adding carries into the exponent.
    let r = (((te - 1) as u64) << f.frac).wrapping_add(kept + u64::from(up));
    if r > max || te as u64 > emax {
        let to_max = finite
            || match mode {
                Round::Zero => true,
                Round::Down => !sign,
                Round::Up => sign,
                Round::Near | Round::Away => false,
            };
        return if to_max { s | max } else { s | inf };
    }
    s | r
}

/// The value of bits of a format; exact.
pub(crate) fn unpack(bits: u64, f: Format) -> f64 {
    let sign = bits >> (f.exp + f.frac) & 1 == 1;
    let e = (bits >> f.frac) & ((1 << f.exp) - 1);
    let m = bits & ((1 << f.frac) - 1);
    let bias = (1i32 << (f.exp - 1)) - 1;
    let all = (1u64 << f.exp) - 1;
    let v = if f.inf && e == all {
        if m == 0 { f64::INFINITY } else { f64::NAN }
    } else if !f.inf && e == all && m == (1 << f.frac) - 1 {
        f64::NAN
    } else {
        let (m, e) = if e == 0 {
            (m, 1)
        } else {
            (m | 1 << f.frac, e as i32)
        };
        // 2^k exactly, |k| < 1023 for all formats here.
        m as f64 * f64::from_bits(((e - bias - f.frac as i32 + 1023) as u64) << 52)
    };
    if sign { -v } else { v }
}

/// f16 bits to f32; exact.
pub(crate) fn h2f(h: u16) -> f32 {
    half::f16::from_bits(h).to_f32()
}

/// bf16 bits to f32; exact.
pub(crate) fn b2f(h: u16) -> f32 {
    f32::from_bits(u32::from(h) << 16)
}

/// The sum of two f64 and its exact error.
pub(crate) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let bb = s - a;
    (s, (a - (s - bb)) + (b - bb))
}

/// `s` with error `e`, rounded to odd.
pub(crate) fn odd(s: f64, e: f64) -> f64 {
    let b = s.to_bits();
    if e == 0.0 || !s.is_finite() || e.is_nan() || b & 1 == 1 {
        return s;
    }
    if (e > 0.0) == (s > 0.0) {
        f64::from_bits(b | 1)
    } else {
        f64::from_bits((b - 1) | 1)
    }
}

/// `a + b` rounded to odd.
pub(crate) fn add_odd(a: f64, b: f64) -> f64 {
    let (s, e) = two_sum(a, b);
    odd(s, e)
}

/// `a * b + c` rounded to odd, for `a * b` exact in f64.
pub(crate) fn fma_odd(a: f64, b: f64, c: f64) -> f64 {
    let p = a * b;
    // A product of narrow formats is exact, so the sum's error is the whole error.
    add_odd(p, c)
}

/// `a / b` rounded to odd.
pub(crate) fn div_odd(a: f64, b: f64) -> f64 {
    let q = a / b;
    if !q.is_finite() || q == 0.0 || b.is_infinite() {
        return q;
    }
    let r = (-q).mul_add(b, a);
    odd(q, if b < 0.0 { -r } else { r })
}

/// The square root rounded to odd.
pub(crate) fn sqrt_odd(a: f64) -> f64 {
    let s = a.sqrt();
    if !s.is_finite() || s == 0.0 {
        return s;
    }
    odd(s, (-s).mul_add(s, a))
}

/// An f64 result `r` (nearest) with the sign of its error, moved to a directed mode.
pub(crate) fn direct(r: f64, e: f64, mode: Round) -> f64 {
    if !r.is_finite() || e == 0.0 || e.is_nan() {
        return r;
    }
    match mode {
        Round::Near | Round::Away => r,
        Round::Up => {
            if e > 0.0 {
                r.next_up()
            } else {
                r
            }
        }
        Round::Down => {
            if e < 0.0 {
                r.next_down()
            } else {
                r
            }
        }
        Round::Zero => {
            if r > 0.0 && e < 0.0 {
                r.next_down()
            } else if r < 0.0 && e > 0.0 {
                r.next_up()
            } else {
                r
            }
        }
    }
}

/// An f64 already rounded to odd (or exact), to f32 bits in a mode.
pub(crate) fn to_f32(x: f64, mode: Round) -> u32 {
    match mode {
        Round::Near if !x.is_nan() => (x as f32).to_bits(),
        _ => encode(x, F32, mode, false) as u32,
    }
}

/// Flushes a subnormal f32 to a zero of its sign.
pub(crate) fn ftz(x: f32) -> f32 {
    if x.is_subnormal() {
        f32::from_bits(x.to_bits() & 0x8000_0000)
    } else {
        x
    }
}

/// f32 bits with the NaN that instructions return.
pub(crate) fn canon(x: f32) -> u32 {
    if x.is_nan() { 0x7fff_ffff } else { x.to_bits() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_and_rounds_as_the_half_crate_does() {
        for h in 0..=u16::MAX {
            let v = unpack(u64::from(h), F16);
            if v.is_nan() {
                continue;
            }
            assert_eq!(encode(v, F16, Round::Near, false), u64::from(h));
            assert_eq!(v, f64::from(h2f(h)));
            for d in [-1i32, 0, 1, 5000] {
                let x = f32::from_bits(h2f(h).to_bits().wrapping_add_signed(d * 1000));
                if !x.is_nan() {
                    assert_eq!(
                        encode(f64::from(x), F16, Round::Near, false) as u16,
                        half::f16::from_f32(x).to_bits()
                    );
                    assert_eq!(
                        encode(f64::from(x), BF16, Round::Near, false) as u16,
                        half::bf16::from_f32(x).to_bits()
                    );
                    assert_eq!(
                        encode(f64::from(x), F32, Round::Near, false) as u32,
                        x.to_bits()
                    );
                }
            }
        }
    }

    #[test]
    fn eight_bit_formats_have_their_limits() {
        assert_eq!(encode(448.0, E4M3, Round::Near, true), 0x7e);
        assert_eq!(encode(1e9, E4M3, Round::Near, true), 0x7e);
        assert_eq!(encode(-57344.0, E5M2, Round::Near, true), 0xfb);
        assert_eq!(encode(1e9, E5M2, Round::Near, true), 0x7b);
        assert_eq!(unpack(0x01, E4M3), 2f64.powi(-9));
        assert_eq!(unpack(0x01, E5M2), 2f64.powi(-16));
        assert_eq!(encode(f64::NAN, E4M3, Round::Near, true), 0x7f);
    }

    #[test]
    fn directed_modes_bracket_the_value() {
        let x = 1.0 + 2f64.powi(-30);
        assert_eq!(to_f32(x, Round::Down), 0x3f80_0000);
        assert_eq!(to_f32(x, Round::Up), 0x3f80_0001);
        assert_eq!(to_f32(-x, Round::Zero), 0xbf80_0000);
        assert_eq!(to_f32(-x, Round::Down), 0xbf80_0001);
    }
}
