// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `attnc` command: arguments come in, text and files go out.
fn main() {}
