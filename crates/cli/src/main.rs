// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `attnc` command; everything stands in the library beside.

use std::process::ExitCode;

fn main() -> ExitCode {
    attnc_cli::main()
}
