// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What moves and maps need of the emitter beside arithmetic: selection, exponents as integers, elements of tensors, transposition.
//!
//! In: calls in the order of the code. Out: instructions at the end of the function under assembly.

use attnc_tensor::DType;
use iced_x86::code_asm::{AsmMemoryOperand, eax, k1};

use super::{Asm, V, Width, xmm, ymm, zmm};

impl Asm {
    /// d = then where x compares so with y, else els. Writes `mask`, or K1.
    pub(crate) fn choose(
        &mut self,
        d: V,
        compare: i32,
        (x, y): (V, V),
        (then, els): (V, V),
        mask: V,
    ) {
        let wide = self.width;
        self.scalar(|a| match wide {
            Width::Ymm => {
                a.vcmpps(ymm(mask), ymm(x), ymm(y), compare)?;
                a.vblendvps(ymm(d), ymm(els), ymm(then), ymm(mask))
            }
            Width::Zmm => {
                a.vcmpps(k1, zmm(x), zmm(y), compare)?;
                a.vblendmps(zmm(d).k1(), zmm(els), zmm(then))
            }
        });
    }

    /// e = the exponents of x as integers, mantissas beginning at `root`.
    pub(crate) fn exponent(&mut self, e: V, x: V, root: V) {
        let wide = self.width;
        self.scalar(|a| match wide {
            Width::Ymm => {
                a.vpsubd(ymm(e), ymm(x), ymm(root))?;
                a.vpsrad(ymm(e), ymm(e), 23)
            }
            Width::Zmm => {
                a.vpsubd(zmm(e), zmm(x), zmm(root))?;
                a.vpsrad(zmm(e), zmm(e), 23)
            }
        });
    }

    /// d = integers e where a float keeps its exponent.
    pub(crate) fn shift_exponent(&mut self, d: V, e: V) {
        let wide = self.width;
        self.scalar(|a| match wide {
            Width::Ymm => a.vpslld(ymm(d), ymm(e), 23),
            Width::Zmm => a.vpslld(zmm(d), zmm(e), 23),
        });
    }

    /// d = x - y as integers.
    pub(crate) fn sub_int(&mut self, d: V, x: V, y: V) {
        let wide = self.width;
        self.scalar(|a| match wide {
            Width::Ymm => a.vpsubd(ymm(d), ymm(x), ymm(y)),
            Width::Zmm => a.vpsubd(zmm(d), zmm(x), zmm(y)),
        });
    }

    /// x = integers x as floats.
    pub(crate) fn float(&mut self, x: V) {
        let wide = self.width;
        self.scalar(|a| match wide {
            Width::Ymm => a.vcvtdq2ps(ymm(x), ymm(x)),
            Width::Zmm => a.vcvtdq2ps(zmm(x), zmm(x)),
        });
    }

    /// d = a vector of elements of `dtype` at `from`, as f32. What of f16 is a signalling NaN becomes a quiet one, as the first product
    /// with it would make it; the portable body leaves that to the product.
    pub(crate) fn widen(&mut self, dtype: DType, d: V, from: AsmMemoryOperand) {
        let wide = self.width;
        match dtype {
            DType::F32 => self.load(d, from),
            DType::Bf16 => self.scalar(|a| match wide {
                Width::Ymm => {
                    a.vpmovzxwd(ymm(d), from)?;
                    a.vpslld(ymm(d), ymm(d), 16)
                }
                Width::Zmm => {
                    a.vpmovzxwd(zmm(d), from)?;
                    a.vpslld(zmm(d), zmm(d), 16)
                }
            }),
            DType::F16 => self.scalar(|a| match wide {
                Width::Ymm => a.vcvtph2ps(ymm(d), from),
                Width::Zmm => a.vcvtph2ps(zmm(d), from),
            }),
        }
    }

    /// The lowest lane of d = the element of `dtype` at `from`, as f32; the others 0.
    pub(crate) fn widen_one(&mut self, dtype: DType, d: V, from: AsmMemoryOperand) {
        let d = xmm(d);
        self.scalar(|a| match dtype {
            DType::F32 => a.vmovss(d, from),
            // A word into the upper half of the lane.
            DType::Bf16 => {
                a.vpxor(d, d, d)?;
                a.vpinsrw(d, d, from, 1)
            }
            DType::F16 => {
                a.vpxor(d, d, d)?;
                a.vpinsrw(d, d, from, 0)?;
                a.vcvtph2ps(d, d)
            }
        });
    }

    /// Stores the lowest lane.
    pub(crate) fn store_one(&mut self, to: AsmMemoryOperand, x: V) {
        self.scalar(|a| a.vmovss(to, xmm(x)));
    }

