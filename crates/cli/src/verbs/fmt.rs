// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc fmt`: format in place, or tell what would change.

use std::path::PathBuf;

use crate::context::Context;
use crate::failure::Failure;

/// Format in place.
#[derive(Debug, clap::Args)]
pub(crate) struct FmtArgs {
    /// Change nothing; print a diff and exit 1 if a file is not formatted.
    #[arg(long)]
    pub(crate) check: bool,
    /// The `.attn` files; `-` formats standard input to standard output.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// Formats the files.
pub(crate) fn run(_args: &FmtArgs, _context: &Context) -> Result<(), Failure> {
    Err(Failure::NotBuiltYet("attnc fmt".to_owned()))
}
