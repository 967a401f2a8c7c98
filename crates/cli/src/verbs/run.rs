// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc run`: compile and run on real or generated tensors, verify against the oracle, report.

use std::path::PathBuf;
use std::str::FromStr;

use crate::args::{CompileArgs, TensorArgs};
use crate::context::Context;
use crate::count::{CountError, count, positive};
use crate::failure::Failure;

/// Compile and run on real or generated tensors.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The `.attn` file or the text of a `graph`, `fused` or `tile` stage; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) tensors: TensorArgs,
    #[command(flatten)]
    pub(crate) compile: CompileArgs,
    /// Run the backward pass too (needs `dout`, writes `dq dk dv`).
    #[arg(long)]
    pub(crate) grad: bool,
    /// Where to write `out` (in the operator's dtype) and `lse` (f32).
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) output: Option<PathBuf>,
    /// What runs the operator.
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    pub(crate) backend: Backend,
    /// Worker threads (default: all).
    #[arg(long, value_name = "T", value_parser = positive)]
    pub(crate) threads: Option<u64>,
    /// Timed repeats.
    #[arg(long, value_name = "R", value_parser = positive, default_value = "1")]
    pub(crate) repeat: u64,
    /// Compare with the oracle: all rows if that takes at most 2^30 products, else ROWS (256) seeded rows.
    #[arg(long, value_name = "all|ROWS", num_args = 0..=1, require_equals = true, default_missing_value = "256")]
    pub(crate) verify: Option<Verify>,
    /// Neither read nor write the kernel cache.
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// One JSON object on standard output instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What runs the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Backend {
    /// Machine code for the CPU.
    Cpu,
    /// The interpreter of the graph.
    InterpGraph,
    /// The interpreter of the tile program.
    #[value(alias = "interp")]
    InterpTile,
    /// The definition, in float64.
    Oracle,
    /// PTX in the emulator.
    PtxEmulator,
    /// PTX on a GPU.
    Cuda,
}

impl Backend {
    /// The name as written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Backend::Cpu => "cpu",
            Backend::InterpGraph => "interp-graph",
            Backend::InterpTile => "interp-tile",
            Backend::Oracle => "oracle",
            Backend::PtxEmulator => "ptx-emulator",
            Backend::Cuda => "cuda",
        }
    }
}

/// How many rows `--verify` compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verify {
    /// Every row, whatever it takes.
    All,
    /// Every row if that takes at most 2^30 products, else so many seeded rows.
    Rows(u64),
}

impl FromStr for Verify {
    type Err = CountError;
    fn from_str(text: &str) -> Result<Verify, CountError> {
        if text == "all" {
            Ok(Verify::All)
        } else {
            count(text).and_then(|n| {
                if n == 0 {
                    Err(CountError::Zero)
                } else {
                    Ok(Verify::Rows(n))
                }
            })
        }
    }
}

/// Does what the verb says.
pub(crate) fn run(args: &RunArgs, _context: &Context) -> Result<(), Failure> {
    Err(Failure::NotBuiltYet(format!(
        "attnc run --backend {}",
        args.backend.name()
    )))
}
