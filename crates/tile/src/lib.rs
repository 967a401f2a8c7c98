// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tile IR: types, ops, step, verifier, text form.

pub mod core;
mod parse;
mod print;
pub mod queue;
pub mod step;
pub mod verify;
mod walk;

pub use parse::{ParseError, ParseErrorKind, parse};
pub use print::{VERSION, print};
