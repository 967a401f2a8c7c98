// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The target `format` of `attnc_tests::fuzz`.
#![no_main]

use std::sync::LazyLock;

use attnc_tests::fuzz::{Target, target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<Target> = LazyLock::new(|| target("format"));

fuzz_target!(|data: &[u8]| {
    (TARGET.run)(data);
});
