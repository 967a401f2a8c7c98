// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rewriting of op graphs by equality saturation, with proofs
