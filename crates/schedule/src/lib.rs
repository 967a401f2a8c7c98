// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Schedules as data, and the lowering of fused graphs to tile kernels
