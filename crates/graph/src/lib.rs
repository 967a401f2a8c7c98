// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The op graph: types, text, JSON, DOT, verifier
