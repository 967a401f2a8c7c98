// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc explain`: show the rewrites that were applied, as a checked proof.

use std::fmt::Write;
use std::path::PathBuf;

use attnc::pipeline;

use crate::args::CompileArgs;
use crate::choices::choices;
use crate::context::Context;
use crate::failure::Failure;

/// Show the rewrites that were applied, as a checked proof.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The `.attn` file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) compile: CompileArgs,
}

/// Prints the unfused graph, the steps of egg's checked proof, the fused graph, and what it saves.
pub(crate) fn run(args: &ExplainArgs, context: &Context) -> Result<(), Failure> {
    let mut choices = choices(&args.compile)?;
    choices.proof = true;
    let operator = context.operator(&args.file)?;
    let graph = pipeline::graph(&operator)?;
    let fused = pipeline::fuse(&graph, &choices)?;
    let mut text = attnc_graph::print(&graph);
    text.push_str("\nproof, checked by egg:\n");
    for (i, term) in fused.proof.iter().enumerate() {
        let _ = writeln!(text, "{i:4}  {term}");
    }
    text.push('\n');
    text.push_str(&attnc_graph::print(&fused.graph));
    let (before, after) = (fused.cost_before, fused.cost_after);
    let saved = i128::from(before) - i128::from(after);
    let _ = writeln!(
        text,
        "\ncost {before} -> {after} (estimated products a head at N = 32768), saved {saved}"
    );
    context.print(&text)
}
