// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `ptx-emu` command: runs a launch file on the PTX emulator.
fn main() {}
