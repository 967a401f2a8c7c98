// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The compiler as one straight list of stages.
//!
//! In: a checked operator. Out: every stage in turn. Each function is one arrow of ARCHITECTURE.md's first picture.

use attnc_codegen_cpu::{CodegenError, CpuTarget, Program};
use attnc_graph::{GraphError, OpGraph};
use attnc_rewrite::{CostModel, Options, RewriteError};
use attnc_schedule::{LowerError, Nest, Schedule, ScheduleError, SizesError};
use attnc_spec::Operator;
use attnc_tile::core::Core;
use attnc_tile::verify::{self, VerifyError};

pub use attnc_rewrite::{Cost, Optimized, Plan, RuleInfo, Step, rules};
pub use attnc_schedule::{Sizes, Work};

/// E-nodes that no operator within the language's limits comes near.
const NODE_LIMIT: usize = 2_000_000;

/// The length that costs are estimated for.
pub const NOMINAL_N: u64 = 32768;

/// What the user can decide about a compilation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices {
    /// Target name, never guessed here.
    pub target: String,
    /// How branches are grouped.
    pub plan: Plan,
    /// Rewrite rules to leave out.
    pub without: Vec<String>,
    /// Whether egg keeps and checks a proof.
    pub proof: bool,
    /// Sizes of the schedule; none: the target's default.
    pub sizes: Option<Sizes>,
}

impl Choices {
    /// The defaults for a target.
    pub fn new(target: &str) -> Choices {
        Choices {
            target: target.to_string(),
            plan: Plan::Auto,
            without: Vec::new(),
            proof: false,
            sizes: None,
        }
    }
}

/// What a stage can refuse.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CompileError {
    /// The graph's verifier.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Rewriting.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// The schedule has no kernel for the graph.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Sizes that no schedule can have.
    #[error("the schedule: {0}")]
    Sizes(#[from] SizesError),
    /// Lowering.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// The tile verifier: a mistake of the compiler, never of the operator.
    #[error("the lowered program breaks its rules: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Verify(Vec<VerifyError>),
}

/// spec -> graph: one chain a branch.
///
/// # Errors
/// None for checked operators.
pub fn graph(op: &Operator) -> Result<OpGraph, CompileError> {
    Ok(attnc_graph::lower(op)?)
}

/// graph -> fused graph, by equality saturation.
///
/// # Errors
/// An unknown rule in `without`; a limit that was hit.
pub fn fuse(graph: &OpGraph, choices: &Choices) -> Result<Optimized, CompileError> {
    let options = Options {
        cost: cost_model(graph, choices, NOMINAL_N),
        plan: choices.plan,
        without: choices.without.clone(),
        node_limit: NODE_LIMIT,
        proof: choices.proof,
    };
    Ok(attnc_rewrite::optimize(graph, &options)?)
}

/// Sharing is decided by products padded to the target's tiles, and in them to what its kernels compute in multiples of.
fn cost_model(graph: &OpGraph, choices: &Choices, nominal_n: u64) -> CostModel {
    let h = graph.header();
    let sched = Schedule::plain(&choices.target, h.head_dim, h.dtype, 1);
    let (lanes, keys) = sched.grain();
    CostModel {
        grain: (u64::from(lanes), u64::from(keys)),
        tile: u64::from(sched.mq),
        chunk: u64::from(sched.chunk),
        head_dim: u64::from(h.head_dim),
        causal: h.causal,
        nominal_n,
    }
}

/// What the model that chooses the plan says of a graph at a sequence length of one's own, for one head.
pub fn cost(graph: &OpGraph, choices: &Choices, seq_len: u64) -> Cost {
    attnc_rewrite::cost(graph, &cost_model(graph, choices, seq_len))
}

/// fused graph -> its loops and the schedule they run under: the target's default, with the sizes chosen.
///
/// # Errors
/// A graph that rewriting left without a kernel; sizes that no schedule can have.
pub fn schedule(fused: &OpGraph, choices: &Choices) -> Result<(Nest, Schedule), CompileError> {
    let nest = attnc_schedule::nest(fused)?;
    let mut sched = Schedule::of(&choices.target, &nest);
    if let Some(sizes) = choices.sizes {
        sched = sched.with_sizes(sizes, &nest)?;
    }
    Ok((nest, sched))
}

