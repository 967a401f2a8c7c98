// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Spans, diagnostics, the table of codes, and their rendering
