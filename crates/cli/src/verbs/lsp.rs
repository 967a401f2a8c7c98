// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc lsp`: speak the language server protocol on standard input and output.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use attnc::files::DiskLoader;
use attnc_lsp::{End, serve};

use crate::context::Context;
use crate::failure::Failure;

/// Speak the language server protocol on standard input and output.
#[derive(Debug, clap::Args)]
pub(crate) struct LspArgs {
    /// Taken for clients that name the transport; there is no other.
    #[arg(long)]
    pub(crate) stdio: bool,
}

/// Serves one editor until it says `exit`.
///
/// # Errors
/// [`Failure::Hangup`] if the editor leaves without `shutdown`, [`Failure::Stdout`] if the streams fail.
pub(crate) fn run(_args: &LspArgs, _context: &Context) -> Result<(), Failure> {
    let canonical = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    match serve(&mut input, &mut output, &mut DiskLoader, &canonical) {
        Ok(End::Clean) => Ok(()),
        Ok(End::Abrupt) => Err(Failure::Hangup),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::ClosedPipe),
        Err(error) => Err(Failure::Stdout(error)),
    }
}
