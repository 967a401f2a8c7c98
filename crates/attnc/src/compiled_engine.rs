// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compiled operators as backends: machine code, and the interpreter of the very program that machine code is made from.
//!
//! In: an operator, or the text of a later stage, and the choices of its compilation. Out: engines that serve every B and N.

use attnc_codegen_cpu::{CpuTarget, Jit};
use attnc_graph::{Branch, Form, OpGraph, Precision};
use attnc_runtime::{Launch, LaunchError};
use attnc_tile::core::Core;

use crate::cost::groups;
use crate::engine::{Backend, Call, Engine, EngineError, Executed, Progress, check_call};
use crate::pipeline::{self, Choices, CompileError, Plan};
use crate::signature::Signature;
use crate::source::Source;
use crate::views::copy_into;

/// All stages up to the fused graph, for `backend`. A graph that comes in fused is taken as it stands.
pub(crate) fn fused(
    source: &Source,
    backend: Backend,
    choices: &Choices,
) -> Result<OpGraph, EngineError> {
    let graph = match source {
        Source::Operator(op) => pipeline::graph(op)?,
        Source::Graph(g) => g.clone(),
        Source::Tile(_) => {
            let stage = source.stage();
            return Err(EngineError::EarlierStage { backend, stage });
        }
    };
    match graph.header().form {
        Form::Graph => Ok(pipeline::fuse(&graph, choices)?.graph),
        Form::Fused => Ok(graph),
    }
}

/// All stages up to the tile program, for `backend`. A tile program is taken as it stands, for the target that it names.
fn program(
    source: &Source,
    backend: Backend,
    choices: &Choices,
) -> Result<(Core, Vec<String>), EngineError> {
    if let Source::Tile(core) = source {
        return Ok(((**core).clone(), Vec::new()));
    }
    let graph = fused(source, backend, choices)?;
    let refuse = |what: &str| EngineError::Unsupported {
        what: what.to_string(),
        target: choices.target.clone(),
        instead: "leave `precision` at `standard`".to_string(),
    };
    match graph.header().precision {
        Precision::Standard => {}
        Precision::Fast => return Err(refuse("compile `precision = fast`")),
        Precision::Tf32 => return Err(refuse("compile `precision = tf32`")),
    }
    let notes = match choices.plan {
        Plan::Share => unshared(&graph).into_iter().collect(),
        Plan::Auto | Plan::Each => Vec::new(),
    };
    Ok((pipeline::tile(&graph, choices)?, notes))
}

/// What to tell of the branches that stayed by themselves although sharing was asked for.
fn unshared(graph: &OpGraph) -> Option<String> {
    const SHOWN: usize = 4;
    let groups = groups(graph);
    let bags = groups.len();
    let mut alone: Vec<Branch> = groups
        .iter()
        .filter(|g| g.len() == 1)
        .flatten()
        .copied()
        .collect();
    if bags < 2 || alone.is_empty() {
        return None;
    }
    let (count, more) = (alone.len(), if alone.len() > SHOWN { ", ..." } else { "" });
    alone.sort_unstable();
    let alone: Vec<String> = alone
        .iter()
        .take(SHOWN)
        .map(|b| format!("({}, {})", b.segment, b.dilation))
        .collect();
    Some(format!(
        "{count} of the branches cannot share scores and run as `each`: {}{more}",
        alone.join(", ")
    ))
}

impl From<CompileError> for EngineError {
    fn from(e: CompileError) -> EngineError {
        EngineError::Compile(Box::new(e))
    }
}

/// Chunk starts: where rows are worth verifying.
fn chunk_starts(core_chunk: u64, seq_len: u64) -> Vec<u64> {
    (0..seq_len)
        .step_by(core_chunk.max(1) as usize)
        .take(256)
        .collect()
}

/// Rows of a task of these programs.
fn chunk(core: &Core) -> u64 {
    core.bufs
        .iter()
        .find(|b| b.name == "covered")
        .map_or(1, |b| b.len)
}

