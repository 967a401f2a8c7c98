// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Storage types of host tensors and the conversion of single elements.
//!
//! In: elements of `f32`, `bf16`, `f16` or `f64`. Out: `f64` and `f32` values (exact where the type allows) and back, rounded once to the nearest,
//! ties to even, overflow to infinity. An operator's [`DType`] is one of the first three; `f64` occurs in files and in reference results only.

use std::fmt;

use half::{bf16, f16};

use crate::DType;

/// How the elements of a host tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Storage {
    /// IEEE 754 binary32.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE 754 binary16.
    F16,
    /// IEEE 754 binary64: files and reference results, never an operator's dtype.
    F64,
}

impl Storage {
    /// Size of one element in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Storage::Bf16 | Storage::F16 => 2,
            Storage::F32 => 4,
            Storage::F64 => 8,
        }
    }

    /// Lower-case name, as in messages.
    pub fn name(self) -> &'static str {
        match self {
            Storage::F32 => "f32",
            Storage::Bf16 => "bf16",
            Storage::F16 => "f16",
            Storage::F64 => "f64",
        }
    }
}

impl From<DType> for Storage {
    fn from(dtype: DType) -> Storage {
        match dtype {
            DType::F32 => Storage::F32,
            DType::Bf16 => Storage::Bf16,
            DType::F16 => Storage::F16,
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for half::bf16 {}
    impl Sealed for half::f16 {}
}

/// An element type of host tensors. Implemented for `f32`, `half::bf16`, `half::f16` and `f64` only.
pub trait Elem:
    sealed::Sealed + bytemuck::Pod + PartialEq + fmt::Debug + Send + Sync + 'static
{
    /// The storage type this is the Rust type of.
    const STORAGE: Storage;
    /// The value, exact.
    fn to_f64(self) -> f64;
    /// The nearest value of this type, ties to even, overflow to infinity; rounded once.
    fn from_f64(x: f64) -> Self;
    /// The nearest `f32`; exact for all but `f64`.
    fn to_f32(self) -> f32;
    /// The nearest value of this type, ties to even, overflow to infinity.
    fn from_f32(x: f32) -> Self;
    /// Reads a little-endian element from exactly `Self::STORAGE.bytes()` bytes; shorter input reads as zero-extended.
    fn from_le(bytes: &[u8]) -> Self;
}

/// Rounds to `f32` so that a second rounding to a narrower type gives what one rounding from `x` would have given:
/// inexact results get an odd last bit ("round to odd"), which keeps the sticky information.
fn to_odd_f32(x: f64) -> f32 {
    let near = x as f32;
    let back = f64::from(near);
    if back == x || x.is_nan() || x.is_infinite() {
        return near;
    }
    // Step to the neighbour nearer to zero if the rounding went away from zero, then set the last bit.
    let bits = near.to_bits();
    let toward_zero = if back.abs() > x.abs() { bits - 1 } else { bits };
    f32::from_bits(toward_zero | 1)
}

fn le<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}

impl Elem for f32 {
    const STORAGE: Storage = Storage::F32;
    #[inline]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline]
    fn from_f64(x: f64) -> f32 {
        x as f32
    }
    #[inline]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline]
    fn from_f32(x: f32) -> f32 {
        x
    }
    fn from_le(bytes: &[u8]) -> f32 {
        f32::from_le_bytes(le(bytes))
    }
}

impl Elem for f64 {
    const STORAGE: Storage = Storage::F64;
    #[inline]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline]
    fn from_f64(x: f64) -> f64 {
        x
    }
    #[inline]
    fn to_f32(self) -> f32 {
        self as f32
    }
    #[inline]
    fn from_f32(x: f32) -> f64 {
        f64::from(x)
    }
    fn from_le(bytes: &[u8]) -> f64 {
        f64::from_le_bytes(le(bytes))
    }
}

impl Elem for bf16 {
    const STORAGE: Storage = Storage::Bf16;
    #[inline]
    fn to_f64(self) -> f64 {
        f64::from(Elem::to_f32(self))
    }
    #[inline]
    fn from_f64(x: f64) -> bf16 {
        // `half`'s own conversion from f64 drops the lower 32 bits first and so misrounds near ties.
        bf16::from_f32(to_odd_f32(x))
    }
    #[inline]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    #[inline]
    fn from_f32(x: f32) -> bf16 {
        bf16::from_f32(x)
    }
    fn from_le(bytes: &[u8]) -> bf16 {
        bf16::from_le_bytes(le(bytes))
    }
}

impl Elem for f16 {
    const STORAGE: Storage = Storage::F16;
    #[inline]
    fn to_f64(self) -> f64 {
        // Exponent and mantissa moved to their place in a binary64 whose exponent is 1008 too small; the product repairs it, subnormals included.
        let bits = u64::from(self.to_bits());
        let magnitude = bits & 0x7fff;
        let finite = f64::from_bits(magnitude << 42) * f64::from_bits((1008 + 1023) << 52);
        let special = f64::from_bits((magnitude << 42) | 0x7ff0_0000_0000_0000);
        let x = if magnitude >= 0x7c00 { special } else { finite };
        f64::from_bits(x.to_bits() | ((bits & 0x8000) << 48))
    }
    #[inline]
    fn from_f64(x: f64) -> f16 {
        f16::from_f32(to_odd_f32(x))
    }
    #[inline]
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
    #[inline]
    fn from_f32(x: f32) -> f16 {
        f16::from_f32(x)
    }
    fn from_le(bytes: &[u8]) -> f16 {
        f16::from_le_bytes(le(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_once_from_f64() {
        // 1 + 2^-8 is the tie between bf16 1.0 and 1 + 2^-7; a hair above must go up, the tie goes to even, a hair below goes down.
        let tie = 1.0 + 2f64.powi(-8);
        assert_eq!(<bf16 as Elem>::from_f64(tie).to_bits(), 0x3f80);
        assert_eq!(
            <bf16 as Elem>::from_f64(tie + 2f64.powi(-50)).to_bits(),
            0x3f81
        );
        assert_eq!(
            <bf16 as Elem>::from_f64(tie - 2f64.powi(-50)).to_bits(),
            0x3f80
        );
        let tie = 1.0 + 2f64.powi(-11);
        assert_eq!(<f16 as Elem>::from_f64(tie).to_bits(), 0x3c00);
        assert_eq!(
            <f16 as Elem>::from_f64(-tie - 2f64.powi(-50)).to_bits(),
            0xbc01
        );
    }

    #[test]
    fn overflows_to_infinity_and_keeps_nan() {
        assert_eq!(<f16 as Elem>::from_f64(65519.9).to_bits(), 0x7bff);
        assert_eq!(<f16 as Elem>::from_f64(65520.0).to_bits(), 0x7c00);
        assert_eq!(<f16 as Elem>::from_f32(-1e6).to_bits(), 0xfc00);
        assert_eq!(<f32 as Elem>::from_f64(1e300), f32::INFINITY);
        assert_eq!(<bf16 as Elem>::from_f64(-1e300).to_bits(), 0xff80);
        assert!(Elem::to_f64(<bf16 as Elem>::from_f64(f64::NAN)).is_nan());
        assert!(Elem::to_f64(<f16 as Elem>::from_f64(f64::NAN)).is_nan());
    }

    #[test]
    fn every_half_precision_pattern_widens_exactly() {
        for bits in 0..=u16::MAX {
            let (h, b) = (f16::from_bits(bits), bf16::from_bits(bits));
            for (got, want) in [
                (Elem::to_f64(h), f64::from(h.to_f32())),
                (Elem::to_f64(b), f64::from(b.to_f32())),
            ] {
                assert!(
                    got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
                    "{bits:#x}"
                );
            }
            if !h.is_nan() {
                assert_eq!(<f16 as Elem>::from_f64(Elem::to_f64(h)).to_bits(), bits);
                assert_eq!(<f16 as Elem>::from_f32(Elem::to_f32(h)).to_bits(), bits);
            }
        }
    }

    #[test]
    fn subnormals_round_once() {
        // Smallest f16 subnormal 2^-24: half of it is a tie to zero, a hair more rounds up.
        let half_step = 2f64.powi(-25);
        assert_eq!(<f16 as Elem>::from_f64(half_step).to_bits(), 0);
        assert_eq!(
            <f16 as Elem>::from_f64(half_step * (1.0 + 1e-12)).to_bits(),
            1
        );
        let half_step = 2f64.powi(-134);
        assert_eq!(<bf16 as Elem>::from_f64(half_step).to_bits(), 0);
        assert_eq!(
            <bf16 as Elem>::from_f64(half_step * (1.0 + 1e-12)).to_bits(),
            1
        );
    }
}