    /// The transposition of 8 x 8 words in every 128 bits (512 bits): eight vectors from `from` on, whose columns come to stand from `to`
    /// on. Writes both.
    pub(crate) fn transpose_words(&mut self, from: u8, to: u8) {
        let at = |first: u8, i: usize| zmm(V(first + i as u8));
        self.scalar(|a| {
            for i in 0..4 {
                let (x, y) = (at(from, 2 * i), at(from, 2 * i + 1));
                a.vpunpcklwd(at(to, i), x, y)?;
                a.vpunpckhwd(at(to, 4 + i), x, y)?;
            }
            // Each half: columns 0 to 3, then 4 to 7; of rows 0 to 3, then 4 to 7.
            for half in [0, 4] {
                for rows in [0, 2] {
                    let (x, y) = (at(to, half + rows), at(to, half + rows + 1));
                    a.vpunpckldq(at(from, half + rows), x, y)?;
                    a.vpunpckhdq(at(from, half + rows + 1), x, y)?;
                }
            }
            for half in [0, 4] {
                for pair in [0, 1] {
                    let (x, y) = (at(from, half + pair), at(from, half + pair + 2));
                    a.vpunpcklqdq(at(to, half + 2 * pair), x, y)?;
                    a.vpunpckhqdq(at(to, half + 2 * pair + 1), x, y)?;
                }
            }
            Ok(())
        });
    }

    /// The transposition of eight vectors of 8 lanes, which stand in registers 0 to 7: where its rows stand. Writes `spare` (256 bits).
    pub(crate) fn transpose(&mut self, spare: V) -> [V; 8] {
        let mut free = spare;
        // (x, y) = (low, high) parts of both by one of three instructions, one of them in the register that is free.
        let mut mix = |asm: &mut Asm, at: &mut [V; 8], i: usize, j: usize, kind: usize| {
            let (x, y, z) = (ymm(at[i]), ymm(at[j]), ymm(free));
            asm.scalar(|a| match kind {
                0 => {
                    a.vunpcklps(z, x, y)?;
                    a.vunpckhps(x, x, y)
                }
                1 => {
                    a.vunpcklpd(z, x, y)?;
                    a.vunpckhpd(x, x, y)
                }
                _ => {
                    a.vperm2f128(z, x, y, 0x20)?;
                    a.vperm2f128(x, x, y, 0x31)
                }
            });
            let (low, high) = (free, at[i]);
            free = at[j];
            (at[i], at[j]) = (low, high);
        };
        let mut at: [V; 8] = std::array::from_fn(|i| V(i as u8));
        // Bit by bit the number of the row changes places with that of the lane.
        for (kind, by) in [(0, 1), (1, 2), (2, 4)] {
            for i in (0..8).filter(|i| i & by == 0) {
                mix(self, &mut at, i, i + by, kind);
            }
        }
        // The first two steps leave bits 0 and 1 of the numbers exchanged.
        [0, 2, 1, 3, 4, 6, 5, 7].map(|i| at[i])
    }

    /// most = max(most, x), words as signed integers.
    pub(crate) fn most_words(&mut self, most: V, x: V) {
        let wide = self.width;
        self.scalar(|a| match wide {
            Width::Ymm => a.vpmaxsw(ymm(most), ymm(most), ymm(x)),
            Width::Zmm => a.vpmaxsw(zmm(most), zmm(most), zmm(x)),
        });
    }

    /// Clears ZF if any word of `x` is above that of `limit`, as signed integers; else sets it. Writes `limit` and EAX, or K1.
    pub(crate) fn any_word_above(&mut self, x: V, limit: V) {
        let wide = self.width;
        self.scalar(|a| match wide {
            Width::Ymm => {
                a.vpcmpgtw(ymm(limit), ymm(x), ymm(limit))?;
                a.vpmovmskb(eax, ymm(limit))?;
                a.test(eax, eax)
            }
            Width::Zmm => {
                a.vpcmpgtw(k1, zmm(x), zmm(limit))?;
                a.kortestd(k1, k1)
            }
        });
    }

    /// most = max(most, x), lanes as unsigned integers.
    pub(crate) fn most_bits(&mut self, most: V, x: V) {
        let r = match self.width {
            Width::Ymm => self.a.vpmaxud(ymm(most), ymm(most), ymm(x)),
            Width::Zmm => self.a.vpmaxud(zmm(most), zmm(most), zmm(x)),
        };
        self.keep(r);
    }

    /// Clears ZF if any lane of `x` is above that of `limit`, as signed integers; else sets it. Writes `limit` and EAX, or K1.
    pub(crate) fn any_above(&mut self, x: V, limit: V) {
        let wide = self.width;
        self.scalar(|a| match wide {
            Width::Ymm => {
                a.vpcmpgtd(ymm(limit), ymm(x), ymm(limit))?;
                a.vmovmskps(eax, ymm(limit))?;
                a.test(eax, eax)
            }
            Width::Zmm => {
                a.vpcmpgtd(k1, zmm(x), zmm(limit))?;
                a.kortestw(k1, k1)
            }
        });
    }
}
