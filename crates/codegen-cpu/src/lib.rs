// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tile IR to machine code by Cranelift: JIT and object files
