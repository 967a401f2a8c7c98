// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `ptx-emu` command. In: arguments and files. Out: diagnostics on standard error,
//! counters on standard output, exit code 0 (passed), 1 (fault, race, failed check),
//! 2 (usage, malformed input).

use attnc_ptx::emu::Options;
use attnc_ptx_emu::{Problem, execute, json, read};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs a PTX kernel from a launch file (`ptx-launch-1`) on an emulator.
#[derive(Parser)]
#[command(name = "ptx-emu", version)]
struct Args {
    /// The launch file.
    launch: PathBuf,
    /// Compare buffers with what the launch file expects.
    #[arg(long)]
    check: bool,
    /// Report accesses that the PTX memory model leaves unordered.
    #[arg(long)]
    races: bool,
    /// Print counters as one JSON object.
    #[arg(long)]
    counters: bool,
    /// The order in which blocks, warps and asynchronous completions take turns.
    #[arg(long, default_value_t = 0, value_name = "S")]
    seed: u64,
}

fn main() -> ExitCode {
    // clap exits with 2 on wrong usage and with 0 on --help.
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(p) => {
            eprintln!("ptx-emu: {p}");
            ExitCode::from(match p {
                Problem::Input(_) => 2,
                Problem::Fault(_) | Problem::Check(..) => 1,
            })
        }
    }
}

fn run(args: &Args) -> Result<(), Problem> {
    let l = read(&args.launch)?;
    let text = std::fs::read_to_string(&l.ptx)
        .map_err(|e| Problem::Input(format!("{}: {e}", l.ptx.display())))?;
    let options = Options {
        races: args.races,
        counters: args.counters,
        seed: args.seed,
        ..Options::default()
    };
    let r = execute(&l, &text, &options, args.check);
    // A failed check leaves the counters as they are.
    if let (true, Ok(c)) = (args.counters, &r) {
        println!("{}", json(c));
    } else if let (true, Err(Problem::Check(_, c))) = (args.counters, &r) {
        println!("{}", json(c));
    }
    r.map(|_| ())
}
