// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The corpus and the engines that the cross-crate tests share.

pub mod bochs;
pub mod corpus;
pub mod engines;
pub mod fuzz;
pub mod operators;
pub mod precision;
pub mod random;
