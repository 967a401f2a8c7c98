// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the graph and tile IRs mean: slow, checked interpreters
