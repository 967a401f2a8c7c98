// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc emit`: print one stage of the compiler.

use std::path::PathBuf;

use crate::args::CompileArgs;
use crate::context::Context;
use crate::failure::Failure;

/// Print one stage of the compiler.
#[derive(Debug, clap::Args)]
pub(crate) struct EmitArgs {
    /// The `.attn` file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The stage to print.
    #[arg(long, value_enum)]
    pub(crate) stage: Stage,
    /// Where to write it (default: standard output).
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
    /// The form, where a stage has several.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) compile: CompileArgs,
    /// Write PTX, launch file and data to a folder, for replay (stage ptx).
    #[arg(long, value_name = "DIR")]
    pub(crate) launch: Option<PathBuf>,
}

/// The stages, in the order of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Stage {
    /// The syntax tree.
    Ast,
    /// The checked operator.
    Spec,
    /// The operator graph as written.
    Graph,
    /// The graph after rewriting.
    Fused,
    /// The tile program.
    Tile,
    /// Cranelift's intermediate form.
    Clif,
    /// The machine code, disassembled.
    Asm,
    /// PTX.
    Ptx,
}

impl Stage {
    /// The name as written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Stage::Ast => "ast",
            Stage::Spec => "spec",
            Stage::Graph => "graph",
            Stage::Fused => "fused",
            Stage::Tile => "tile",
            Stage::Clif => "clif",
            Stage::Asm => "asm",
            Stage::Ptx => "ptx",
        }
    }
}

/// The forms of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// To read, and to parse again.
    Text,
    /// For tools.
    Json,
    /// For Graphviz.
    Dot,
}

/// Prints the stage.
pub(crate) fn run(args: &EmitArgs, _context: &Context) -> Result<(), Failure> {
    Err(Failure::NotBuiltYet(format!(
        "attnc emit --stage {}",
        args.stage.name()
    )))
}
