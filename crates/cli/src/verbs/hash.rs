// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc hash`: print the content hash.

use std::path::PathBuf;

use crate::context::Context;
use crate::failure::Failure;

/// Print the content hash.
///
/// The SHA-256 of the operator in canonical form, as 64 hexadecimal digits. Layout, comments, local names and spelled-out defaults do
/// not change it; everything that the operator means does, its name included. Objects, headers and manifests of `attnc build` hold it.
#[derive(Debug, clap::Args)]
pub(crate) struct HashArgs {
    /// The `.attn` file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Prints the hash.
pub(crate) fn run(args: &HashArgs, context: &Context) -> Result<(), Failure> {
    let operator = context.operator(&args.file)?;
    context.print(&format!("{}\n", operator.content_hash()))
}
