// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tile IR: types, ops, step, verifier, text form.

pub mod core;
mod print;
pub mod step;
pub mod verify;
mod walk;

pub use print::{VERSION, print};
