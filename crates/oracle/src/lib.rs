// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The operator's mathematics in float64: forward and gradients.
//!
//! In: a checked [`attnc_spec::Operator`] and tensors in any storage type. Out: what every engine is compared with. Dense, slow and plain: each row scores
//! each key that each branch lets it see; nothing is shared with the compiler, index arithmetic included (Cargo enforces it).

mod cost;
mod forward;
mod gradient;
mod index;
mod inputs;
mod row;

pub use cost::madds_formula;
pub use forward::{Forward, RowId, RowResult, branch_lse, forward, forward_rows};
pub use gradient::{Gradients, gradients};
pub use index::{Query, Seen, seen};
pub use inputs::{Inputs, OracleError};
