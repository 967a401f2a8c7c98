// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc explain`: show the rewrites that were applied, as a checked proof.

use std::path::PathBuf;

use crate::args::CompileArgs;
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

/// Does what the verb says.
pub(crate) fn run(_args: &ExplainArgs, _context: &Context) -> Result<(), Failure> {
    Err(Failure::NotBuiltYet("attnc explain".to_owned()))
}
