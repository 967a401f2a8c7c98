// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The claims of `step` over packed bf16 panels: products of pairs, by 512-bit vectors (`pairs`) or by matrix tiles (`tiles`).
//!
//! In: the parameters of the tile function. Out: machine code with the same parameters. Lanes are queries, as in f32, and the layouts
//! serve both engines: a row of K holds pairs of neighbouring elements d, a row of V^T pairs of neighbouring keys, so that
//! S^T = K Q^T and O^T = V^T P^T only need the other operand as rows of pairs by lanes. Q is packed so at entry; P is made so, for two
//! rows of scores merge lane by lane into one row of pairs.
//!
//! Lanes go in groups of a few vectors, keys in blocks of 64, the last one of 32 where that is enough. A block is five passes over one
//! buffer of scores and one of weights, small enough to stay in the first-level cache:
//!
//! 1. `scores`: S = K Q^T (engine);
//! 2. `hide`: scores of keys that are not there, or behind their query, become -inf;
//! 3. `raise`: the reference exponent follows the largest weighted score, but only when it lags more than [`softmax::LAG`] behind it, so
//!    that l and O are rarely touched: states that differ in m only are equal;
//! 4. `weights`: P = exp(s - m) rounded to bf16, l += sum of the rounded (`exponential`);
//! 5. `values`: O += V^T P^T (engine).
//!
//! Where columns of tiles go in antiphase (`columns`), 3 comes after 4, and only where 4 has found that it must.

mod columns;
mod exponential;
mod pairs;
mod softmax;
mod tiles;

use attnc_tile::core::Accuracy;
use attnc_tile::step::{Extents, PAIR_LANES, PAIRS, Parameters};
use iced_x86::IcedError;
use iced_x86::code_asm::{
    AsmRegister64, qword_ptr, r8, r9, r10, r11, r12, r13, r14, r15, rax, rbp, rbx, rcx, rdi, rdx,
    rsi, rsp,
};

use super::asm::{Asm, V, Width, at};
use super::exp2::Exp2;
use super::frame::{self, COUNTS, KPOS, LIVE_K, LIVE_Q, QPOS, TEMPS};
use exponential::Exponential;
use softmax::Columns;

// Registers of the body. m, l, o, the packed queries and the counts advance from group to group, keys and values from block to block.
const M: AsmRegister64 = rdi;
const L: AsmRegister64 = rsi;
const O: AsmRegister64 = rdx;
const Q: AsmRegister64 = rcx;
const K: AsmRegister64 = r8;
const VALUES: AsmRegister64 = r9;
const WEIGHTS: AsmRegister64 = rbx;
const SCORES: AsmRegister64 = rbp;
/// Keys from this block on.
const LEFT: AsmRegister64 = r12;
const SCRATCH: AsmRegister64 = r15;
// What passes use as they like: RAX, R10, R11, R13, R14.

// Own stack slots: where keys and values begin, the positions of a block's keys, a counter.
const FIRST_KEY: i32 = 0;
const FIRST_VALUE: i32 = 8;
const POSITIONS: i32 = 16;
const COUNTER: i32 = 24;

/// Lanes of a vector.
pub(crate) const LANES: u32 = PAIR_LANES;
/// Keys of a block.
const BLOCK: u32 = 64;
/// Keys of the last block where they are enough; elements of a matrix tile's row.
pub(crate) const KEY_STEP: u32 = PAIRS;
/// What multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// AVX512-BF16: groups of three vectors.
    Pairs,
    /// AMX: groups of two vectors, which are the columns of two matrix tiles.
    Tiles,
}

impl Engine {
    /// Vectors of a group.
    fn vectors(self) -> u8 {
        match self {
            Engine::Pairs => 3,
            Engine::Tiles => 2,
        }
    }

    /// How it comes by weights: by what its processors have.
    fn exponential(self, weights: Accuracy) -> Exponential {
        match self {
            Engine::Pairs => Exponential::polynomial(weights),
            Engine::Tiles => Exponential::table(weights),
        }
    }
}

/// The memory of a claim, in bytes from the beginning of the function's temporaries, which only the portable body uses as such.
struct Room {
    /// Behind the scores.
    weights: i32,
    /// The tiles' configuration, then constants.
    scratch: i32,
    queries: i32,
    end: i32,
}

const CONFIGURATION: i32 = 0;
const CONSTANTS: i32 = 64;
const SCRATCH_BYTES: i32 = 1024;

impl Room {
    fn of(e: Extents, engine: Engine) -> Room {
        let row = row(engine);
        let weights = BLOCK as i32 * row;
        let scratch = weights + BLOCK as i32 / 2 * row;
        let queries = scratch + SCRATCH_BYTES;
        Room {
            weights,
            scratch,
            queries,
            end: queries + (pitch(e) * e.mq * 2) as i32,
        }
    }
}

