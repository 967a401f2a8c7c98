// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc lsp`: speak the language server protocol on standard input and output.

use std::path::PathBuf;

use crate::context::Context;
use crate::failure::Failure;

/// Speak the language server protocol on standard input and output.
#[derive(Debug, clap::Args)]
pub(crate) struct LspArgs {
    /// A file to begin with; editors name theirs over the protocol.
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Does what the verb says.
pub(crate) fn run(_args: &LspArgs, _context: &Context) -> Result<(), Failure> {
    Err(Failure::NotBuiltYet("attnc lsp".to_owned()))
}
