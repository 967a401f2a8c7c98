// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `attnc` command, built for the tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    attnc_cli::main()
}