/// Bytes of `s`, `vis` and `pv`.
fn temporaries(e: Extents) -> u32 {
    (2 * e.nk + e.head_dim) * e.mq * 4
}

/// Bytes of a row of scores, and of a row of pairs of weights.
fn row(engine: Engine) -> i32 {
    i32::from(engine.vectors()) * 64
}

/// Elements from one row of packed keys to the next.
fn pitch(e: Extents) -> u32 {
    e.head_dim.next_multiple_of(KEY_STEP)
}

/// Whether there is a claim. The temporaries `s`, `vis` and `pv` then have room for [`Room`].
pub(crate) fn claims(p: &Parameters) -> bool {
    p.extents.suits_pairs()
}

/// One claim under construction.
struct Step<'p> {
    p: &'p Parameters,
    engine: Engine,
    asm: Asm,
    exp2: Exp2,
    exponential: Exponential,
    /// Where constants go on behind those of exp2, from SCRATCH on.
    constants: i32,
    room: Room,
    /// Bytes from one row of lanes to the next: queries and outputs.
    lanes: i32,
    /// The same in the buffers of scores and weights.
    row: i32,
}

/// The code, and the offset in it of the 32-bit distance to the portable body.
///
/// # Errors
/// An instruction that does not exist: a bug of ours.
pub(crate) fn emit(p: &Parameters, engine: Engine) -> Result<(Vec<u8>, u32), IcedError> {
    frame::with_guard(body(p, engine)?)
}

fn body(p: &Parameters, engine: Engine) -> Result<Vec<u8>, IcedError> {
    let mut asm = Asm::new(Width::Zmm)?;
    let room = Room::of(p.extents, engine);
    debug_assert!(room.end as u32 <= temporaries(p.extents));
    frame::enter(&mut asm);
    asm.scalar(|a| {
        a.mov(SCORES, qword_ptr(rsp + TEMPS))?;
        a.lea(SCRATCH, at(SCORES, room.scratch))?;
        a.mov(WEIGHTS, qword_ptr(rsp + COUNTS))?;
        a.mov(qword_ptr(rsp + FIRST_KEY), K)?;
        a.mov(qword_ptr(rsp + FIRST_VALUE), VALUES)
    });
    let (exp2, constants) = Exp2::write(&mut asm, !p.softmax.base2, (SCRATCH, CONSTANTS));
    let mut s = Step {
        p,
        engine,
        asm,
        exp2,
        exponential: engine.exponential(p.softmax.weights),
        constants,
        room,
        lanes: p.extents.mq as i32 * 4,
        row: row(engine),
    };
    if engine == Engine::Tiles {
        s.configure();
    }
    if s.exponential.keeps() {
        s.load_constants();
    }
    s.pack();
    s.groups()?;
    if engine == Engine::Tiles {
        // The host finds its tiles as it left them: none.
        s.asm.scalar(|a| a.tilerelease());
    }
    frame::leave(&mut s.asm);
    s.asm.finish()
}

