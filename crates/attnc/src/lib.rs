// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A compiler for long-sequence attention operators: the library.
//!
//! [`pipeline`] names every stage in order. The host half of a run: [`Inputs`] come from a seed or a file, [`compile`] makes an [`Engine`] from a [`Source`] by the table of [`Backend`]s,
//! [`execute`] calls and times it, [`verify()`] compares with the oracle, [`RunReport`] tells.

mod compiled_engine;
pub mod cost;
mod engine;
mod execute;
mod graph_engine;
mod inputs;
pub mod memory;
mod oracle_engine;
pub mod pattern;
pub mod pipeline;
mod report;
mod rows;
mod signature;
mod source;
mod verify;
mod views;

pub use attnc_codegen_cpu::{CodegenError, CpuTarget, Program, asm, header};
pub use attnc_oracle::{OracleError, RowId, madds_formula};
pub use attnc_runtime::machine;
pub use attnc_tensor::Place;
pub use engine::{
    Backend, CacheUse, Call, Engine, EngineError, Executed, Progress, check_call, compile,
};
pub use execute::{ExecuteError, Outcome, Repeats, execute, measure, median};
pub use inputs::{InputError, Inputs};
pub use oracle_engine::OracleEngine;
pub use report::{Facts, RunReport, Verification};
pub use rows::{RowIds, sample};
pub use signature::Signature;
pub use source::{Source, SourceError, StageName};
pub use verify::{
    ALL_ROWS_UP_TO, Amount, Verified, VerifyOptions, WorstRow, rows_to_check, verify,
};
