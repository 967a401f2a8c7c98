// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Thread pool, buffers, and the launch of compiled kernels
