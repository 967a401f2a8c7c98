// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Element types of tensors: what `.attn` files, graphs, tile programs and tensor files name.

use std::fmt;
use std::str::FromStr;

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use crate::Elem;

/// Storage type of an operator's tensors. Accumulation is always `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// bfloat16: the upper half of a binary32.
    Bf16,
    /// IEEE 754 binary16.
    F16,
}

impl DType {
    /// Every dtype, in the order of the documentation.
    pub const ALL: [DType; 3] = [DType::F32, DType::Bf16, DType::F16];

    /// Size of one element in bytes.
    pub fn bytes(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::Bf16 | DType::F16 => 2,
        }
    }

    /// The name used in `.attn` files and in every text form.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::F16 => "f16",
        }
    }

    /// The number of this type nearest to x, ties to even, overflow to infinity.
    pub fn round(self, x: f32) -> f32 {
        match self {
            DType::F32 => x,
            DType::Bf16 => Elem::to_f32(<bf16 as Elem>::from_f32(x)),
            DType::F16 => Elem::to_f32(<f16 as Elem>::from_f32(x)),
        }
    }

    /// The number that 16 bits of memory are: an element, or the upper half of one of [`DType::F32`] whose lower half is zero.
    pub fn of_bits(self, bits: u16) -> f32 {
        match self {
            DType::F32 | DType::Bf16 => Elem::to_f32(bf16::from_bits(bits)),
            DType::F16 => Elem::to_f32(f16::from_bits(bits)),
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        DType::ALL.into_iter().find(|d| d.name() == s).ok_or(())
    }
}
