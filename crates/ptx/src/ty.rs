// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Scalar types and state spaces of PTX. In: their spelling. Out: width, class, spelling.

use std::fmt;

macro_rules! tokens {
    ($(#[$m:meta])* $name:ident { $($(#[$vm:meta])* $v:ident = $s:literal),* $(,)? }) => {
        $(#[$m])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $(#[doc = concat!("`.", $s, "`")] $(#[$vm])* $v),* }
        impl $name {
            /// All of them, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$v),*];
            /// The spelling without the dot.
            pub fn name(self) -> &'static str { match self { $(Self::$v => $s),* } }
            /// From the spelling without the dot.
            pub fn from_name(s: &str) -> Option<Self> { match s { $($s => Some(Self::$v),)* _ => None } }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.name()) }
        }
    };
}

tokens! {
    /// A scalar (or packed) type.
    Type {
        Pred = "pred", B1 = "b1", B4 = "b4", U4 = "u4", S4 = "s4",
        B8 = "b8", U8 = "u8", S8 = "s8", B16 = "b16", U16 = "u16", S16 = "s16",
        B32 = "b32", U32 = "u32", S32 = "s32", B64 = "b64", U64 = "u64", S64 = "s64", B128 = "b128",
        F16 = "f16", F16x2 = "f16x2", Bf16 = "bf16", Bf16x2 = "bf16x2", Tf32 = "tf32",
        F32 = "f32", F32x2 = "f32x2", F64 = "f64", U16x2 = "u16x2", S16x2 = "s16x2",
        E4m3 = "e4m3", E5m2 = "e5m2", E4m3x2 = "e4m3x2", E5m2x2 = "e5m2x2",
    }
}

/// What arithmetic a type has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A truth value.
    Pred,
    /// Bits without a meaning.
    Bits,
    /// Unsigned integer.
    Unsigned,
    /// Two's complement integer.
    Signed,
    /// Floating point.
    Float,
}

impl Type {
    /// Width in bits (a predicate counts 1).
    pub fn bits(self) -> u32 {
        match self {
            Self::Pred | Self::B1 => 1,
            Self::B4 | Self::U4 | Self::S4 => 4,
            Self::B8 | Self::U8 | Self::S8 | Self::E4m3 | Self::E5m2 => 8,
            Self::B16
            | Self::U16
            | Self::S16
            | Self::F16
            | Self::Bf16
            | Self::E4m3x2
            | Self::E5m2x2 => 16,
            Self::B32
            | Self::U32
            | Self::S32
            | Self::F16x2
            | Self::Bf16x2
            | Self::Tf32
            | Self::F32
            | Self::U16x2
            | Self::S16x2 => 32,
            Self::B64 | Self::U64 | Self::S64 | Self::F64 | Self::F32x2 => 64,
            Self::B128 => 128,
        }
    }

    /// Width in whole bytes.
    pub fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    /// What arithmetic it has.
    pub fn class(self) -> Class {
        match self {
            Self::Pred => Class::Pred,
            Self::B1 | Self::B4 | Self::B8 | Self::B16 | Self::B32 | Self::B64 | Self::B128 => {
                Class::Bits
            }
            Self::U4 | Self::U8 | Self::U16 | Self::U32 | Self::U64 | Self::U16x2 => {
                Class::Unsigned
            }
            Self::S4 | Self::S8 | Self::S16 | Self::S32 | Self::S64 | Self::S16x2 => Class::Signed,
            Self::F16
            | Self::F16x2
            | Self::Bf16
            | Self::Bf16x2
            | Self::Tf32
            | Self::F32
            | Self::F32x2
            | Self::F64
            | Self::E4m3
            | Self::E5m2
            | Self::E4m3x2
            | Self::E5m2x2 => Class::Float,
        }
    }

    /// Whether a register or variable may be declared with it.
    pub fn declarable(self) -> bool {
        !matches!(
            self,
            Self::B1
                | Self::B4
                | Self::U4
                | Self::S4
                | Self::Bf16
                | Self::Bf16x2
                | Self::Tf32
                | Self::E4m3
                | Self::E5m2
                | Self::E4m3x2
                | Self::E5m2x2
                | Self::U16x2
                | Self::S16x2
                | Self::F32x2
        )
    }
}

tokens! {
    /// A state space (`Shared` is `.shared::cta`).
    Space {
        Reg = "reg", Const = "const", Global = "global", Local = "local",
        Param = "param", ParamEntry = "param::entry", ParamFunc = "param::func",
        Shared = "shared", SharedCta = "shared::cta", SharedCluster = "shared::cluster",
    }
}
