// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs that have the moves of one head dimension, at one level.
//!
//! In: a level and a dtype. Out: programs, the names of their moves, and what the level makes of elements.

use attnc_codegen_cpu::{CpuTarget, Detect, Level, Part, Program, compile_parts};
use attnc_tensor::DType;
use attnc_tests::bochs::{HASWELL, Processor, SAPPHIRE_RAPIDS, SAPPHIRE_RAPIDS_TILES, SKYLAKE_X};
use attnc_tile::parse;
use half::{bf16, f16};

/// Lanes of a tile whose rows lie in columns; keys of a panel.
pub(crate) const LANES: usize = 48;
pub(crate) const KEYS: usize = 64;
/// From this magnitude on an element raises the flag; a number of every dtype.
pub(crate) const CAREFUL: f32 = 1000.0;
/// What stands in a tile before.
pub(crate) const OLD: u8 = 0xff;

/// Programs of one level.
#[derive(Clone, Copy)]
pub(crate) struct Made {
    pub(crate) level: Level,
    pub(crate) target: CpuTarget,
    pub(crate) processor: Processor,
    /// Whether panels keep elements as they are.
    pub(crate) half: bool,
    pub(crate) dtype: DType,
}

pub(crate) const V3: Made = Made {
    level: Level::V3,
    target: CpuTarget::X86_64V3,
    processor: HASWELL,
    half: false,
    dtype: DType::F16,
};
pub(crate) const V4: Made = Made {
    level: Level::V4,
    target: CpuTarget::X86_64V4,
    processor: SKYLAKE_X,
    ..V3
};
pub(crate) const PAIRS: Made = Made {
    level: Level::V4Bf16,
    processor: SAPPHIRE_RAPIDS,
    half: true,
    dtype: DType::Bf16,
    ..V4
};
pub(crate) const TILES: Made = Made {
    level: Level::Amx,
    target: CpuTarget::X86_64Amx,
    processor: SAPPHIRE_RAPIDS_TILES,
    ..PAIRS
};
/// No move is claimed here.
pub(crate) const PORTABLE: Made = Made {
    level: Level::Fma,
    target: CpuTarget::X86_64,
    ..V3
};

impl Made {
    pub(crate) fn claims(self) -> bool {
        self.level > Level::Fma
    }

    /// Elements from one row of a padded panel to the next: as schedules have it, with a vector of zeros more, with none, with an odd
    /// number of them.
    pub(crate) fn pitch(d: usize) -> usize {
        let whole = d.next_multiple_of(32);
        [whole, whole + 32, d, d + 5][d % 4]
    }

    /// A program that has the moves of head dimension `d`.
    pub(crate) fn program(self, d: usize) -> Program {
        let (pitch, step) = (Made::pitch(d), if self.half { 32 } else { 8 });
        let (buffers, moves) = if self.half {
            let buffers = format!(
                "alloc work data padded {pitch}: k[{}]
                alloc work data transposed {KEYS}: v[{}]",
                KEYS * pitch,
                KEYS * d
            );
            (
                buffers,
                "gather k[0] rows = k(0, 0) at list[0] live 1 flag care[0]
                gather v[0] rows = v(0, 0) at list[0] live 1 flag care[0]"
                    .to_string(),
            )
        } else {
            let buffers = format!(
                "alloc work f32 st: k[{}], q[{}], t[{LANES}]",
                KEYS * d,
                LANES * d
            );
            (
                buffers,
                format!(
                    "gather k[0] rows = k(0, 0) at list[0] live 1 flag care[0]
                    gather q[0] cols {LANES} = q(0, 0) at list[0] live 1 flag care[0]
                    scatter out(0, 0) at list[0] live 1 = q[0] cols {LANES}
                    fill out(0, 0) at list[0] live 1 = 0.0
                    floats t[0] = float list[0] live 1
                    floats t[0] = log2 list[0] live 1
                    floats t[0] = ln list[0] live 1"
                ),
            )
        };
        let text = format!(
            "tile 2 moves_{d} target x86_64
            heads 1, kv_heads 1, head_dim {d}, dtype {}, causal false, key_step {step}, careful_above {CAREFUL:?}
            alloc work i64 row: list[{KEYS}] in 0..=N-1, care[1] in 0..=1
            {buffers}
            plan {{ tasks 1 }}
            enter {{ }}
            body {{
              {moves}
            }}",
            self.dtype
        );
        let core = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let part = Part {
            core: &core,
            target: self.target,
            levels: &[self.level],
        };
        compile_parts(&[part], Detect::Trusted).expect("code")
    }

    pub(crate) fn name(self, d: usize, kind: &str) -> String {
        let claim = if self.claims() { ".claim" } else { "" };
        format!("attnc_moves_{d}.{}.{kind}{claim}", self.level.name())
    }

    /// The f32 bits of an element. The portable body copies what a NaN of f16 carries; the processor's conversion makes it quiet, too.
    pub(crate) fn widened(self, bits: u32) -> u32 {
        match self.dtype {
            DType::F32 => bits,
            DType::Bf16 => bits << 16,
            DType::F16 if f16::from_bits(bits as u16).is_nan() => {
                let quiet = u32::from(self.claims()) << 22;
                ((bits & 0x8000) << 16) | 0x7f80_0000 | ((bits & 0x3ff) << 13) | quiet
            }
            DType::F16 => f16::from_bits(bits as u16).to_f32().to_bits(),
        }
    }

    /// The nearest element.
    pub(crate) fn narrowed(self, bits: u32) -> u32 {
        let x = f32::from_bits(bits);
        match self.dtype {
            DType::F32 => bits,
            DType::Bf16 if x.is_nan() => (bits >> 16) | 0x40,
            DType::Bf16 => u32::from(bf16::from_f32(x).to_bits()),
            DType::F16 if x.is_nan() => ((bits >> 16) & 0x8000) | 0x7e00,
            DType::F16 => u32::from(f16::from_f32(x).to_bits()),
        }
    }

    pub(crate) fn put(self, bytes: &mut [u8], at: usize, bits: u32) {
        let size = self.dtype.bytes();
        bytes[at * size..][..size].copy_from_slice(&bits.to_le_bytes()[..size]);
    }

    /// An element of any bits.
    pub(crate) fn narrowed_any(self, bits: u32) -> u32 {
        match self.dtype {
            DType::F32 => bits,
            DType::Bf16 | DType::F16 => bits >> 16,
        }
    }
}
