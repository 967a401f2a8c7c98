// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `ptx-emu` command: reads a launch file, runs it, compares, reports.
//! In: arguments and files. Out: diagnostics on standard error, counters on standard
//! output, exit code 0 (passed), 1 (fault, race, failed check), 2 (usage, malformed input).

mod compare;
mod data;
mod launch;

use attnc_ptx::ParseErrorKind;
use attnc_ptx::emu::{Counters, LaunchError, Memory, Options, Program};
use clap::Parser;
use launch::{Problem, Role};
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
                Problem::Fault(_) | Problem::Check(_) => 1,
            })
        }
    }
}

fn run(args: &Args) -> Result<(), Problem> {
    let l = launch::read(&args.launch)?;
    let file = l.ptx.display();
    let text =
        std::fs::read_to_string(&l.ptx).map_err(|e| Problem::Input(format!("{file}: {e}")))?;
    let module = attnc_ptx::parse(&text).map_err(|e| {
        let s = format!("{file}:{e}");
        match e.kind {
            ParseErrorKind::UnknownOpcode(_)
            | ParseErrorKind::UnknownModifier { .. }
            | ParseErrorKind::Combination(_) => {
                Problem::Fault(format!("{s}: this instruction is not supported"))
            }
            _ => Problem::Input(s),
        }
    })?;
    if module.arch() != l.target {
        return Err(Problem::Fault(format!(
            "the launch is for {}, the module for {}",
            l.target,
            module.arch()
        )));
    }
    if let Some(e) = attnc_ptx::verify(&module).into_iter().next() {
        return Err(Problem::Fault(format!("{file}:{e}")));
    }
    let mut memory = Memory::new();
    let program = Program::load(module, &mut memory);
    let mut at = Vec::new();
    for b in &l.buffers {
        let a = memory.alloc(b.bytes.len() as u64);
        memory
            .write(a, &b.bytes)
            .map_err(|e| Problem::Input(e.to_string()))?;
        at.push(a);
    }
    let fault = |e: LaunchError| Problem::Fault(format!("{file}: {e}"));
    let params = launch::params(&l, &program.params(&l.entry).map_err(fault)?, &at)?;
    let what = attnc_ptx::emu::Launch {
        entry: &l.entry,
        grid: l.grid,
        block: l.block,
        dynamic_shared: l.dynamic_shared,
        params: &params,
    };
    let options = Options {
        races: args.races,
        counters: args.counters,
        seed: args.seed,
        ..Options::default()
    };
    let counters = program.launch(&memory, &what, &options).map_err(fault)?;
    if args.counters {
        println!("{}", json(&counters));
    }
    if !args.check {
        return Ok(());
    }
    let mut bad = Vec::new();
    for (b, a) in l.buffers.iter().zip(at) {
        let got = memory
            .read(a, b.bytes.len() as u64)
            .map_err(|e| Problem::Input(e.to_string()))?;
        if b.role == Role::In && got != b.bytes {
            bad.push(format!(
                "buffer `{}` is `in`, but the kernel changed it",
                b.name
            ));
        }
        if let Some(e) = &b.expect
            && let Err(s) = compare::compare(&got, b.dtype, e)
        {
            bad.push(format!("buffer `{}`: {s}", b.name));
        }
    }
    if bad.is_empty() {
        Ok(())
    } else {
        Err(Problem::Check(bad.join("; ")))
    }
}

/// The counters with their fixed keys.
fn json(c: &Counters) -> serde_json::Value {
    let classes: serde_json::Map<String, serde_json::Value> = c
        .classes()
        .map(|(n, v)| (n.to_string(), v.into()))
        .collect();
    serde_json::json!({
        "warp_instructions": c.warp_instructions,
        "thread_instructions": c.thread_instructions,
        "instructions_by_class": classes,
        "shared_wavefronts": c.shared_wavefronts,
        "shared_wavefronts_ideal": c.shared_wavefronts_ideal,
        "global_sectors": c.global_sectors,
        "global_sectors_ideal": c.global_sectors_ideal,
        "global_bytes_read": c.global_bytes_read,
        "global_bytes_written": c.global_bytes_written,
        "shared_bytes_read": c.shared_bytes_read,
        "shared_bytes_written": c.shared_bytes_written,
        "barriers": c.barriers,
        "divergent_branches": c.divergent_branches,
    })
}
