// SPDX-License-Identifier: Apache-2.0 OR MIT
//! PTX as a language: typed instructions, parser, printer, verifier, emulator
