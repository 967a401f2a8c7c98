// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether `precision = fast` does what it says: what is coarser and by how much.
//!
//! In: an engine. Out: a panic where a fast operator is not coarser than the standard one, or coarser than it may be.

use attnc::{Inputs, Outcome, Signature};
use attnc_spec::{Operator, Precision};
use attnc_tensor::DType;

use crate::engines::Engine;
use crate::operators::odd_segments;
use crate::random::Case;

/// Runs operators at both precisions. Both obey their bounds; their bits differ. Where weights are f32, the error of lse, which is f32 too,
/// tells the exponential: that of f16 is 7.5e-5, that of bf16 1.73e-3. Weights that are rounded to bf16 are less telling.
///
/// # Panics
/// Where it is otherwise.
pub fn weights_are_coarser(engine: &Engine) {
    for (dtype, most) in [(DType::F16, 7.5e-5), (DType::Bf16, 1.73e-3)] {
        for causal in [false, true] {
            let made = [Precision::Standard, Precision::Fast].map(|precision| {
                let c = Case {
                    op: Operator {
                        precision,
                        ..odd_segments(16, dtype, causal)
                    },
                    batch: 1,
                    seq_len: 150,
                    seed: 3,
                };
                let x = Inputs::generate(&Signature::from(&c.op), 1, c.seq_len as u64, c.seed);
                let x = x.expect("small");
                let got = engine.run(&c, &x).unwrap_or_else(|e| panic!("{e}"));
                let judged = engine.judge(&c, &x, &got);
                let verdict = judged.unwrap_or_else(|e| panic!("{e}")).verdict;
                println!("{} {dtype} {causal} {verdict:?}", engine.target);
                (got, verdict.lse_error)
            });
            let [(standard, exact), (fast, coarse)] = made;
            let bits = |x: &Outcome| [x.out.bytes(), x.lse.bytes()].concat();
            let what = format!("{engine:?} {dtype} causal {causal}: {exact:e} and {coarse:e}");
            assert!(bits(&standard) != bits(&fast), "{what}: the same");
            // Causal, the first row has one key, and with it the error of 1; other rows have the mean of many.
            let least = if causal { most / 8.0 } else { 4.0 * exact };
            let rounded = exact > 1e-5;
            assert!(rounded || coarse < most && coarse > least, "{what}");
        }
    }
}
