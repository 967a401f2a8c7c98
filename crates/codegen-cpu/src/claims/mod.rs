// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Claims: tile functions that a level replaces whole by assembled code.
//!
//! In: a level and a tile function. Out: the bytes, where the level claims the function. A claim has the parameters of the function it
//! replaces, and may go on in the portable body where its case is not worth code of its own.

mod asm;
mod exp2;
mod frame;
mod step;

use attnc_tile::core::TileFn;
use attnc_tile::step::{Panels, Parameters, recognise};
use iced_x86::IcedError;

use crate::target::Level;
use asm::Width;

/// Machine code in place of a tile function.
pub(crate) struct Claim {
    pub(crate) bytes: Vec<u8>,
    /// Where the 32-bit distance to the portable body stands, to be filled in by the linker.
    pub(crate) portable: u32,
    /// Lanes and keys are computed in multiples of these.
    pub(crate) steps: (u32, u32),
}

/// The claim of `f` at `level`, in a program whose keys are padded to multiples of `key_step`.
///
/// # Errors
/// An instruction that does not exist: a bug of ours.
pub(crate) fn of(level: Level, f: &TileFn, key_step: u32) -> Result<Option<Claim>, IcedError> {
    let width = match level {
        Level::Base | Level::Fma => return Ok(None),
        Level::V3 => Width::Ymm,
        Level::V4 | Level::V4Bf16 | Level::Amx => Width::Zmm,
    };
    let fits = |p: &Parameters| {
        p.extents.panels == Panels::Float
            && key_step.is_multiple_of(step::KEY_STEP)
            && step::claims(p, width)
    };
    let Some(p) = recognise(f).filter(fits) else {
        return Ok(None);
    };
    let (bytes, portable) = step::emit(&p, width)?;
    Ok(Some(Claim {
        bytes,
        portable,
        steps: (width.lanes(), step::rows(width)),
    }))
}
