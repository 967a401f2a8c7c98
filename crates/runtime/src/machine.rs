// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What this machine's processor has.
//!
//! In: nothing but the machine. Out: what a target needs and the machine lacks, in words. The system's share counts too: registers that
//! it does not save are not there.

/// A target of the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cpu {
    /// Any 64-bit Intel or AMD processor.
    X86_64,
    /// AVX2 and FMA.
    X86_64V3,
    /// AVX-512.
    X86_64V4,
    /// AVX-512 and AMX for bf16.
    X86_64Amx,
    /// 64-bit ARM.
    Aarch64,
}

/// What `target` needs and this machine lacks; nothing where it runs.
pub fn missing(target: Cpu) -> Vec<String> {
    let family = match target {
        Cpu::X86_64 | Cpu::X86_64V3 | Cpu::X86_64V4 | Cpu::X86_64Amx => "x86_64",
        Cpu::Aarch64 => "aarch64",
    };
    if std::env::consts::ARCH != family {
        return vec![format!(
            "a processor of the family {family} (this is {})",
            std::env::consts::ARCH
        )];
    }
    let lacks = |known: Vec<(&str, bool)>| -> Vec<String> {
        let lacking = known.into_iter().filter(|(_, has)| !has);
        lacking.map(|(name, _)| name.to_string()).collect()
    };
    match target {
        Cpu::X86_64 | Cpu::Aarch64 => Vec::new(),
        Cpu::X86_64V3 => lacks(v3()),
        Cpu::X86_64V4 => lacks([v3(), v4()].concat()),
        Cpu::X86_64Amx => lacks([v3(), v4(), amx()].concat()),
    }
}

/// Whether `x86_64` takes its FMA body here.
pub fn fma() -> bool {
    v3().iter().all(|(_, has)| *has)
}

#[cfg(target_arch = "x86_64")]
fn v3() -> Vec<(&'static str, bool)> {
    vec![
        ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
        ("FMA", std::arch::is_x86_feature_detected!("fma")),
    ]
}

#[cfg(target_arch = "x86_64")]
fn v4() -> Vec<(&'static str, bool)> {
    vec![
        ("AVX512F", std::arch::is_x86_feature_detected!("avx512f")),
        ("AVX512BW", std::arch::is_x86_feature_detected!("avx512bw")),
        ("AVX512DQ", std::arch::is_x86_feature_detected!("avx512dq")),
        ("AVX512VL", std::arch::is_x86_feature_detected!("avx512vl")),
    ]
}

#[cfg(target_arch = "x86_64")]
fn amx() -> Vec<(&'static str, bool)> {
    let cpuid = raw_cpuid::CpuId::new();
    let features = cpuid.get_extended_feature_info();
    let has = |f: fn(&raw_cpuid::ExtendedFeatures) -> bool| features.as_ref().is_some_and(f);
    vec![
        ("AMX-TILE", has(raw_cpuid::ExtendedFeatures::has_amx_tile)),
        ("AMX-BF16", has(raw_cpuid::ExtendedFeatures::has_amx_bf16)),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn v3() -> Vec<(&'static str, bool)> {
    vec![("AVX2", false), ("FMA", false)]
}

#[cfg(not(target_arch = "x86_64"))]
fn v4() -> Vec<(&'static str, bool)> {
    vec![("AVX512F", false)]
}

#[cfg(not(target_arch = "x86_64"))]
fn amx() -> Vec<(&'static str, bool)> {
    vec![("AMX-BF16", false)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_family_runs_and_higher_targets_need_more() {
        let runs = [Cpu::X86_64, Cpu::Aarch64].map(|c| missing(c).is_empty());
        assert!(!(runs[0] && runs[1]));
        let chain = [Cpu::X86_64, Cpu::X86_64V3, Cpu::X86_64V4, Cpu::X86_64Amx];
        let lack = chain.map(|c| missing(c).len());
        assert!(lack.is_sorted(), "{lack:?}");
    }
}
