// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc targets`: the targets this build knows, which this machine can run, and why not the others.

use comfy_table::{Table, presets};

use attnc::machine::{Cpu, Machine};

use crate::args::TargetName;
use crate::choices::native;
use crate::context::Context;
use crate::failure::Failure;

/// List the targets.
#[derive(Debug, clap::Args)]
pub(crate) struct TargetsArgs {}

struct Row {
    target: TargetName,
    about: &'static str,
    built: bool,
}

/// Every target with what it is and whether this build makes code for it.
const TARGETS: &[Row] = &[
    Row {
        target: TargetName::X86_64,
        about: "128-bit kernels, with FMA where the machine has it",
        built: true,
    },
    Row {
        target: TargetName::X86_64V3,
        about: "256-bit kernels: AVX2, FMA, F16C",
        built: true,
    },
    Row {
        target: TargetName::X86_64V4,
        about: "512-bit kernels: AVX-512",
        built: true,
    },
    Row {
        target: TargetName::X86_64Amx,
        about: "512-bit kernels, and AMX for bf16",
        built: true,
    },
    Row {
        target: TargetName::Aarch64,
        about: "128-bit kernels",
        built: true,
    },
    Row {
        target: TargetName::Sm80,
        about: "PTX for Ampere and everything newer",
        built: false,
    },
    Row {
        target: TargetName::Sm86,
        about: "the schedule of sm_80 within the limits of sm_86",
        built: false,
    },
    Row {
        target: TargetName::Sm89,
        about: "the schedule of sm_80 within the limits of sm_89",
        built: false,
    },
    Row {
        target: TargetName::Sm90,
        about: "the schedule of sm_80 within the limits of sm_90",
        built: false,
    },
    Row {
        target: TargetName::Sm100,
        about: "the schedule of sm_80 within the limits of sm_100",
        built: false,
    },
    Row {
        target: TargetName::Sm120,
        about: "the schedule of sm_80 within the limits of sm_120",
        built: false,
    },
    Row {
        target: TargetName::Sm90a,
        about: "PTX for Hopper with wgmma",
        built: false,
    },
];

/// Prints the table.
pub(crate) fn run(_args: &TargetsArgs, context: &Context) -> Result<(), Failure> {
    let mut table = Table::new();
    table
        .force_no_tty()
        .load_style(presets::NOTHING)
        .set_header(["target", "what it is", "here"]);
    let machine = Machine::here();
    for row in TARGETS {
        table.add_row([row.target.name(), row.about, &runs(row, &machine)]);
    }
    let text: String = table
        .lines()
        .map(|line| line.trim().to_owned() + "\n")
        .collect();
    context.print(&text)
}

/// Whether a machine runs a target, and why not.
fn runs(row: &Row, machine: &Machine) -> String {
    let cpu = match row.target {
        TargetName::X86_64 => Some(Cpu::X86_64),
        TargetName::X86_64V3 => Some(Cpu::X86_64V3),
        TargetName::X86_64V4 => Some(Cpu::X86_64V4),
        TargetName::X86_64Amx => Some(Cpu::X86_64Amx),
        TargetName::Aarch64 => Some(Cpu::Aarch64),
        TargetName::Native
        | TargetName::Sm80
        | TargetName::Sm86
        | TargetName::Sm89
        | TargetName::Sm90
        | TargetName::Sm90a
        | TargetName::Sm100
        | TargetName::Sm120 => None,
    };
    let missing = cpu.map(|c| machine.missing(c)).unwrap_or_default();
    let lacks = format!("this machine lacks {}", missing.join(", "));
    match (row.built, missing.is_empty()) {
        (true, true) => {
            let body = match (row.target, machine.fma()) {
                (TargetName::X86_64, true) => " with FMA",
                (TargetName::X86_64, false) => " without FMA",
                _ => "",
            };
            let native = if row.target == native() {
                "; native"
            } else {
                ""
            };
            format!("runs{body}{native}")
        }
        (true, false) => lacks,
        (false, true) => "not built yet".to_owned(),
        (false, false) => format!("not built yet; {lacks}"),
    }
}
