// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the `ptx-emu` command does, as functions: read a launch file, execute it, compare.
//! In: a launch and the module's text. Out: counters, or the [`Problem`] with its exit code.

mod compare;
mod data;
mod launch;

pub use launch::{Launch, Problem, read};

use attnc_ptx::ParseErrorKind;
use attnc_ptx::emu::{Counters, LaunchError, Memory, Options, Program};
use launch::Role;

/// Parses the module, checks that the launch fits it, runs it, and with `check` compares the
/// buffers with what the launch expects.
pub fn execute(
    l: &Launch,
    text: &str,
    options: &Options,
    check: bool,
) -> Result<Counters, Problem> {
    let file = l.ptx.display();
    let module = attnc_ptx::parse(text).map_err(|e| {
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
    let params = launch::params(l, &program.params(&l.entry).map_err(fault)?, &at)?;
    let what = attnc_ptx::emu::Launch {
        entry: &l.entry,
        grid: l.grid,
        block: l.block,
        dynamic_shared: l.dynamic_shared,
        params: &params,
    };
    let counters = program.launch(&memory, &what, options).map_err(fault)?;
    if !check {
        return Ok(counters);
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
        Ok(counters)
    } else {
        Err(Problem::Check(bad.join("; "), Box::new(counters)))
    }
}

/// The counters with their fixed keys.
pub fn json(c: &Counters) -> serde_json::Value {
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
