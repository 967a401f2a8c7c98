// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The content hash of an operator: one name for one meaning, whatever the text looked like.
//!
//! In: a checked operator. Out: SHA-256 of its canonical text. Layout, comments, names of `let` and `use`, loops and defaults are gone
//! by the time an operator is checked, so they cannot change the hash; each field of [`Operator`] does, in value rather than in spelling.
//! The operator's *name* is a field like any other: symbols, headers and file names carry it, so two operators that differ in their
//! names alone are different code. The order of branches counts too: it can decide the order in which partial results are summed,
//! and with it the last bits.
//!
//! The compiler's version is no part of it: who stores compiled code adds that to the key.

use std::fmt;
use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::Operator;

/// First line of the canonical text. Its number changes when the canonical text of any operator does.
const DOMAIN: &str = "attnc operator content 1\n";

/// SHA-256 of an operator's canonical text. Shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The 32 bytes of the hash.
    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

impl Operator {
    /// The text whose SHA-256 is [`Operator::content_hash`]: a line for the format, one for the name, one `FIELD=VALUE` for each field
    /// and one for each branch, in a fixed order, each ended by a line feed.
    pub fn canonical(&self) -> String {
        // Escaped, so that no name, checked or not, can pass for other lines.
        let mut out = format!("{DOMAIN}attention {}\n", self.name.escape_default());
        // Writing to a string cannot fail.
        for (name, value) in self.fields() {
            let _ = writeln!(out, "{name}={value}");
        }
        for branch in &self.branches {
            let _ = writeln!(out, "branch={},{}", branch.segment, branch.dilation);
        }
        out
    }

    /// The content hash: equal for two operators exactly when all their fields are.
    pub fn content_hash(&self) -> ContentHash {
        ContentHash(Sha256::digest(self.canonical()).into())
    }
}
