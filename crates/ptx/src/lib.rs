// SPDX-License-Identifier: Apache-2.0 OR MIT
//! PTX as a language, and a machine that runs it.
//!
//! In: the text of a PTX module, whoever wrote it. Out: a typed [`Module`] that
//! prints back to text meaning the same ([`parse()`], [`print()`]: `parse(print(m)) == m`),
//! a list of broken rules ([`verify()`]), and the effects of a launch on memory ([`emu`]).
//!
//! The crate knows nothing of the compiler beside it: it is the witness that the
//! compiler's PTX is judged by, so it must not share the compiler's mistakes.
//! What an instruction may look like is data ([`isa`]): one line per form, in the
//! order of the PTX ISA manual, from which parser, printer and verifier all work.

pub mod emu;
pub mod error;
pub mod isa;
mod lex;
pub mod module;
mod parse;
mod parse_decl;
pub mod print;
pub mod ty;
pub mod verify;

pub use error::{ParseError, ParseErrorKind, Pos};
pub use module::Module;
pub use parse::parse;
pub use print::print;
pub use ty::{Space, Type};
pub use verify::verify;
