// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rewriting of op graphs by equality saturation, with proofs

mod facts;
mod lang;
mod rules;

pub use rules::{RuleInfo, rules};
mod cost;
mod optimize;

pub use cost::CostModel;
pub use optimize::{Optimized, Options, Plan, RewriteError, optimize};

#[cfg(test)]
mod tests;
