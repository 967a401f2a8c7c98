// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The processors that code is made for, and the levels of one processor that one program serves.
//!
//! In: a target's name. Out: Cranelift's code generators for it, one a level. Nothing here asks the machine this runs on, except
//! [`CpuTarget::here`] and [`Level::here`].

use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use target_lexicon::Triple;

use crate::features::{Feature, Features};
use crate::program::CodegenError;

/// A processor family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CpuTarget {
    /// 64-bit Intel and AMD.
    X86_64,
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
}

impl Level {
    /// Every level, lowest first.
    pub const ALL: [Level; 2] = [Level::Base, Level::Fma];

    /// The word in names of functions.
    pub fn name(self) -> &'static str {
        match self {
            Level::Base => "base",
            Level::Fma => "fma",
        }
    }

    /// What it takes beyond the family's baseline.
    pub fn needs(self) -> Features {
        match self {
            Level::Base => Features::NONE,
            Level::Fma => Features::of(&[Feature::Fma, Feature::Avx2]),
        }
    }

    /// Whether this machine has it, as one of its family.
    pub fn here(self) -> bool {
        Features::here().has(self.needs())
    }

    /// The number that the plan keeps.
    pub fn number(self) -> i64 {
        match self {
            Level::Base => 0,
            Level::Fma => 1,
        }
    }
}

impl CpuTarget {
    /// Every family.
    pub const ALL: [CpuTarget; 2] = [CpuTarget::X86_64, CpuTarget::Aarch64];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            CpuTarget::X86_64 => "x86_64",
            CpuTarget::Aarch64 => "aarch64",
        }
    }

    /// The family of a name.
    pub fn of_name(name: &str) -> Option<CpuTarget> {
        CpuTarget::ALL.into_iter().find(|t| t.name() == name)
    }

    /// The family of the machine this runs on.
    pub fn here() -> Option<CpuTarget> {
        CpuTarget::of_name(std::env::consts::ARCH)
    }

    /// The levels that one program of this family holds, lowest first.
    pub fn levels(self) -> &'static [Level] {
        match self {
            CpuTarget::X86_64 => &[Level::Base, Level::Fma],
            CpuTarget::Aarch64 => &[Level::Base],
        }
    }

    /// Whether a level multiplies and adds in one instruction.
    pub(crate) fn fused(self, level: Level) -> bool {
        match self {
            CpuTarget::X86_64 => level == Level::Fma,
            CpuTarget::Aarch64 => true,
        }
    }

    /// The triple of object files: Linux, whatever this runs on.
    pub(crate) fn linux(self) -> Triple {
        let mut t = Triple::unknown();
        t.architecture = match self {
            CpuTarget::X86_64 => target_lexicon::Architecture::X86_64,
            CpuTarget::Aarch64 => {
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
        match (self, level) {
            (CpuTarget::X86_64, Level::Fma) => {
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
            (CpuTarget::X86_64, Level::Base) | (CpuTarget::Aarch64, _) => {}
        }
        Ok(isa.finish(settings::Flags::new(flags))?)
    }
}
