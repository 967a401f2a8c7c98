// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A compiler for long-sequence attention operators: the library.
//!
//! A host program makes an [`Attention`] from text, a file, the built-in library or code, compiles it for a [`Target`] to a [`Kernel`],
//! and calls that ([`Kernel::forward`]) with a [`Call`] of borrowed memory. A [`Compiler`] has more to choose. Everything is checked with typed
//! errors before anything runs; a kernel serves every batch, length, layout and number of threads, and can be called from any thread.
//!
//! [`pipeline`] names every stage of the compiler in order. For measuring and judging: [`Inputs`] come from a seed or a file, a
//! [`Source`] may be the text of a later stage, [`Compiler::engine`] makes the [`Engine`] of any [`Backend`], [`execute()`] calls and times it,
//! [`verify()`] compares with the oracle, [`RunReport`] tells, [`tune`] searches schedules.

mod ahead;
mod attention;
mod cache;
mod call;
mod compiler;
pub mod cost;
mod engine;
mod execute;
pub mod files;
mod graph_engine;
mod inputs;
mod kernel;
mod manifest;
pub mod memory;
mod oracle_engine;
pub mod pattern;
pub mod pipeline;
mod report;
mod rows;
mod signature;
mod source;
mod target;
mod tile_engine;
pub mod tune;
mod verify;
mod views;
pub mod writing;

pub use half;

/// The guide's code is tested as this crate's.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/rust.md")]
struct Guide;

pub use ahead::{BuildError, BuildOptions, Built, BuiltFile, BuiltNote, BuiltTuning, build};
pub use attention::{Attention, AttentionError, AttentionFile, Diagnostics};
pub use attnc_codegen_cpu::{CodegenError, CpuTarget, Program, asm};
pub use attnc_oracle::{OracleError, RowId, madds_formula};
pub use attnc_runtime::{LaunchError, MAX_THREADS, Pool, Workers, machine};
pub use attnc_spec::{
    Branch, ContentHash, Gradient, InvalidOperator, Offsets, Operator, OperatorBuilder,
    OperatorError, Precision, Profile, Ragged, Rows, Segment, ZeroLse,
};
pub use attnc_tensor::{DType, Elem, Place, Slice, SliceMut, TensorError, View, ViewMut};
pub use cache::{Cache, CacheError, CacheStat, DEFAULT_LIMIT};
pub use call::{Call, Order, Watch};
pub use compiler::Compiler;
pub use engine::{Backend, CacheUse, Engine, EngineError, Executed, Worker};
pub use execute::{ExecuteError, Outcome, Progress, Repeats, execute, measure, median};
pub use inputs::{InputError, Inputs};
pub use kernel::Kernel;
pub use manifest::{MANIFEST_SCHEMA, ManifestError};
pub use oracle_engine::OracleEngine;
pub use report::{Facts, RunReport, Verification};
pub use rows::{RowIds, sample};
pub use signature::Signature;
pub use source::{Source, SourceError, StageName};
pub use target::{Target, TargetError};
pub use verify::{
    ALL_ROWS_UP_TO, Amount, Verified, VerifyOptions, WorstRow, rows_to_check, verify,
};
