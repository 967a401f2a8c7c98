// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Checked attention operators: resolution, use, checks, JSON form

mod operator;

pub use operator::{
    Branch, Gradient, Offsets, Operator, Precision, Profile, Ragged, Rows, Segment, ZeroLse,
};
