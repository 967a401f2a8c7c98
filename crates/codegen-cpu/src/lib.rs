// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tile IR to machine code by Cranelift.
//!
//! In: a verified `Core`. Out: one [`Program`] (bytes and relocations) with the entry points of the C ABI, which goes into this
//! process's memory ([`Jit`]), into object files and into listings unchanged. Portable 128-bit kernels; nothing of the host's library
//! is called from generated code.

mod claims;
mod coarse;
mod compile;
mod control;
mod convert;
mod detect;
mod dots;
mod entry;
mod features;
mod fx;
mod header;
mod jit;
mod kernel;
mod layout;
mod listing;
mod moves;
mod object;
mod panels;
mod program;
mod stored;
mod target;
mod tiles;

pub use compile::{Part, compile, compile_parts};
pub use detect::Detect;
pub use features::{Feature, Features};
pub use header::{Declared, header, plan_bytes, workspace_bytes};
pub use jit::Jit;
pub use layout::{
    ABI, Args, ERROR_ABI, ERROR_MACHINE, ERROR_NULL, ERROR_RANGE, ERROR_SHAPE, ERROR_WORKSPACE,
    Layout, Tensors,
};
pub use listing::{asm, census, clif};
pub use object::object;
pub use program::{CodegenError, Program};
pub use stored::StoreError;
pub use target::{CpuTarget, Family, Level};
