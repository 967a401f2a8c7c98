// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc man`: manual pages, one for the command and one for each verb.

use std::io;
use std::path::PathBuf;

use attnc::writing;
use clap::CommandFactory;

use crate::args::Cli;
use crate::context::Context;
use crate::failure::Failure;

/// Write manual pages.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Folder for `attnc.1` and `attnc-VERB.1`; it is made if it is missing.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

/// Writes the pages, all of them or none.
pub(crate) fn run(args: &ManArgs, _context: &Context) -> Result<(), Failure> {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Gives every verb the common options and its full name.
    command.build();
    let mut files = Vec::new();
    pages(&command, "attnc", &mut files).map_err(Failure::Stdout)?;
    writing::make_folder(&args.output)?;
    Ok(writing::write_all(files.iter().map(|(name, bytes)| {
        (args.output.join(name), &bytes[..])
    }))?)
}

fn pages(
    command: &clap::Command,
    name: &str,
    files: &mut Vec<(String, Vec<u8>)>,
) -> io::Result<()> {
    let page = clap_mangen::Man::new(command.clone())
        .title(name.to_uppercase())
        .source(format!("attnc {}", env!("CARGO_PKG_VERSION")))
        .manual("attnc");
    let mut bytes = Vec::new();
    page.render(&mut bytes)?;
    files.push((format!("{name}.1"), bytes));
    for verb in command.get_subcommands() {
        pages(verb, &format!("{name}-{}", verb.get_name()), files)?;
    }
    Ok(())
}
