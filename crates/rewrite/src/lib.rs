// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rewriting of op graphs by equality saturation, with proofs.
//!
//! In: a graph, a cost model, rules to leave out. Out: the cheapest graph that the rules find, and the steps that prove it equal.

mod bag;
mod cost;
mod facts;
mod lang;
mod optimize;
mod proof;
mod rules;

pub use bag::CostModel;
pub use cost::Cost;
pub use optimize::{MAX_PROVED, Optimized, Options, Plan, RewriteError, cost, optimize};
pub use proof::Step;
pub use rules::{RuleInfo, rules};

#[cfg(test)]
mod tests;
