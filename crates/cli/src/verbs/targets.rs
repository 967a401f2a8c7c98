// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc targets`: the targets this build knows, which this machine can run, and why not the others.

use comfy_table::{Table, presets};

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
        about: "AVX2 and FMA",
        built: false,
    },
    Row {
        target: TargetName::X86_64V4,
        about: "AVX-512",
        built: false,
    },
    Row {
        target: TargetName::X86_64Amx,
        about: "AVX-512 and AMX-BF16",
        built: false,
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
    for row in TARGETS {
        let here = match (row.built, row.target == native()) {
            (true, true) => "runs",
            (true, false) => "another processor than this machine's",
            (false, _) => "not built yet",
        };
        table.add_row([row.target.name(), row.about, here]);
    }
    let text: String = table
        .lines()
        .map(|line| line.trim().to_owned() + "\n")
        .collect();
    context.print(&text)
}
