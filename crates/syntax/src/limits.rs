// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Limits of the text. They keep every input within bounded time, memory and stack.

/// Largest file in bytes: 1 MiB.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// Deepest nesting of an expression (brackets, parentheses, unary minus, `^`, indices) and of blocks, counted apart.
pub const MAX_DEPTH: usize = 128;
