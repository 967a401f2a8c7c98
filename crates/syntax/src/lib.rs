// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `.attn` language as text: lexer, parser, syntax tree, formatter.
//!
//! In: a source file. Out: a syntax tree with spans and every mistake of the text ([`parse`], which never fails), the tree as text
//! or JSON ([`dump_text`], [`dump_json`]), the formatted text ([`format()`]), what a place
//! of an unfinished text asks for ([`context_at`]). Nothing here knows what a field means or reads a file.
//!
//! # Grammar
//! ```text
//! file      = [ "edition" INT ] { use | let | attention }
//! use       = "use" STRING
//! let       = "let" IDENT "=" expr
//! attention = "attention" IDENT ( block | "=" IDENT "with" block )
//! block     = "{" { field | branch | for | let } "}"
//! field     = IDENT "=" expr
//! branch    = "branch" "{" { field } "}"
//! for       = "for" IDENT "in" ( expr ".." expr | expr ) "{" { branch | for | let } "}"
//! expr      = literal | IDENT | list | call | expr "[" expr "]" | "(" expr ")" | "-" expr | expr op expr
//! list      = "[" [ expr { "," expr } [ "," ] ] "]"
//! call      = IDENT "(" [ expr { "," expr } [ "," ] ] ")"
//! op        = "+" | "-" | "*" | "/" | "%" | "^"
//! ```
//! A comma may follow any item; two fields on one line need one. No item starts with `[`, `(` or `-`, so an expression goes on over
//! line ends. Precedence, from the tightest: call and index, `^` (right-associative, a unary minus may follow it), unary `-`,
//! `* / %`, `+ -`. Chains of `+ -` and of `* / %` are flat in the tree: their length is no depth.

pub mod ast;
mod context;
mod dump;
mod format;
mod lexer;
mod limits;
mod parser;
mod token;

pub use context::{Block, Context, context_at, keyword_at, keywords};
pub use dump::{dump_json, dump_text};
pub use format::format;
pub use lexer::tokens;
pub use limits::{MAX_DEPTH, MAX_FILE_BYTES};
pub use parser::{Parsed, parse};
