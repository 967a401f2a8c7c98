// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One tile function in a guest, on tiles of the caller's: claims and the portable bodies that they replace.
//!
//! In: the program that holds it, its name there, tiles and scalars. Out: the tiles behind it.

use attnc_codegen_cpu::Program;

use super::Processor;
use super::image::{Arg, Image, Stopped};

/// Calls `name` with `tiles` (as bytes, all of every tile) and `scalars`, in the order of the function's text. Temporaries hold NaN
/// before.
///
/// # Errors
/// What the processor refused; writes beside the tiles.
pub fn tile_function(
    program: &Program,
    name: &str,
    tiles: &[Vec<u8>],
    scalars: &[i64],
    p: &Processor,
) -> Result<Vec<Vec<u8>>, Stopped> {
    let mut image = Image::of(program);
    let buffers: Vec<_> = tiles.iter().map(|t| image.buffer(t, 64)).collect();
    let layout = program.layout();
    let temps = layout.workspace_bytes - layout.temps as usize;
    let temps = image.buffer(&vec![0xff; temps], 64);
    let mut args: Vec<Arg> = buffers.iter().map(|b| Arg::At(*b)).collect();
    args.extend(scalars.iter().map(|x| Arg::Int(*x)));
    args.push(Arg::At(temps));
    image.call(name, &args);
    let ran = image.run(p)?;
    Ok(buffers.iter().map(|b| ran.bytes(*b).to_vec()).collect())
}
