// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The processors that code is made for, and the levels of one processor that one program serves.
//!
//! In: a target's name. Out: Cranelift's code generators for it, one a level. Nothing here asks the machine this runs on, except
//! [`CpuTarget::here`] and [`Level::here`].

use attnc_tile::step::Panels;
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use target_lexicon::Triple;

use crate::features::{Feature, Features};
use crate::layout::LEVEL;
use crate::program::CodegenError;

/// A processor family: one instruction set, one object file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// 64-bit Intel and AMD.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

/// A processor that code is made for: a family and what of it the code may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CpuTarget {
    /// 64-bit Intel and AMD: Cranelift's 128-bit kernels, at two levels.
    X86_64,
    /// The same with AVX2, FMA and F16C: assembled 256-bit kernels.
    X86_64V3,
    /// The same with AVX-512: assembled 512-bit kernels.
    X86_64V4,
    /// The same with AMX: tiles for products of bf16.
    X86_64Amx,
    /// 64-bit ARM.
    Aarch64,
}

/// What a body of `run` may use beyond its family's baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// The baseline: multiply, then add, on `x86_64`; fused on `aarch64`, whose baseline has it.
    Base,
    /// `x86_64` with FMA, AVX2 and everything before them.
    Fma,
    /// The same with F16C, with claims on 256-bit vectors.
    V3,
    /// AVX-512 (F, BW, DQ, VL), with claims on 512-bit vectors.
    V4,
    /// The same with AVX512-BF16, for operators in bf16.
    V4Bf16,
    /// The same with AMX, and AVX512-VBMI, which all processors with AMX have.
    Amx,
}

impl Level {
    /// Every level, lowest first.
    pub const ALL: [Level; 6] = [
        Level::Base,
        Level::Fma,
        Level::V3,
        Level::V4,
        Level::V4Bf16,
        Level::Amx,
    ];

    /// The word in names of functions.
    pub fn name(self) -> &'static str {
        match self {
            Level::Base => "base",
            Level::Fma => "fma",
            Level::V3 => "v3",
            Level::V4 => "v4",
            Level::V4Bf16 => "v4_bf16",
            Level::Amx => "amx",
        }
    }

    /// What it takes beyond the family's baseline.
    pub fn needs(self) -> Features {
        const FMA: Features = Features::of(&[Feature::Fma, Feature::Avx2]);
        const V3: Features = FMA.with(Features::of(&[Feature::F16c]));
        const V4: Features = V3.with(Features::of(&[
            Feature::Avx512F,
            Feature::Avx512Bw,
            Feature::Avx512Dq,
            Feature::Avx512Vl,
        ]));
        const BF16: Features = V4.with(Features::of(&[Feature::Avx512Bf16]));
        const AMX: Features = BF16.with(Features::of(&[
            Feature::Avx512Vbmi,
            Feature::AmxTile,
            Feature::AmxBf16,
        ]));
        match self {
            Level::Base => Features::NONE,
            Level::Fma => FMA,
            Level::V3 => V3,
            Level::V4 => V4,
            Level::V4Bf16 => BF16,
            Level::Amx => AMX,
        }
    }

    /// Whether this machine has it, as one of its family.
    pub fn here(self) -> bool {
        Features::here().has(self.needs())
    }

    /// The level that a filled plan structure names; none for what is no plan.
    pub fn of_plan(plan: &[u64]) -> Option<Level> {
        let kept = plan.get(LEVEL as usize / 8)?;
        Level::ALL.into_iter().find(|l| l.number() as u64 == *kept)
    }

    /// The number that the plan keeps.
    pub fn number(self) -> i64 {
        match self {
            Level::Base => 0,
            Level::Fma => 1,
            Level::V3 => 2,
            Level::V4 => 3,
            Level::V4Bf16 => 4,
            Level::Amx => 5,
        }
    }
}

impl Family {
    /// The name, as the standard library spells it.
    pub fn name(self) -> &'static str {
        match self {
            Family::X86_64 => "x86_64",
            Family::Aarch64 => "aarch64",
        }
    }

    /// The family of the machine this runs on.
    pub fn here() -> Option<Family> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Family::X86_64),
            "aarch64" => Some(Family::Aarch64),
            _ => None,
        }
    }
}

