// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The sizes of a schedule that may be chosen, and within which limits.
//!
//! In: a schedule, sizes from a search or a file. Out: the schedule with these sizes, or what is wrong with them. What passes here is
//! lowered without running into a size that makes no sense; whether the program is right is still the tile verifier's to say.

use attnc_tile::core::QUERY_STEP;
use attnc_tile::step::Panels;
use serde::{Deserialize, Serialize};

use crate::nest::{Nest, Schedule};

/// The fields of a [`Schedule`] that a search varies; the others belong to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Queries in a tile.
    pub mq: u32,
    /// Keys in a step.
    pub nk: u32,
    /// Keys in a packed panel.
    pub panel: u32,
    /// Rows of a task.
    pub chunk: u32,
    /// Rows whose states are live together.
    pub rows: u32,
    /// Panels that a worker holds at a time.
    pub slots: u32,
}

/// Largest values: far beyond what pays, and small enough that no sum of sizes overflows.
const MOST: Sizes = Sizes {
    mq: 1 << 9,
    nk: 1 << 10,
    panel: 1 << 13,
    chunk: 1 << 16,
    rows: 1 << 13,
    slots: 1 << 10,
};

/// Bytes that the panels and states of a worker may take.
const MOST_BYTES: u64 = 256 << 20;

/// Why a schedule cannot have some sizes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizesError {
    /// A size that is 0 or beyond its limit.
    #[error("{field} = {value} is not within 1 to {most}")]
    Range {
        /// Which.
        field: &'static str,
        /// Its value.
        value: u32,
        /// Its limit.
        most: u32,
    },
    /// A size that is no multiple of what it is made of.
    #[error("{field} = {value} is no multiple of {what} = {of}")]
    Multiple {
        /// Which.
        field: &'static str,
        /// Its value.
        value: u32,
        /// What it is made of.
        what: &'static str,
        /// How large that is.
        of: u32,
    },
    /// Kernels of pairs step through whole panels.
    #[error("panel = {panel} is not nk = {nk}: this target's kernels take a whole panel a step")]
    Whole {
        /// Keys in a panel.
        panel: u32,
        /// Keys in a step.
        nk: u32,
    },
    /// Memory of a worker beyond all caches.
    #[error(
        "panels and states would take {bytes} bytes a worker; at most {MOST_BYTES} are allowed"
    )]
    Memory {
        /// How much.
        bytes: u64,
    },
}

impl Schedule {
    /// The sizes that a search may vary.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            mq: self.mq,
            nk: self.nk,
            panel: self.panel,
            chunk: self.chunk,
            rows: self.rows,
            slots: self.slots,
        }
    }

    /// The same schedule with other sizes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn with_sizes(self, s: Sizes, nest: &Nest) -> Result<Schedule, SizesError> {
        let Sizes {
            mq,
            nk,
            panel,
            chunk,
            rows,
            slots,
        } = s;
        for (field, value, most) in [
            ("mq", mq, MOST.mq),
            ("nk", nk, MOST.nk),
            ("panel", panel, MOST.panel),
            ("chunk", chunk, MOST.chunk),
            ("rows", rows, MOST.rows),
            ("slots", slots, MOST.slots),
        ] {
            if value == 0 || value > most {
                return Err(SizesError::Range { field, value, most });
            }
        }
        for (field, value, what, of) in [
            ("mq", mq, "lanes", QUERY_STEP),
            ("nk", nk, "keys", self.key_step),
            ("panel", panel, "nk", nk),
            ("rows", rows, "mq", mq),
        ] {
            if !value.is_multiple_of(of) {
                return Err(SizesError::Multiple {
                    field,
                    value,
                    what,
                    of,
                });
            }
        }
        if self.panels == Panels::Half && panel != nk {
            return Err(SizesError::Whole { panel, nk });
        }
        // K and V of every slot; queries, states and their sums of a block of rows; states of a chunk.
        let vectors = 2 * u64::from(slots) * u64::from(panel) + 4 * u64::from(rows + chunk);
        let bytes = 4 * vectors * u64::from(nest.head_dim);
        if bytes > MOST_BYTES {
            return Err(SizesError::Memory { bytes });
        }
        Ok(Schedule {
            mq,
            nk,
            panel,
            chunk,
            rows,
            slots,
            ..self
        })
    }
}
