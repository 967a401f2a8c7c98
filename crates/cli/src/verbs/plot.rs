// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc plot`: draw the pattern of visible keys.

use std::path::PathBuf;

use crate::context::Context;
use crate::failure::Failure;

/// Draw the pattern of visible keys.
#[derive(Debug, clap::Args)]
pub(crate) struct PlotArgs {
    /// The `.attn` file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Does what the verb says.
pub(crate) fn run(_args: &PlotArgs, _context: &Context) -> Result<(), Failure> {
    Err(Failure::NotBuiltYet("attnc plot".to_owned()))
}
