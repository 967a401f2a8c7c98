// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc tune`: search schedules by measurement.

use std::path::PathBuf;

use crate::args::TargetName;
use crate::context::Context;
use crate::failure::Failure;

/// Search schedules by measurement.
#[derive(Debug, clap::Args)]
pub(crate) struct TuneArgs {
    /// The `.attn` file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Target to tune for.
    #[arg(long, value_enum, value_name = "T")]
    pub(crate) target: TargetName,
}

/// Does what the verb says.
pub(crate) fn run(_args: &TuneArgs, _context: &Context) -> Result<(), Failure> {
    Err(Failure::NotBuiltYet("attnc tune".to_owned()))
}