impl CpuTarget {
    /// Every target, those of a family from the least to the most demanding.
    pub const ALL: [CpuTarget; 5] = [
        CpuTarget::X86_64,
        CpuTarget::X86_64V3,
        CpuTarget::X86_64V4,
        CpuTarget::X86_64Amx,
        CpuTarget::Aarch64,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            CpuTarget::X86_64 => "x86_64",
            CpuTarget::X86_64V3 => "x86_64-v3",
            CpuTarget::X86_64V4 => "x86_64-v4",
            CpuTarget::X86_64Amx => "x86_64-amx",
            CpuTarget::Aarch64 => "aarch64",
        }
    }

    /// The target of a name.
    pub fn of_name(name: &str) -> Option<CpuTarget> {
        CpuTarget::ALL.into_iter().find(|t| t.name() == name)
    }

    /// Whose instructions its code is made of.
    pub fn family(self) -> Family {
        match self {
            CpuTarget::X86_64
            | CpuTarget::X86_64V3
            | CpuTarget::X86_64V4
            | CpuTarget::X86_64Amx => Family::X86_64,
            CpuTarget::Aarch64 => Family::Aarch64,
        }
    }

    /// The most demanding target that this machine runs.
    pub fn here() -> Option<CpuTarget> {
        CpuTarget::ALL.into_iter().rev().find(|t| t.runs_here())
    }

    /// Whether this machine runs its code.
    pub fn runs_here(self) -> bool {
        Family::here() == Some(self.family()) && self.levels().iter().any(|l| l.here())
    }

    /// The levels at which this target compiles a program whose steps take these panels, lowest first. A target may have several
    /// programs of one operator: AVX-512 takes half panels where it has instructions for them.
    pub fn levels_of(self, panels: Panels) -> &'static [Level] {
        match (self, panels) {
            (CpuTarget::X86_64V4, Panels::Half) => &[Level::V4Bf16],
            (_, Panels::Float | Panels::Half) => self.levels(),
        }
    }

    /// The levels of the program that every operator has for this target, lowest first.
    pub fn levels(self) -> &'static [Level] {
        match self {
            CpuTarget::X86_64 => &[Level::Base, Level::Fma],
            CpuTarget::X86_64V3 => &[Level::V3],
            CpuTarget::X86_64V4 => &[Level::V4],
            CpuTarget::X86_64Amx => &[Level::Amx],
            CpuTarget::Aarch64 => &[Level::Base],
        }
    }

    /// Whether a level multiplies and adds in one instruction.
    pub(crate) fn fused(self, level: Level) -> bool {
        match self.family() {
            Family::X86_64 => level != Level::Base,
            Family::Aarch64 => true,
        }
    }

    /// The triple of object files: Linux, whatever this runs on.
    pub(crate) fn linux(self) -> Triple {
        let mut t = Triple::unknown();
        t.architecture = match self.family() {
            Family::X86_64 => target_lexicon::Architecture::X86_64,
            Family::Aarch64 => {
                target_lexicon::Architecture::Aarch64(target_lexicon::Aarch64Architecture::Aarch64)
            }
        };
        t.operating_system = target_lexicon::OperatingSystem::Linux;
        t.environment = target_lexicon::Environment::Gnu;
        t.binary_format = target_lexicon::BinaryFormat::Elf;
        t
    }

    /// Cranelift's generator for a level.
    ///
    /// # Errors
    /// A setting that Cranelift refuses: a bug of ours.
    pub(crate) fn isa(self, triple: Triple, level: Level) -> Result<OwnedTargetIsa, CodegenError> {
        let mut flags = settings::builder();
        // The instruction scheduling of `speed` undoes the register tile of the dots; `none` keeps the order that is written.
        flags.set("opt_level", "none")?;
        // Every symbol is in the program itself and addressed relative to the instruction, so the code is independent of its place all
        // the same; `true` would send constant tables through a global offset table that code in memory does not have.
        flags.set("is_pic", "false")?;
        flags.set("use_colocated_libcalls", "false")?;
        // Large frames touch their pages in line: a call would name a symbol that nobody defines.
        flags.set("enable_probestack", "true")?;
        flags.set("probestack_strategy", "inline")?;
        flags.set("unwind_info", "false")?;
        let verify = if cfg!(debug_assertions) {
            "true"
        } else {
            "false"
        };
        flags.set("enable_verifier", verify)?;
        let mut isa = isa::lookup(triple).map_err(CodegenError::Target)?;
        match (self.family(), level) {
            (Family::X86_64, Level::Fma | Level::V3 | Level::V4 | Level::V4Bf16 | Level::Amx) => {
                for f in [
                    "has_sse3",
                    "has_ssse3",
                    "has_sse41",
                    "has_sse42",
                    "has_avx",
                    "has_avx2",
                    "has_fma",
                ] {
                    isa.enable(f)?;
                }
            }
            (Family::X86_64, Level::Base) | (Family::Aarch64, _) => {}
        }
        Ok(isa.finish(settings::Flags::new(flags))?)
    }
}
