// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc check`: parse and check; print diagnostics.

use std::path::PathBuf;

use crate::context::Context;
use crate::failure::Failure;

/// Parse and check; print diagnostics.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The `.attn` files; `-` for standard input.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// Checks the files together: each mistake is printed once, also of files that several of them use.
pub(crate) fn run(_args: &CheckArgs, _context: &Context) -> Result<(), Failure> {
    Err(Failure::NotBuiltYet("attnc check".to_owned()))
}
