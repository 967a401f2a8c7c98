// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interpreter of the very program that machine code is made from, as a backend.
//!
//! In: a tile program. Out: an engine that serves every B and N. Slow: for small sizes and for trust.

use attnc_tile::core::Core;

use crate::call::Call;
use crate::engine::{Engine, EngineError, Executed};
use crate::kernel::{chunk, chunk_starts};
use crate::signature::Signature;
use crate::tune::Tuning;
use crate::views::copy_into;

/// The interpreter of the tile program.
#[derive(Debug)]
pub(crate) struct TileEngine {
    signature: Signature,
    notes: Vec<String>,
    tuning: Tuning,
    core: Core,
}

impl TileEngine {
    pub(crate) fn new(signature: Signature, core: Core, notes: Vec<String>) -> TileEngine {
        TileEngine {
            signature,
            notes,
            tuning: Tuning::Off,
            core,
        }
    }

    /// What a tune file had to do with it.
    pub(crate) fn tuned(self, tuning: Tuning) -> TileEngine {
        TileEngine { tuning, ..self }
    }
}

impl Engine for TileEngine {
    fn target(&self) -> &str {
        &self.core.target
    }
    fn notes(&self) -> &[String] {
        &self.notes
    }
    fn kernel(&self) -> &str {
        "interpreted"
    }
    fn boundaries(&self, seq_len: u64) -> Vec<u64> {
        chunk_starts(chunk(&self.core), seq_len)
    }
    fn tuning(&self) -> &Tuning {
        &self.tuning
    }
    fn forward(&self, mut call: Call<'_>) -> Result<Executed, EngineError> {
        call.check(&self.signature)?;
        let threads = u32::try_from(call.workers.width()).unwrap_or(u32::MAX);
        let got = attnc_interp::tile::run(&self.core, &call.q, &call.k, &call.v, threads)?;
        copy_into(&mut call.out, &got.out);
        if let Some(lse) = &mut call.lse {
            copy_into(lse, &got.lse);
        }
        call.tell(call.rows());
        Ok(Executed {
            madds: u128::from(got.madds_executed),
            peak_extra_bytes: self.core.bufs.iter().map(|b| self.core.bytes(b)).sum(),
            workers: Vec::new(),
        })
    }
}
