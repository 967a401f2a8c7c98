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
pub(crate) fn run(args: &CheckArgs, context: &Context) -> Result<(), Failure> {
    let resolution = context.resolve(&args.files)?;
    if let Some(name) = &context.options.name
        && !resolution.operators().any(|op| op.name == *name)
    {
        return Err(Failure::Attention(attnc::AttentionError::UnknownName {
            name: name.clone(),
            file: args
                .files
                .iter()
                .map(|f| f.display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
            known: resolution.operators().map(|op| op.name.clone()).collect(),
        }));
    }
    Ok(())
}
