// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What runs an operator, seen from the host: one trait, and one table of what there is.
//!
//! In: a [`Call`]. Out: its outputs filled, and what the engine did. An engine is made once, by [`Compiler::engine`](crate::Compiler::engine), and serves every B and N.

use std::fmt;

use attnc_oracle::OracleError;
use attnc_runtime::LaunchError;
use attnc_tensor::{Place, TensorError};

use crate::cache::CacheError;
use crate::call::Call;
use crate::pipeline::CompileError;
use crate::tune::Tuning;

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

/// What a call did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Executed {
    /// Multiply-adds issued for both products, padding included.
    pub madds: u128,
    /// Most bytes allocated at a time beyond q, k, v, out and lse.
    pub peak_extra_bytes: u64,
    /// What each worker did; empty where there are none.
    pub workers: Vec<Worker>,
}

/// What one worker did of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Worker {
    /// Tasks that it ran.
    pub tasks: u64,
    /// Multiply-adds that it issued.
    pub madds: u64,
    /// Milliseconds that it was in generated code.
    pub busy_ms: f64,
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
    Launch(LaunchError),
    /// The caller's [`Watch`](crate::Watch) stopped the call; what stands in its outputs is no result.
    #[error("stopped when asked to, before the end")]
    Cancelled,
    /// No memory.
    #[error(transparent)]
    Memory(#[from] TensorError),
    /// The interpreted program did what the IR forbids: a bug of the compiler.
    #[error("the tile program is wrong: {0}")]
    Fault(#[from] attnc_interp::tile::TileFault),
    /// The interpreter of the graph refused.
    #[error(transparent)]
    Graph(#[from] attnc_interp::graph::GraphFault),
}

/// A compiled operator that can be called.
pub trait Engine: Send + Sync {
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
    /// Why the cache was not used as it should.
    fn cache_trouble(&self) -> Option<&CacheError> {
        None
    }
    /// What a tune file had to do with it.
    fn tuning(&self) -> &Tuning {
        &Tuning::Off
    }
    /// Runs a call.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn forward(&self, call: Call<'_>) -> Result<Executed, EngineError>;
}

/// How a kernel came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUse {
    /// Found in the cache.
    Hit,
    /// Compiled and stored.
    Miss,
    /// Compiled without a cache, or nothing to cache, or the cache could not be used.
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

impl From<CompileError> for EngineError {
    fn from(e: CompileError) -> EngineError {
        EngineError::Compile(Box::new(e))
    }
}

impl From<LaunchError> for EngineError {
    fn from(e: LaunchError) -> EngineError {
        match e {
            LaunchError::Cancelled => EngineError::Cancelled,
            LaunchError::Shape { .. }
            | LaunchError::Storage { .. }
            | LaunchError::Stride { .. }
            | LaunchError::Overlap { .. }
            | LaunchError::Plan(_)
            | LaunchError::Tasks { .. }
            | LaunchError::Threads(_) => EngineError::Launch(e),
        }
    }
}