/// Machine code in this process.
#[derive(Debug)]
pub(crate) struct CpuEngine {
    signature: Signature,
    notes: Vec<String>,
    core: Core,
    code: Jit,
}

impl CpuEngine {
    pub(crate) fn new(source: &Source, choices: &Choices) -> Result<CpuEngine, EngineError> {
        let (core, notes) = program(source, Backend::Cpu, choices)?;
        if core.target != choices.target {
            // Only the text of a tile program can name another target.
            return Err(EngineError::Unsupported {
                what: format!("run a program for `{}`", core.target),
                target: choices.target.clone(),
                instead: "interpret it (`--backend interp-tile`)".to_string(),
            });
        }
        let code = Jit::new(&core)?;
        Ok(CpuEngine {
            signature: source.signature(),
            notes,
            core,
            code,
        })
    }
}

impl Engine for CpuEngine {
    fn target(&self) -> &str {
        &self.core.target
    }
    fn notes(&self) -> &[String] {
        &self.notes
    }
    fn kernel(&self) -> &str {
        match CpuTarget::of_name(&self.core.target) {
            Some(CpuTarget::X86_64V3) => "avx2",
            Some(CpuTarget::X86_64V4) => "avx512",
            Some(CpuTarget::X86_64 | CpuTarget::Aarch64) | None => "portable",
        }
    }
    fn boundaries(&self, seq_len: u64) -> Vec<u64> {
        chunk_starts(chunk(&self.core), seq_len)
    }
    fn run(&mut self, call: Call<'_>, progress: Progress<'_>) -> Result<Executed, EngineError> {
        check_call(&self.signature, &call)?;
        let rows = call.out.shape()[..3].iter().product::<usize>() as u64;
        let told = std::sync::atomic::AtomicU64::new(0);
        let launch = Launch {
            q: call.q,
            k: call.k,
            v: call.v,
            out: call.out,
            lse: call.lse,
            threads: call.threads,
        };
        let stats = attnc_runtime::launch(&self.code, &self.core, launch, &|done, all| {
            // Tasks done so far as rows; another thread may have told more already.
            let now = (u128::from(rows) * done as u128 / all.max(1) as u128) as u64;
            let before = told.fetch_max(now, std::sync::atomic::Ordering::Relaxed);
            progress(now.saturating_sub(before));
            true
        })?;
        Ok(Executed {
            madds: u128::from(stats.madds),
            peak_extra_bytes: stats.extra_bytes,
        })
    }
}

/// The interpreter of the tile program.
#[derive(Debug)]
pub(crate) struct TileEngine {
    signature: Signature,
    notes: Vec<String>,
    core: Core,
}

impl TileEngine {
    pub(crate) fn new(source: &Source, choices: &Choices) -> Result<TileEngine, EngineError> {
        let (core, notes) = program(source, Backend::InterpTile, choices)?;
        Ok(TileEngine {
            signature: source.signature(),
            notes,
            core,
        })
    }
}

impl Engine for TileEngine {
    fn target(&self) -> &str {
        &self.core.target
    }
    fn notes(&self) -> &[String] {
        &self.notes
    }
    fn kernel(&self) -> &str {
        "interpreted"
    }
    fn boundaries(&self, seq_len: u64) -> Vec<u64> {
        chunk_starts(chunk(&self.core), seq_len)
    }
    fn run(&mut self, mut call: Call<'_>, progress: Progress<'_>) -> Result<Executed, EngineError> {
        check_call(&self.signature, &call)?;
        let got =
            attnc_interp::tile::run(&self.core, &call.q, &call.k, &call.v, call.threads as u32)?;
        copy_into(&mut call.out, &got.out);
        copy_into(&mut call.lse, &got.lse);
        progress(got.lse.len() as u64);
        Ok(Executed {
            madds: u128::from(got.madds_executed),
            peak_extra_bytes: self.core.bufs.iter().map(|b| b.len * b.elem.bytes()).sum(),
        })
    }
}

impl From<LaunchError> for EngineError {
    fn from(e: LaunchError) -> EngineError {
        EngineError::Launch(e)
    }
}
