// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A compiler for long-sequence attention operators: the library

pub mod pipeline;