impl Step<'_> {
    /// Queries as rows of pairs, a row two elements of a head, up to the pitch of keys. They hold numbers of bf16 only: the halves that
    /// are cut off are zeros.
    fn pack(&mut self) {
        let (dim, lanes) = (self.p.extents.head_dim as i32, self.lanes);
        let (from, to, groups, count) = (r10, r14, r11, r13);
        let (even, odd) = (V(0), V(1));
        let queries = self.room.queries;
        self.asm.scalar(|a| {
            a.mov(from, Q)?;
            a.lea(to, at(SCORES, queries))?;
            a.mov(Q, to)?;
            a.mov(groups, qword_ptr(rsp + LIVE_Q))?;
            a.add(groups, LANES as i32 - 1)?;
            a.shr(groups, LANES.trailing_zeros())
        });
        let rows = pitch(self.p.extents) as i32 / 2;
        self.asm.repeat(groups, |asm| {
            if dim > 1 {
                asm.scalar(|a| a.mov(count, i64::from(dim / 2)));
                asm.repeat(count, |asm| {
                    asm.load(even, at(from, 0));
                    asm.load(odd, at(from, lanes));
                    asm.merge_pair(even, odd);
                    asm.store(at(to, 0), odd);
                    asm.scalar(|a| {
                        a.add(from, 2 * lanes)?;
                        a.add(to, lanes)
                    });
                });
            }
            asm.zero(odd);
            if dim % 2 == 1 {
                asm.load(even, at(from, 0));
                asm.merge_pair(even, odd);
                asm.store(at(to, 0), odd);
                asm.zero(odd);
            }
            for i in dim % 2..rows - dim / 2 {
                asm.store(at(to, i * lanes), odd);
            }
            asm.scalar(|a| {
                a.sub(from, dim / 2 * 2 * lanes - 64)?;
                a.sub(to, dim / 2 * lanes - 64)
            });
        });
    }

    /// Lanes in groups of as many vectors as the engine takes, the last one in as many as it needs.
    fn groups(&mut self) -> Result<(), IcedError> {
        let most = self.engine.vectors();
        let (mut top, mut done) = (self.asm.label(), self.asm.label());
        let mut fewer: Vec<_> = (1..most).map(|_| self.asm.label()).collect();
        self.asm.bind(&mut top);
        for (n, label) in (1..).zip(&fewer) {
            self.asm.scalar(|a| {
                a.cmp(qword_ptr(rsp + LIVE_Q), n * LANES as i32)?;
                a.jle(*label)
            });
        }
        self.group(most)?;
        let bytes = i32::from(most) * 64;
        self.asm.scalar(|a| {
            for r in [M, L, O, Q, WEIGHTS] {
                a.add(r, bytes)?;
            }
            a.add(qword_ptr(rsp + QPOS), 2 * bytes)?;
            a.sub(qword_ptr(rsp + LIVE_Q), i32::from(most) * LANES as i32)?;
            a.jg(top)?;
            a.jmp(done)
        });
        for (n, label) in (1..).zip(&mut fewer) {
            self.asm.bind(label);
            self.group(n)?;
            self.asm.scalar(|a| a.jmp(done));
        }
        self.asm.bind(&mut done);
        Ok(())
    }

    /// A group of `n` vectors: all keys in blocks.
    fn group(&mut self, n: u8) -> Result<(), IcedError> {
        let [mut top, mut last, mut done] = std::array::from_fn(|_| self.asm.label());
        self.asm.scalar(|a| {
            a.mov(K, qword_ptr(rsp + FIRST_KEY))?;
            a.mov(VALUES, qword_ptr(rsp + FIRST_VALUE))?;
            a.mov(rax, qword_ptr(rsp + KPOS))?;
            a.mov(qword_ptr(rsp + POSITIONS), rax)?;
            a.mov(LEFT, qword_ptr(rsp + LIVE_K))
        });
        if self.antiphase(n) {
            self.columns(last, done)?;
        } else {
            self.asm.bind(&mut top);
            self.asm.scalar(|a| {
                a.cmp(LEFT, KEY_STEP as i32)?;
                a.jle(last)
            });
            self.block(n, BLOCK);
            self.next_block();
            self.asm.scalar(|a| {
                a.jg(top)?;
                a.jmp(done)
            });
        }
        self.asm.bind(&mut last);
        self.block(n, KEY_STEP);
        self.asm.bind(&mut done);
        Ok(())
    }

    /// Goes on to the next block: keys, values, positions; the flags say whether keys are left.
    fn next_block(&mut self) {
        let keys = BLOCK as i32 * pitch(self.p.extents) as i32 * 2;
        self.asm.scalar(|a| {
            a.add(K, keys)?;
            a.add(VALUES, BLOCK as i32 * 2)?;
            a.add(qword_ptr(rsp + POSITIONS), BLOCK as i32 * 8)?;
            a.sub(LEFT, BLOCK as i32)
        });
    }

    /// A block of `keys` keys for `n` vectors of lanes.
    fn block(&mut self, n: u8, keys: u32) {
        match self.engine {
            Engine::Pairs => self.scores_by_pairs(n, keys),
            Engine::Tiles => self.scores_by_tiles(n, keys),
        }
        let columns = Columns::all(n);
        self.hide(columns, keys);
        self.raise(columns, keys);
        self.weights(columns, keys);
        match self.engine {
            Engine::Pairs => self.values_by_pairs(n, keys),
            Engine::Tiles => self.values_by_tiles(n, keys),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attnc_tile::step::Panels;

    #[test]
    fn a_claim_has_room_in_the_temporaries() {
        let mut claimed = 0;
        for engine in [Engine::Pairs, Engine::Tiles] {
            for (mq, nk) in (1..=16).flat_map(|q| (1..=16).map(move |k| (q * 16, k * 32))) {
                for head_dim in 1..=256 {
                    let panels = Panels::Half;
                    let e = Extents {
                        mq,
                        nk,
                        head_dim,
                        panels,
                    };
                    let temporaries = (2 * nk + head_dim) * mq * 4;
                    if e.suits_pairs() {
                        claimed += 1;
                        assert!(
                            Room::of(e, engine).end as u32 <= temporaries,
                            "{engine:?} {e:?}"
                        );
                    }
                }
            }
        }
        assert!(claimed > 100_000, "{claimed}");
    }
}
