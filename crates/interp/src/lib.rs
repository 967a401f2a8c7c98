// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the IRs mean: slow, checked interpreters.
//!
//! In: a program and tensors. Out: the results, or the first thing that the IR forbids.

pub mod graph;
pub mod tile;
