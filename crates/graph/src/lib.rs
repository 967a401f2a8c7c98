// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The op graph: types, text, DOT, verifier.
//!
//! In: a checked operator. Out: its unfused graph, and the op table in which rewriting writes the fused one.

mod graph;
mod lower;
mod op;
mod text;
mod verify;

pub use attnc_spec::{
    Branch, Gradient, Offsets, Precision, Profile, Ragged, Rows, Segment, ZeroLse,
};
pub use graph::{GraphError, Header, NodeRef, OpGraph};
pub use lower::lower;
pub use op::{Exponential, Once, Op, Port, RowMap, Side, Term, Type, divides};
pub use text::{VERSION, dot, op_name, print};
pub use verify::infer;
