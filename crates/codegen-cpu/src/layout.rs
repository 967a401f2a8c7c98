// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where things lie in the structures that host and generated code share: arguments, plan, workspace.
//!
//! In: a [`Core`]. Out: byte offsets. The argument structure is the C ABI's (`attnc_OP_args`); the plan is a copy of it, the number of
//! tasks, the level, and the plan tables; the workspace holds the buffers and the temporaries of tile functions.

use attnc_tensor::DType;
use attnc_tile::core::{Core, Port};
use serde::{Deserialize, Serialize};

use crate::tiles::temp_bytes;

/// The argument structure of the C ABI. Strides are in elements, in the order batch, token, head (lse: batch, head).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Args {
    /// `sizeof(Args)`.
    pub size: u32,
    /// [`ABI`].
    pub abi: u32,
    /// `[B,N,H,D]`.
    pub q: *const u8,
    /// `[B,N,H_kv,D]`.
    pub k: *const u8,
    /// `[B,N,H_kv,D]`.
    pub v: *const u8,
    /// `[B,N,H,D]`.
    pub out: *mut u8,
    /// `[B,H,N]`.
    pub lse: *mut f32,
    /// B.
    pub batch: i64,
    /// N.
    pub seq_len: i64,
    /// Strides of q.
    pub q_stride: [i64; 3],
    /// Strides of k.
    pub k_stride: [i64; 3],
    /// Strides of v.
    pub v_stride: [i64; 3],
    /// Strides of out.
    pub out_stride: [i64; 3],
    /// Strides of lse.
    pub lse_stride: [i64; 2],
}

/// Version of the argument structure.
pub const ABI: u32 = 1;
/// `size` or `abi` of the arguments is not this build's.
pub const ERROR_ABI: i64 = -1;
/// A negative batch or sequence length, or more than 2^47 positions in all.
pub const ERROR_SHAPE: i64 = -2;
/// A null pointer where a tensor has elements, or for a structure.
pub const ERROR_NULL: i64 = -3;
/// Tasks that the plan does not have.
pub const ERROR_RANGE: i64 = -4;
/// A null workspace, or one that is not aligned to 64 bytes.
pub const ERROR_WORKSPACE: i64 = -5;
/// The machine lacks what the code needs.
pub const ERROR_MACHINE: i64 = -6;

/// Offset of the number of tasks in the plan.
pub(crate) const TASKS: i32 = size_of::<Args>() as i32;
/// Offset of the level that `plan` chose: [`crate::Level::number`].
pub(crate) const LEVEL: i32 = TASKS + 8;
/// Offset of the plan tables.
pub(crate) const TABLES: i32 = LEVEL + 8;
/// Offset in the workspace of the count of products: the same for all parts of a program.
pub(crate) const COUNTER: i32 = 0;
pub(crate) const BATCH: i32 = 48;
pub(crate) const SEQ_LEN: i32 = 56;

/// Offset of a tensor's pointer.
pub(crate) fn pointer(p: Port) -> i32 {
    match p {
        Port::Q => 8,
        Port::K => 16,
        Port::V => 24,
        Port::Out => 32,
        Port::Lse => 40,
    }
}

/// Offset of a tensor's strides.
pub(crate) fn strides(p: Port) -> i32 {
    match p {
        Port::Q => 64,
        Port::K => 88,
        Port::V => 112,
        Port::Out => 136,
        Port::Lse => 160,
    }
}

/// The tensors that a kernel takes and gives, whatever B and N.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensors {
    /// Query heads H.
    pub heads: u32,
    /// Key/value heads H_kv.
    pub kv_heads: u32,
    /// Head dimension D.
    pub head_dim: u32,
    /// Storage type of q, k, v and out.
    pub dtype: DType,
}

/// Offsets of the structures of one core program. A program of several parts has the tables and buffers of its first here, and the
/// sizes of the largest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// What the arguments point at.
    pub tensors: Tensors,
    /// Offset of each plan table.
    pub plan_tables: Vec<i32>,
    /// Size of the plan structure.
    pub plan_bytes: usize,
    /// Offset of each buffer in the workspace.
    pub bufs: Vec<i64>,
    /// Offset of the temporaries.
    pub temps: i64,
    /// Offset of the count of multiply-adds that the last `run` call issued, padding included (i64).
    pub counter: i64,
    /// Size of the workspace.
    pub workspace_bytes: usize,
}

impl Layout {
    /// The layout for `core`.
    pub fn of(core: &Core) -> Layout {
        let mut at = TABLES as usize;
        let plan_tables = core
            .plan_tables
            .iter()
            .map(|t| {
                let here = at as i32;
                at += t.len as usize * 8;
                here
            })
            .collect();
        let plan_bytes = at;
        // Behind the counter, a line of its own.
        let mut at = 64u64;
        let bufs = core
            .bufs
            .iter()
            .map(|b| {
                let here = at as i64;
                at += core.bytes(b).next_multiple_of(64);
                here
            })
            .collect();
        let temps = at as i64;
        let most = core.fns.iter().map(temp_bytes).max().unwrap_or(0);
        Layout {
            tensors: Tensors {
                heads: core.heads,
                kv_heads: core.kv_heads,
                head_dim: core.head_dim,
                dtype: core.dtype,
            },
            plan_tables,
            plan_bytes,
            bufs,
            temps,
            counter: i64::from(COUNTER),
            workspace_bytes: (at + most) as usize,
        }
    }
}
