// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which machine to compile for, where the code is to run in this process.
//!
//! In: a name, or the machine itself. Out: a [`Target`] that this machine runs.

use std::fmt;

use attnc_codegen_cpu::CpuTarget;
use attnc_runtime::machine::{Cpu, Machine};

/// A target that this machine runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    cpu: CpuTarget,
}

/// Why code for a target cannot run here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No target of a CPU has this name.
    #[error("there is no CPU target `{name}`; there are {}", known.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// The machine lacks something.
    #[error("this machine does not run {name}: it lacks {missing}{}", instead(.here))]
    Lacking {
        /// What was asked for.
        name: &'static str,
        /// What it needs and this machine has not.
        missing: String,
        /// What runs here.
        here: Option<&'static str>,
    },
    /// No code can be made for this machine.
    #[error(
        "no machine code is made for {0} processors; interpret the operator instead (Backend::InterpTile)"
    )]
    Machine(&'static str),
}

fn instead(here: &Option<&'static str>) -> String {
    here.map_or(String::new(), |here| format!("; {here} runs here"))
}

impl Target {
    /// The best target that this build has and this machine runs.
    ///
    /// # Errors
    /// [`TargetError::Machine`] on processors that no code is made for.
    pub fn native() -> Result<Target, TargetError> {
        let here = CpuTarget::here().ok_or(TargetError::Machine(std::env::consts::ARCH))?;
        Ok(Target { cpu: here })
    }

    /// The CPU target of this name, such as `x86_64`.
    ///
    /// ```
    /// use attnc::{Target, TargetError};
    /// assert!(matches!(Target::named("z80"), Err(TargetError::Unknown { .. })));
    /// ```
    ///
    /// # Errors
    /// A name that is none, and what the machine lacks.
    pub fn named(name: &str) -> Result<Target, TargetError> {
        let cpu = CpuTarget::of_name(name).ok_or_else(|| TargetError::Unknown {
            name: name.to_owned(),
            known: CpuTarget::ALL.iter().map(|t| t.name()).collect(),
        })?;
        let needs = match cpu {
            CpuTarget::X86_64 => Cpu::X86_64,
            CpuTarget::X86_64V3 => Cpu::X86_64V3,
            CpuTarget::X86_64V4 => Cpu::X86_64V4,
            CpuTarget::X86_64Amx => Cpu::X86_64Amx,
            CpuTarget::Aarch64 => Cpu::Aarch64,
        };
        let missing = Machine::here().missing(needs);
        if !missing.is_empty() {
            return Err(TargetError::Lacking {
                name: cpu.name(),
                missing: missing.join(", "),
                here: CpuTarget::here().map(CpuTarget::name),
            });
        }
        Ok(Target { cpu })
    }

    /// Its name, as in `attnc targets`.
    pub fn name(&self) -> &'static str {
        self.cpu.name()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
