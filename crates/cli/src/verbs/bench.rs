// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc bench`: measure over sequence lengths.

use std::path::PathBuf;

use crate::context::Context;
use crate::failure::Failure;

/// Measure over sequence lengths.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// The `.attn` file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Does what the verb says.
pub(crate) fn run(_args: &BenchArgs, _context: &Context) -> Result<(), Failure> {
    Err(Failure::NotBuiltYet("attnc bench".to_owned()))
}
