// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The .attn language: lexer, parser, formatter
