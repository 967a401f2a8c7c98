// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tile IR to machine code by Cranelift.
//!
//! In: a verified `Core`. Out: functions with the C ABI of the launch plan: `plan` and `run`. Portable 128-bit kernels; nothing of the
//! host's library is called from generated code.

mod compile;
mod convert;
mod fx;
mod jit;
mod kernel;
mod layout;
mod moves;
mod tiles;

pub use jit::{CodegenError, Jit};
pub use layout::{ABI, Args, ERROR_ABI, ERROR_NULL, ERROR_SHAPE, Layout};
