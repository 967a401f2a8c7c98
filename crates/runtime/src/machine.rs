// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a machine's processor has.
//!
//! In: nothing but the machine, or one made up. Out: what a target needs and the machine lacks, in words. The system's share counts too: registers that
//! it does not save are not there.

use attnc_codegen_cpu::{Features, Level};

/// A target of the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cpu {
    /// Any 64-bit Intel or AMD processor.
    X86_64,
    /// AVX2, FMA and F16C.
    X86_64V3,
    /// AVX-512.
    X86_64V4,
    /// AVX-512 and AMX for bf16.
    X86_64Amx,
    /// 64-bit ARM.
    Aarch64,
}

impl Cpu {
    /// The family it belongs to, as the standard library spells it.
    pub fn family(self) -> &'static str {
        match self {
            Cpu::X86_64 | Cpu::X86_64V3 | Cpu::X86_64V4 | Cpu::X86_64Amx => "x86_64",
            Cpu::Aarch64 => "aarch64",
        }
    }

    /// What it takes beyond the family's baseline.
    pub fn needs(self) -> Features {
        match self {
            Cpu::X86_64 | Cpu::Aarch64 => Features::NONE,
            Cpu::X86_64V3 => Level::V3.needs(),
            Cpu::X86_64V4 => Level::V4.needs(),
            Cpu::X86_64Amx => Level::Amx.needs(),
        }
    }
}

/// A machine: this one, or one made up for a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The processor's family, as the standard library spells it.
    pub family: &'static str,
    /// What it has beyond the family's baseline.
    pub features: Features,
}

impl Machine {
    /// The machine this runs on.
    pub fn here() -> Machine {
        Machine {
            family: std::env::consts::ARCH,
            features: Features::here(),
        }
    }

    /// What `target` needs and this machine lacks, in words; nothing where it runs.
    pub fn missing(&self, target: Cpu) -> Vec<String> {
        if self.family != target.family() {
            let (family, here) = (target.family(), self.family);
            return vec![format!(
                "a processor of the family {family} (this is {here})"
            )];
        }
        let lacks = self.features.lacks(target.needs());
        lacks.into_iter().map(|f| f.name().to_string()).collect()
    }

    /// Whether `x86_64` takes its FMA body here.
    pub fn fma(&self) -> bool {
        self.features.has(Level::Fma.needs())
    }
}

/// The processor's own name where the system tells it, else its family.
pub fn cpu_model() -> String {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    named(&told).unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The name in the text of `/proc/cpuinfo`: in words, or by the numbers that ARM gives.
fn named(cpuinfo: &str) -> Option<String> {
    let of = |key: &str| {
        let mut lines = cpuinfo.lines().filter_map(|l| l.split_once(':'));
        let found = lines.find(|(k, _)| k.trim() == key);
        found.map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let numbers = || {
        Some(format!(
            "ARM {} part {}",
            of("CPU implementer")?,
            of("CPU part")?
        ))
    };
    of("model name")
        .filter(|name| !name.is_empty())
        .or_else(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use attnc_codegen_cpu::Feature;

    const ALL: [Cpu; 5] = [
        Cpu::X86_64,
        Cpu::X86_64V3,
        Cpu::X86_64V4,
        Cpu::X86_64Amx,
        Cpu::Aarch64,
    ];

    /// Machines of every kind: what each lacks for every target of [`ALL`].
    #[test]
    fn every_machine_says_what_it_lacks() {
        let with = |target: Cpu, but: &[Feature]| Machine {
            family: target.family(),
            features: Features::of(
                &target
                    .needs()
                    .iter()
                    .filter(|f| !but.contains(f))
                    .collect::<Vec<_>>(),
            ),
        };
        let arm = "a processor of the family aarch64 (this is x86_64)";
        let intel = "a processor of the family x86_64 (this is aarch64)";
        let v3 = "FMA, AVX2, F16C";
        let v4 = "AVX512F, AVX512BW, AVX512DQ, AVX512VL";
        let amx = "AVX512VBMI, AVX512BF16, AMX-TILE, AMX-BF16";
        let (v3v4, all) = (format!("{v3}, {v4}"), format!("{v3}, {v4}, {amx}"));
        let v4amx = format!("{v4}, {amx}");
        for (machine, lacks) in [
            (with(Cpu::X86_64, &[]), ["", v3, &v3v4, &all, arm]),
            (with(Cpu::X86_64V3, &[]), ["", "", v4, &v4amx, arm]),
            (with(Cpu::X86_64V4, &[]), ["", "", "", amx, arm]),
            (with(Cpu::X86_64Amx, &[]), ["", "", "", "", arm]),
            (with(Cpu::Aarch64, &[]), [intel, intel, intel, intel, ""]),
            (
                with(Cpu::X86_64Amx, &[Feature::Fma, Feature::AmxBf16]),
                ["", "FMA", "FMA", "FMA, AMX-BF16", arm],
            ),
        ] {
            let found = ALL.map(|t| machine.missing(t).join(", "));
            assert_eq!(found, lacks, "{machine:?}");
        }
    }

    #[test]
    fn exactly_one_family_runs_here() {
        let runs = [Cpu::X86_64, Cpu::Aarch64].map(|c| Machine::here().missing(c).is_empty());
        assert!(!(runs[0] && runs[1]));
    }

    #[test]
    fn a_processor_has_a_name() {
        let intel = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Intel(R)  Xeon(R) CPU\n";
        assert_eq!(named(intel).as_deref(), Some("Intel(R) Xeon(R) CPU"));
        let arm = "processor : 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n";
        assert_eq!(named(arm).as_deref(), Some("ARM 0x41 part 0xd40"));
        assert_eq!(named("processor : 0"), None);
        assert!(!cpu_model().is_empty());
    }
}
