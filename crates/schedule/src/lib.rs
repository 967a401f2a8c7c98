// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Schedules as data, and the lowering of fused graphs to tile kernels.
//!
//! In: a fused graph and a target. Out: a `Core` program of the tile crate. The branch list as written never gets here.

mod code;
mod from_graph;
mod lower;
mod nest;
mod sizes;
mod work;

pub use attnc_tile::step::Panels;
pub use from_graph::{ScheduleError, nest};
pub use lower::{LowerError, lower};
pub use nest::{Combine, Group, Nest, Schedule, Spaces, Term, WHOLE};
pub use sizes::{Sizes, SizesError};
pub use work::{Work, work};
