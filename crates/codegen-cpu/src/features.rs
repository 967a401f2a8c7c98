// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Extensions of a processor as data: what each is called, and where the processor and the system say that they have it.
//!
//! In: nothing but the machine, or a set made up by a test. Out: sets of extensions. Generated code asks for the same extensions by the
//! same table (`detect`), so what a host thinks of this machine and what an object finds on it agree.

use std::fmt;
use std::sync::OnceLock;

/// A register that CPUID fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

/// Where an extension stands (Intel SDM volume 2, CPUID), and the state components that the system must keep for it (XCR0).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) leaf: u32,
    pub(crate) subleaf: u32,
    pub(crate) register: Register,
    pub(crate) bit: u32,
    pub(crate) state: u32,
}

/// State that Linux keeps for a process only after it has asked: the number of its component, behind whose bit in XCR0 nothing else is
/// (tiles take 8 KiB of every signal's frame).
pub(crate) const ASKED_FOR: u32 = 18;

/// An extension of `x86_64` that code can need. The other families are used at their baselines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feature {
    /// Fused multiply-add.
    Fma,
    /// 256-bit integers.
    Avx2,
    /// Conversions from and to f16.
    F16c,
    /// 512-bit vectors.
    Avx512F,
    /// 512-bit vectors of bytes and words.
    Avx512Bw,
    /// 512-bit vectors: double and quad words.
    Avx512Dq,
    /// The same instructions on shorter vectors.
    Avx512Vl,
    /// Shuffles of bytes across 512 bits.
    Avx512Vbmi,
    /// Products of bf16 pairs.
    Avx512Bf16,
    /// Tiles.
    AmxTile,
    /// Products of bf16 tiles.
    AmxBf16,
}

/// SSE and AVX state.
const YMM: u32 = 0b110;
/// The same with masks and 512-bit state.
const ZMM: u32 = 0b1110_0110;
/// Tile configuration and tiles.
const TILES: u32 = 0b11 << 17;

impl Feature {
    /// Every one, in the order of their bits in a set.
    pub const ALL: [Feature; 11] = [
        Feature::Fma,
        Feature::Avx2,
        Feature::F16c,
        Feature::Avx512F,
        Feature::Avx512Bw,
        Feature::Avx512Dq,
        Feature::Avx512Vl,
        Feature::Avx512Vbmi,
        Feature::Avx512Bf16,
        Feature::AmxTile,
        Feature::AmxBf16,
    ];

    /// The name that people know it by.
    pub fn name(self) -> &'static str {
        match self {
            Feature::Fma => "FMA",
            Feature::Avx2 => "AVX2",
            Feature::F16c => "F16C",
            Feature::Avx512F => "AVX512F",
            Feature::Avx512Bw => "AVX512BW",
            Feature::Avx512Dq => "AVX512DQ",
            Feature::Avx512Vl => "AVX512VL",
            Feature::Avx512Vbmi => "AVX512VBMI",
            Feature::Avx512Bf16 => "AVX512BF16",
            Feature::AmxTile => "AMX-TILE",
            Feature::AmxBf16 => "AMX-BF16",
        }
    }

    pub(crate) fn place(self) -> Place {
        let at = |leaf, register, bit, state| Place {
            leaf,
            subleaf: 0,
            register,
            bit,
            state,
        };
        match self {
            Feature::Fma => at(1, Register::Ecx, 12, YMM),
            Feature::Avx2 => at(7, Register::Ebx, 5, YMM),
            Feature::F16c => at(1, Register::Ecx, 29, YMM),
            Feature::Avx512F => at(7, Register::Ebx, 16, ZMM),
            Feature::Avx512Bw => at(7, Register::Ebx, 30, ZMM),
            Feature::Avx512Dq => at(7, Register::Ebx, 17, ZMM),
            Feature::Avx512Vl => at(7, Register::Ebx, 31, ZMM),
            Feature::Avx512Vbmi => at(7, Register::Ecx, 1, ZMM),
            Feature::Avx512Bf16 => Place {
                subleaf: 1,
                ..at(7, Register::Eax, 5, ZMM)
            },
            Feature::AmxTile => at(7, Register::Edx, 24, TILES),
            Feature::AmxBf16 => at(7, Register::Edx, 22, TILES),
        }
    }

    /// Whether the system must be asked before the first use.
    pub(crate) fn asked_for(self) -> bool {
        self.place().state >> ASKED_FOR & 1 == 1
    }
}

/// A set of extensions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Features(u32);

impl Features {
    /// The baseline.
    pub const NONE: Features = Features(0);

    /// These.
    pub const fn of(list: &[Feature]) -> Features {
        let (mut set, mut i) = (0, 0);
        while i < list.len() {
            set |= 1 << list[i] as u32;
            i += 1;
        }
        Features(set)
    }

    /// Those that this machine has and its system supports, as generated code finds them. The first call asks the system for what must be
    /// asked for. None where no code can be run at all.
    pub fn here() -> Features {
        static HERE: OnceLock<Features> = OnceLock::new();
        *HERE.get_or_init(|| Features(crate::jit::features().unwrap_or(0)))
    }

    /// These and those.
    pub const fn with(self, more: Features) -> Features {
        Features(self.0 | more.0)
    }

    /// Whether all of `needs` are among these.
    pub fn has(self, needs: Features) -> bool {
        needs.0 & !self.0 == 0
    }

    /// Those of `needs` that are not among these, in the order of [`Feature::ALL`].
    pub fn lacks(self, needs: Features) -> Vec<Feature> {
        let lacking = Features(needs.0 & !self.0);
        lacking.iter().collect()
    }

    /// Every member.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        let is = move |f: &Feature| self.0 >> *f as u32 & 1 == 1;
        Feature::ALL.into_iter().filter(is)
    }

    /// As the generated code keeps them: bit `i` for the i-th of [`Feature::ALL`].
    pub(crate) fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_all_is_that_of_the_bits() {
        for (i, f) in Feature::ALL.into_iter().enumerate() {
            assert_eq!(Features::of(&[f]).bits(), 1 << i, "{}", f.name());
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn generated_code_and_the_standard_library_find_the_same() {
        use std::arch::is_x86_feature_detected as has;
        for (f, there) in [
            (Feature::Fma, has!("fma")),
            (Feature::Avx2, has!("avx2")),
            (Feature::F16c, has!("f16c")),
            (Feature::Avx512F, has!("avx512f")),
            (Feature::Avx512Bw, has!("avx512bw")),
            (Feature::Avx512Dq, has!("avx512dq")),
            (Feature::Avx512Vl, has!("avx512vl")),
            (Feature::Avx512Vbmi, has!("avx512vbmi")),
            (Feature::Avx512Bf16, has!("avx512bf16")),
        ] {
            assert_eq!(
                Features::here().has(Features::of(&[f])),
                there,
                "{}",
                f.name()
            );
        }
    }

    #[test]
    fn a_set_lacks_exactly_what_is_needed_and_not_there() {
        let some = Features::of(&[Feature::Fma, Feature::Avx512F]);
        let needs = Features::of(&[Feature::Avx2, Feature::Avx512F, Feature::AmxBf16]);
        assert_eq!(some.lacks(needs), [Feature::Avx2, Feature::AmxBf16]);
        assert!(!some.has(needs) && some.with(needs).has(needs));
        assert!(some.has(Features::NONE) && Features::NONE.lacks(Features::NONE).is_empty());
    }
}
