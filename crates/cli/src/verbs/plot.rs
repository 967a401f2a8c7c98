// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc plot`: draw the pattern of visible keys.

use std::path::PathBuf;

use crate::context::Context;
use crate::count::{count, positive};
use crate::draw::pattern::PatternDrawing;
use crate::draw::{Form, render};
use crate::failure::Failure;
use crate::output;

/// Draw the pattern of visible keys.
#[derive(Debug, clap::Args)]
pub(crate) struct PlotArgs {
    /// The `.attn` file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Sequence length, at most 1M; from 281 on squares of the picture stand for several pairs.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) seq_len: u64,
    /// The query head, from 0.
    #[arg(long, value_name = "H", value_parser = count, default_value = "0")]
    pub(crate) head: u64,
    /// Where to write it (default: SVG on standard output).
    #[arg(short, long, value_name = "OUT.svg|png")]
    pub(crate) output: Option<PathBuf>,
}

/// Draws the picture.
pub(crate) fn run(args: &PlotArgs, context: &Context) -> Result<(), Failure> {
    let form = args.output.as_deref().map_or(Ok(Form::Svg), Form::of)?;
    let op = context.operator(&args.file)?;
    // Heads beyond 32 bits are as missing as any other that there is not.
    let head = u32::try_from(args.head).unwrap_or(u32::MAX);
    let picture = render(&PatternDrawing::new(&op, head, args.seq_len)?, form)?;
    match &args.output {
        Some(path) => output::write(path, &picture),
        None => context.print(&String::from_utf8_lossy(&picture)),
    }
}
