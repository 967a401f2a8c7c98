// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The operator's mathematics in float64: forward and gradients
