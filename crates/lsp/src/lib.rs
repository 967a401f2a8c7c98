// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What editors ask of `.attn` files: a language server that reads messages from one stream and writes to another.
//!
//! In: a stream of messages, a loader for files on disk. Out: answers; [`End`] says how it ended. The answers are those of `attnc_spec`
//! (`inspect`) and `attnc_syntax`; here they are put into the protocol's words. `transport` frames messages, `server` is the life of a
//! session, `documents` the texts that editors hold (they win over those on disk, also where other files use them), `position` the
//! protocol's lines and columns, `answers` one function a request. One thread: a file is resolved faster than it can be typed.

mod answers;
mod documents;
mod position;
mod server;
mod transport;

pub use server::{End, serve};
