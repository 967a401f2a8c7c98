// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What runs an operator, seen from the host: one trait, and one table of what there is.
//!
//! In: strided q, k, v and room for out and lse. Out: both filled, and what the engine did. An engine is made once, by [`compile`], and serves every B and N.

use std::fmt;

use attnc_oracle::OracleError;
use attnc_tensor::{Place, View, ViewMut};

use crate::compiled_engine::{CpuEngine, TileEngine, fused};
use crate::graph_engine::GraphEngine;
use crate::oracle_engine::OracleEngine;
use crate::pipeline::{Choices, CompileError};
use crate::signature::Signature;
use crate::source::Source;

/// Everything that can run an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Machine code for the CPU.
    Cpu,
    /// The interpreter of the graph.
    InterpGraph,
    /// The interpreter of the tile program.
    InterpTile,
    /// The definition, in float64.
    Oracle,
    /// PTX in the emulator.
    PtxEmulator,
    /// PTX on a GPU.
    Cuda,
}

impl Backend {
    /// Every backend.
    pub const ALL: [Backend; 6] = [
        Backend::Cpu,
        Backend::InterpGraph,
        Backend::InterpTile,
        Backend::Oracle,
        Backend::PtxEmulator,
        Backend::Cuda,
    ];

    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Cpu => "cpu",
            Backend::InterpGraph => "interp-graph",
            Backend::InterpTile => "interp-tile",
            Backend::Oracle => "oracle",
            Backend::PtxEmulator => "ptx-emulator",
            Backend::Cuda => "cuda",
        }
    }

    /// Which column of the tolerance table its results are judged by.
    pub fn place(self) -> Place {
        match self {
            Backend::Cuda => Place::Gpu,
            Backend::Cpu
            | Backend::InterpGraph
            | Backend::InterpTile
            | Backend::Oracle
            | Backend::PtxEmulator => Place::Host,
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Hears how many rows (b, h, n) were finished; may be called from any thread.
pub type Progress<'a> = &'a (dyn Fn(u64) + Sync);

/// One call of an operator.
#[derive(Debug)]
pub struct Call<'a> {
    /// `[B, N, H, D]`
    pub q: View<'a>,
    /// `[B, N, H_kv, D]`
    pub k: View<'a>,
    /// `[B, N, H_kv, D]`
    pub v: View<'a>,
    /// `[B, N, H, D]` in the operator's dtype; every element is written.
    pub out: ViewMut<'a>,
    /// `[B, H, N]`, f32; every element is written.
    pub lse: ViewMut<'a>,
    /// Worker threads, at least 1.
    pub threads: usize,
}

/// What a call did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    /// Multiply-adds issued for both products, padding included.
    pub madds: u128,
    /// Most bytes allocated at a time beyond q, k, v, out and lse.
    pub peak_extra_bytes: u64,
}

/// Why an engine cannot be made or a call fails.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A later stage of the project.
    #[error("backend `{0}`: not built yet")]
    NotBuiltYet(Backend),
    /// The source is the text of a stage behind the one that the backend starts from.
    #[error("backend `{backend}` starts from an earlier stage than `{stage}`, whose text this is")]
    EarlierStage {
        /// The backend.
        backend: Backend,
        /// The stage.
        stage: &'static str,
    },
    /// Something the engine does not do.
    #[error("{target} cannot {what}; {instead}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// Who cannot.
        target: String,
        /// What could be done instead.
        instead: String,
    },
    /// The system gives no threads.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// What the system said.
        reason: String,
    },
    /// Shapes that do not belong together, or no memory.
    #[error(transparent)]
    Oracle(#[from] OracleError),
    /// A stage of the compiler refused.
    #[error(transparent)]
    Compile(Box<CompileError>),
    /// The code generator refused.
    #[error(transparent)]
    Codegen(#[from] attnc_codegen_cpu::CodegenError),
    /// The launch was refused.
    #[error(transparent)]
    Launch(attnc_runtime::LaunchError),
    /// The interpreted program did what the IR forbids: a bug of the compiler.
    #[error("the tile program is wrong: {0}")]
    Fault(#[from] attnc_interp::tile::TileFault),
    /// The interpreter of the graph refused.
    #[error(transparent)]
    Graph(#[from] attnc_interp::graph::GraphFault),
}

/// A compiled operator that can be called.
pub trait Engine {
    /// What the target became, as in `attnc targets`; `none` where nothing is compiled.
    fn target(&self) -> &str;
    /// Name of the kernel.
    fn kernel(&self) -> &str;
    /// Positions at which tiles or chunks start, for the choice of rows to verify; may be empty.
    fn boundaries(&self, _seq_len: u64) -> Vec<u64> {
        Vec::new()
    }
    /// Remarks for the user, such as branches that could not be shared.
    fn notes(&self) -> &[String] {
        &[]
    }
    /// How the kernel came from the cache.
    fn cache(&self) -> CacheUse {
        CacheUse::Off
    }
    /// Runs.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn run(&mut self, call: Call<'_>, progress: Progress<'_>) -> Result<Executed, EngineError>;
}

/// How a kernel came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUse {
    /// Found in the cache.
    Hit,
    /// Compiled and stored.
    Miss,
    /// Compiled without a cache, or nothing to cache.
    Off,
}

impl CacheUse {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            CacheUse::Hit => "hit",
            CacheUse::Miss => "miss",
            CacheUse::Off => "off",
        }
    }
}

/// Makes the engine of `backend` for `source`.
///
/// # Errors
/// [`EngineError::NotBuiltYet`] for what is to come; [`EngineError::EarlierStage`] where the source carries less than the backend
/// starts from.
pub fn compile(
    source: &Source,
    backend: Backend,
    choices: &Choices,
) -> Result<Box<dyn Engine>, EngineError> {
    match (backend, source) {
        (Backend::Oracle, Source::Operator(op)) => Ok(Box::new(OracleEngine::new((**op).clone()))),
        (Backend::Oracle, Source::Graph(_) | Source::Tile(_)) => Err(EngineError::EarlierStage {
            backend,
            stage: source.stage(),
        }),
        (Backend::Cpu, _) => Ok(Box::new(CpuEngine::new(source, choices)?)),
        (Backend::InterpTile, _) => Ok(Box::new(TileEngine::new(source, choices)?)),
        (Backend::InterpGraph, _) => {
            Ok(Box::new(GraphEngine::new(fused(source, backend, choices)?)))
        }
        (Backend::PtxEmulator | Backend::Cuda, _) => Err(EngineError::NotBuiltYet(backend)),
    }
}

/// Checks a call's shapes against the signature; engines lean on it.
///
/// # Errors
/// [`EngineError::Oracle`] with the first tensor that does not fit.
pub fn check_call(s: &Signature, call: &Call<'_>) -> Result<(), EngineError> {
    let (batch, seq_len) = match *call.q.shape() {
        [b, n, _, _] => (b, n),
        _ => (0, 0),
    };
    let query = s.query_shape(batch, seq_len).to_vec();
    let keys = s.key_shape(batch, seq_len).to_vec();
    for (tensor, found, want) in [
        ("q", call.q.shape(), query.clone()),
        ("k", call.k.shape(), keys.clone()),
        ("v", call.v.shape(), keys),
        ("out", call.out.shape(), query),
        (
            "lse",
            call.lse.shape(),
            s.lse_shape(batch, seq_len).to_vec(),
        ),
    ] {
        if found != want {
            return Err(EngineError::Oracle(OracleError::WrongShape {
                tensor,
                want,
                found: found.to_vec(),
            }));
        }
    }
    Ok(())
}
