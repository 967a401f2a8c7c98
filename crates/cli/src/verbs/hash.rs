// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc hash`: print the content hash.

use std::path::PathBuf;

use crate::context::Context;
use crate::failure::Failure;

/// Print the content hash.
#[derive(Debug, clap::Args)]
pub(crate) struct HashArgs {
    /// The `.attn` file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Does what the verb says.
pub(crate) fn run(_args: &HashArgs, _context: &Context) -> Result<(), Failure> {
    Err(Failure::NotBuiltYet("attnc hash".to_owned()))
}
