// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The op graph: types, text, JSON, DOT, verifier.
//!
//! In: a checked operator. Out: its unfused graph, and the op table in which rewriting writes the fused one.

mod graph;
mod index;
mod json;
mod lower;
mod op;
mod parse;
mod text;
mod verify;

pub use attnc_spec::{
    Branch, Gradient, Offsets, Precision, Profile, Ragged, Rows, Segment, ZeroLse,
};
pub use graph::{Form, GraphError, Header, NodeRef, OpGraph};
pub use index::Grid;
pub use json::{JsonError, from_json, to_json};
pub use lower::lower;
pub use op::{Exponential, Once, Op, Port, RowMap, Side, Term, Type, divides};
pub use parse::{ParseError, ParseErrorKind, parse};
pub use text::{VERSION, dot, op_name, print};
pub use verify::infer;
