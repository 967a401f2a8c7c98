// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc build`: compile ahead of time.

use std::path::PathBuf;

use crate::args::TargetName;
use crate::context::Context;
use crate::failure::Failure;

/// Compile ahead of time.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// The `.attn` file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Targets (repeatable; default: native).
    #[arg(long, value_enum, value_name = "T")]
    pub(crate) target: Vec<TargetName>,
    /// Folder for objects, headers and manifests.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// All operators in one object and one header of that name.
    #[arg(long, value_name = "NAME")]
    pub(crate) bundle: Option<String>,
}

/// Does what the verb says.
pub(crate) fn run(_args: &BuildArgs, _context: &Context) -> Result<(), Failure> {
    Err(Failure::NotBuiltYet("attnc build".to_owned()))
}
