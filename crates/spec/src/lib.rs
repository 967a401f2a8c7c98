// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Checked attention operators: what `.attn` files mean.
//!
//! In: source files ([`Loaded`]) and a [`Loader`] for what they `use`. Out: a [`Resolution`]: the operators of each file, own and
//! imported, and every mistake and warning of all files in one list. An [`Operator`] can also be built in code
//! ([`Operator::builder`]), read from JSON ([`Operator::from_json`]) and written as `.attn` text ([`Operator::to_attn`]).
//!
//! The way of a file: `files` loads what it uses, `program` takes one file with its imports, `lower` resolves names once and for all (so that also lines that never run are
//! checked), `eval` computes values with checked arithmetic, `attention` turns fields and branches into operators by the table in
//! `fields`, `coverage` finds what is allowed but probably not meant. `index` keeps
//! what every word means, for editors ([`inspect`]). Nothing here reads a file itself or knows of graphs.

mod attention;
mod builder;
mod coverage;
mod eval;
mod fields;
mod files;
mod functions;
mod hash;
mod hir;
mod index;
mod loader;
mod lower;
mod operator;
mod program;
mod suggest;
mod text;
mod validate;
mod value;
mod words;

pub use builder::OperatorBuilder;
pub use files::{Named, Resolution, ResolvedFile, inspect, resolve};
pub use hash::ContentHash;
pub use index::{Definition, Explanation, Index, Proposal, ProposalKind, Vocabulary, vocabulary};
pub use loader::{LoadError, Loaded, Loader, NoFiles, STD_FILES, std_file};
pub use operator::{
    Branch, Gradient, Offsets, Operator, Precision, Profile, Ragged, Rows, Segment, ZeroLse,
};
pub use validate::{InvalidOperator, OperatorError, ReadError};

/// Largest number of heads.
pub const MAX_HEADS: u32 = 4096;
/// Largest head dimension.
pub const MAX_HEAD_DIM: u32 = 256;
/// Largest segment length and dilation.
pub const MAX_LENGTH: u64 = 1 << 40;
/// Most branches of an operator.
pub const MAX_BRANCHES: usize = 1024;
