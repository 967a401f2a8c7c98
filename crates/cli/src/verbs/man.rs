// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc man`: manual pages, one for the command and one for each verb.

use std::fs;
use std::path::PathBuf;

use clap::CommandFactory;

use crate::args::Cli;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;

/// Write manual pages.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Folder for `attnc.1` and `attnc-VERB.1`; it is made if it is missing.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

/// Writes the pages.
pub(crate) fn run(args: &ManArgs, _context: &Context) -> Result<(), Failure> {
    let fail = |source| Failure::Write {
        path: args.output.clone(),
        source,
    };
    fs::create_dir_all(&args.output).map_err(fail)?;
    let mut command = Cli::command().disable_help_subcommand(true);
    // Gives every verb the common options and its full name.
    command.build();
    pages(&command, "attnc", &args.output)
}

fn pages(command: &clap::Command, name: &str, folder: &std::path::Path) -> Result<(), Failure> {
    let page = clap_mangen::Man::new(command.clone())
        .title(name.to_uppercase())
        .source(format!("attnc {}", env!("CARGO_PKG_VERSION")))
        .manual("attnc");
    let mut bytes = Vec::new();
    let path = folder.join(format!("{name}.1"));
    page.render(&mut bytes).map_err(|source| Failure::Write {
        path: path.clone(),
        source,
    })?;
    output::write(&path, &bytes)?;
    for verb in command.get_subcommands() {
        pages(verb, &format!("{name}-{}", verb.get_name()), folder)?;
    }
    Ok(())
}
