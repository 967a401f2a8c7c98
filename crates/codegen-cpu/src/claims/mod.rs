// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Claims: tile functions and moves that a level replaces whole by assembled code.
//!
//! In: a level and a tile function. Out: the bytes, where the level claims the function. A claim has the parameters of the function it
//! replaces, and may go on in the portable body where its case is not worth code of its own.

mod asm;
mod columns;
mod exp2;
mod fill;
mod floats;
mod frame;
mod half;
mod log2;
mod maps;
mod narrow;
mod rows;
mod step;
mod transposed;
mod watch;

use attnc_tensor::DType;
use attnc_tile::core::{Core, Layout, Lie, TileFn};
use attnc_tile::step::{Panels, Parameters, recognise};
use iced_x86::IcedError;

use crate::moves::Move;
use crate::panels::careful_from;
use crate::target::Level;
use asm::Width;
use half::Engine;

/// Machine code in place of a tile function.
pub(crate) struct Claim {
    pub(crate) bytes: Vec<u8>,
    /// Where the 32-bit distance to the portable body stands, to be filled in by the linker; none where the claim does all itself.
    pub(crate) portable: Option<u32>,
    /// Lanes and keys are computed in multiples of these.
    pub(crate) steps: (u32, u32),
}

/// The claim of `f`, a function of `core`, at `level`.
///
/// # Errors
/// An instruction that does not exist: a bug of ours.
pub(crate) fn of(level: Level, f: &TileFn, core: &Core) -> Result<Option<Claim>, IcedError> {
    let Some(width) = width(level) else {
        return Ok(None);
    };
    if let Some(bytes) = maps::emit(f, width)? {
        return Ok(Some(Claim {
            bytes,
            portable: None,
            steps: (width.lanes(), core.key_step),
        }));
    }
    let Some(p) = recognise(f) else {
        return Ok(None);
    };
    match p.extents.panels {
        Panels::Float => of_floats(width, &p, core.key_step),
        Panels::Half if core.dtype == DType::Bf16 => of_pairs(level, &p, core.key_step),
        Panels::Half => Ok(None),
    }
}

/// Over panels of f32.
fn of_floats(width: Width, p: &Parameters, key_step: u32) -> Result<Option<Claim>, IcedError> {
    if !key_step.is_multiple_of(step::KEY_STEP) || !step::claims(p, width) {
        return Ok(None);
    }
    let (bytes, portable) = step::emit(p, width)?;
    Ok(Some(Claim {
        bytes,
        portable: Some(portable),
        steps: (width.lanes(), step::rows(width)),
    }))
}

/// Over packed panels of bf16.
fn of_pairs(level: Level, p: &Parameters, key_step: u32) -> Result<Option<Claim>, IcedError> {
    let engine = match level {
        Level::Base | Level::Fma | Level::V3 | Level::V4 => return Ok(None),
        Level::V4Bf16 => Engine::Pairs,
        Level::Amx => Engine::Tiles,
    };
    if !key_step.is_multiple_of(half::KEY_STEP) || !half::claims(p) {
        return Ok(None);
    }
    let (bytes, portable) = half::emit(p, engine)?;
    Ok(Some(Claim {
        bytes,
        portable: Some(portable),
        steps: (half::LANES, half::KEY_STEP),
    }))
}

/// The code of the move `kind` of `core` at `level`, where the level has code of its own for it.
///
/// # Errors
/// An instruction that does not exist: a bug of ours.
pub(crate) fn of_move(level: Level, kind: Move, core: &Core) -> Result<Option<Vec<u8>>, IcedError> {
    let Some(vectors) = width(level) else {
        return Ok(None);
    };
    let limit = core.careful_above.to_bits().max(1);
    match kind {
        // Steps that are no power of two are those of 128-bit dots.
        Move::Gather { lie: Lie::Rows, .. } if !core.key_step.is_power_of_two() => Ok(None),
        Move::Gather {
            dtype,
            lie: Lie::Rows,
            width,
        } => {
            let x = rows::Rows {
                dtype,
                elements: width,
                step: core.key_step,
                limit,
            };
            rows::emit(x, vectors).map(Some)
        }
        Move::Gather {
            dtype,
            lie: Lie::Cols { stride },
            width,
        } => {
            let x = columns::Columns {
                dtype,
                elements: width,
                stride,
                limit,
            };
            columns::gather(x).map(Some)
        }
        Move::Keep {
            dtype,
            layout,
            width,
        } => of_panel(vectors, core, (dtype, layout, width)),
        Move::Scatter {
            dtype,
            lie: Lie::Cols { stride },
            width,
        } => {
            let x = columns::Columns {
                dtype,
                elements: width,
                stride,
                limit: 0,
            };
            columns::scatter(x).map(Some)
        }
        // Lanes of states are queries: no schedule scatters from rows, only a program written by hand can.
        Move::Scatter { lie: Lie::Rows, .. } => Ok(None),
        Move::Fill { dtype, width } => fill::emit(dtype, width, vectors).map(Some),
        Move::Floats(f) => floats::emit(f, vectors).map(Some),
    }
}

/// A gather that leaves 16-bit elements as they are.
fn of_panel(
    vectors: Width,
    core: &Core,
    (dtype, layout, elements): (DType, Layout, u32),
) -> Result<Option<Vec<u8>>, IcedError> {
    let step = core.key_step;
    // Schedules keep elements as they are for levels with products of bf16, which have 512 bits and steps of 32 keys; other levels and
    // steps meet such a program only where it was written by hand.
    if vectors != Width::Zmm || !step.is_power_of_two() || !step.is_multiple_of(transposed::KEYS) {
        return Ok(None);
    }
    let limit = careful_from(dtype, core.careful_above);
    let padded = |pitch| {
        rows::padded(rows::Padded {
            elements,
            pitch,
            step,
            limit,
        })
    };
    match layout {
        Layout::Row | Layout::St | Layout::Swz128 => padded(elements),
        Layout::Padded { pitch } => padded(pitch),
        Layout::Transposed { stride } => transposed::emit(transposed::Transposed {
            elements,
            stride,
            step,
            limit,
        }),
    }
    .map(Some)
}

/// The vectors of a level's claims.
fn width(level: Level) -> Option<Width> {
    match level {
        Level::Base | Level::Fma => None,
        Level::V3 => Some(Width::Ymm),
        Level::V4 | Level::V4Bf16 | Level::Amx => Some(Width::Zmm),
    }
}
