// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc cost`: predict products, bytes and time.

use std::path::PathBuf;

use crate::context::Context;
use crate::failure::Failure;

/// Predict products, bytes and time.
#[derive(Debug, clap::Args)]
pub(crate) struct CostArgs {
    /// The `.attn` file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Does what the verb says.
pub(crate) fn run(_args: &CostArgs, _context: &Context) -> Result<(), Failure> {
    Err(Failure::NotBuiltYet("attnc cost".to_owned()))
}
