// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Host tensors, dtypes, seeded fill, safetensors input and output, tolerances.

mod dtype;

pub use dtype::DType;