/// What a fused graph's program does at a sequence length, one batch entry: counted, or estimated from a sample of its tasks where
/// tiles meet panels more than about `limit` times.
///
/// # Errors
/// As for [`schedule`].
pub fn work(
    fused: &OpGraph,
    choices: &Choices,
    seq_len: u64,
    limit: u64,
) -> Result<Work, CompileError> {
    let (nest, sched) = schedule(fused, choices)?;
    Ok(attnc_schedule::work(&nest, &sched, seq_len, limit))
}

/// Of the schedules of a target, as [`schedules`] yields them, the one that this machine runs; the first where it runs none.
pub fn running(target: &str, mut all: Vec<Schedule>) -> Schedule {
    let runs = |s: &Schedule| {
        let target = CpuTarget::of_name(target);
        target.is_some_and(|t| t.levels_of(s.panels).iter().any(|l| l.here()))
    };
    let best = all.iter().rposition(runs).unwrap_or(0);
    all.swap_remove(best)
}

/// fused graph -> core program, under [`schedule`].
///
/// # Errors
/// As for [`schedule`]; a program that its verifier rejects.
pub fn tile(fused: &OpGraph, choices: &Choices) -> Result<Core, CompileError> {
    let (nest, sched) = schedule(fused, choices)?;
    scheduled(&nest, &sched)
}

/// fused graph -> core programs under all schedules of the target ([`Schedule::all`]): that of [`tile`] first, those that a machine should
/// rather run behind it. Of these, sizes that are chosen change the ones that can have them.
///
/// # Errors
/// As for [`tile`].
pub fn tiles(fused: &OpGraph, choices: &Choices) -> Result<Vec<Core>, CompileError> {
    let (nest, all) = schedules(fused, choices)?;
    all.iter().map(|sched| scheduled(&nest, sched)).collect()
}

/// The schedules of [`tiles`], in its order.
///
/// # Errors
/// As for [`schedule`].
pub fn schedules(
    fused: &OpGraph,
    choices: &Choices,
) -> Result<(Nest, Vec<Schedule>), CompileError> {
    let (nest, first) = schedule(fused, choices)?;
    let mut all = Schedule::all(&choices.target, &nest);
    all[0] = first;
    for sched in &mut all[1..] {
        if let Some(sizes) = choices.sizes
            && let Ok(sized) = sched.clone().with_sizes(sizes, &nest)
        {
            *sched = sized;
        }
    }
    Ok((nest, all))
}

fn scheduled(nest: &Nest, sched: &Schedule) -> Result<Core, CompileError> {
    let core = attnc_schedule::lower(nest, sched)?;
    verify::core(&core).map_err(CompileError::Verify)?;
    Ok(core)
}

/// core program -> machine code: the bytes of memory, of object files and of the stage `asm`.
///
/// # Errors
/// A program for a target that is no CPU; a bug of the code generator.
pub fn machine(core: &Core) -> Result<Program, CodegenError> {
    attnc_codegen_cpu::compile(core, cpu(core)?)
}

/// core program -> Cranelift's form of every function, to read.
///
/// # Errors
/// As for [`machine`].
pub fn clif(core: &Core) -> Result<String, CodegenError> {
    attnc_codegen_cpu::clif(core, cpu(core)?)
}

/// core programs -> one object file that calls itself `name` and exports the C ABI of each; its headers come from
/// [`attnc_codegen_cpu::header`].
///
/// # Errors
/// As for [`machine`]; programs for different targets, or two of one name.
pub fn object(name: &str, cores: &[Core]) -> Result<Vec<u8>, CodegenError> {
    let programs: Vec<Program> = cores.iter().map(machine).collect::<Result<_, _>>()?;
    attnc_codegen_cpu::object(name, &programs)
}

fn cpu(core: &Core) -> Result<CpuTarget, CodegenError> {
    CpuTarget::of_name(&core.target).ok_or_else(|| CodegenError::Foreigner(core.target.clone()))
}
