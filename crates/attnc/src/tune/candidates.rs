// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The schedules that a search looks at, the likely ones first.
//!
//! In: an operator, a target, a length, a seed. Out: plans and sizes within the limits of schedules, the default first, the others in the
//! order of the time model; equal predictions, and which of the far ones are taken, are decided by the seed. The same in every run.

use std::collections::BTreeSet;

use attnc_graph::OpGraph;
use attnc_schedule::Panels;
use attnc_spec::Operator;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::pipeline::{self, Choices, CompileError, Plan, Sizes};
use crate::tune::model::predict;

/// Meetings of tiles and panels counted for a prediction.
const MEETINGS: u64 = 1 << 12;
/// Combinations of more than two changes that are looked at for each plan.
const FAR: usize = 120;

/// A schedule to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// How branches are grouped.
    pub plan: Plan,
    /// The sizes.
    pub sizes: Sizes,
    /// What the time model says of it: only the order counts.
    pub predicted: f64,
}

impl Candidate {
    /// The choices of its compilation.
    pub fn choices(&self, target: &str) -> Choices {
        Choices {
            plan: self.plan,
            sizes: Some(self.sizes),
            ..Choices::new(target)
        }
    }
}

/// Values of one size beside the default.
fn options(target: &str, panels: Panels, s: Sizes) -> [Vec<u32>; 6] {
    let (mq, nk): (&[u32], &[u32]) = match (target, panels) {
        (_, Panels::Half) => (&[32, 48, 64, 96, 144, 192], &[64, 96, 128, 192, 256, 384]),
        ("x86_64-v4" | "x86_64-amx", _) => (&[32, 48, 64, 96, 144], &[32, 48, 64, 96, 128]),
        ("x86_64-v3", _) => (&[24, 32, 48, 72, 96], &[32, 48, 64, 96, 128]),
        _ => (&[16, 24, 32, 48, 64], &[40, 60, 80, 120, 160]),
    };
    let around = |x: u32| vec![x / 4, x / 2, x, x.saturating_mul(2), x.saturating_mul(4)];
    let mut mq = mq.to_vec();
    mq.push(s.mq);
    let mut nk = nk.to_vec();
    nk.push(s.nk);
    [
        mq,
        nk,
        around(s.panel),
        around(s.chunk),
        around(s.rows),
        around(s.slots),
    ]
}

/// Makes sizes fit each other: panels of whole steps (of one, where kernels take a panel a step), blocks of whole tiles.
fn fitted(panels: Panels, [mq, nk, panel, chunk, rows, slots]: [u32; 6]) -> Sizes {
    let whole = |x: u32, of: u32| (x / of.max(1)).max(1) * of.max(1);
    Sizes {
        mq,
        nk,
        panel: match panels {
            Panels::Half => nk,
            Panels::Float => whole(panel, nk),
        },
        chunk: chunk.max(1),
        rows: whole(rows, mq),
        slots: slots.max(1),
    }
}

/// The plans that differ, by name, each with its fused graph.
fn plans(op: &Operator, target: &str) -> Result<Vec<(Plan, OpGraph)>, CompileError> {
    let graph = pipeline::graph(op)?;
    let mut all: Vec<(Plan, OpGraph)> = Vec::new();
    for plan in [Plan::Auto, Plan::Share, Plan::Each] {
        let choices = Choices {
            plan,
            ..Choices::new(target)
        };
        let fused = pipeline::fuse(&graph, &choices)?.graph;
        if all.iter().all(|(_, other)| *other != fused) {
            all.push((plan, fused));
        }
    }
    Ok(all)
}

/// The default, then at most `most - 1` others, which the time model says are the fastest.
///
/// # Errors
/// What the stages up to the schedule refuse of the default.
pub fn candidates(
    op: &Operator,
    target: &str,
    seq_len: u64,
    threads: usize,
    seed: u64,
    most: usize,
) -> Result<Vec<Candidate>, CompileError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut below = |n: usize| (rng.next_u64() % n.max(1) as u64) as usize;
    let mut found: Vec<(bool, Candidate, u64)> = Vec::new();
    for (plan, fused) in plans(op, target)? {
        let own = Choices {
            plan,
            ..Choices::new(target)
        };
        let (nest, all) = pipeline::schedules(&fused, &own)?;
        let sched = pipeline::running(target, all);
        let default = sched.sizes();
        let options = options(target, sched.panels, default);
        let at = [
            default.mq,
            default.nk,
            default.panel,
            default.chunk,
            default.rows,
            default.slots,
        ];
        let mut sizes = vec![at];
        // One change, then two, then any.
        for (i, list) in options.iter().enumerate() {
            for x in list {
                let mut one = at;
                one[i] = *x;
                sizes.push(one);
                for (j, list) in options.iter().enumerate().skip(i + 1) {
                    for y in list {
                        let mut two = one;
                        two[j] = *y;
                        sizes.push(two);
                    }
                }
            }
        }
        for _ in 0..FAR {
            let any = [0, 1, 2, 3, 4, 5].map(|i| options[i][below(options[i].len())]);
            sizes.push(any);
        }
        let mut seen = BTreeSet::new();
        for (i, sizes) in sizes.into_iter().enumerate() {
            let sizes = fitted(sched.panels, sizes);
            if !seen.insert(sizes) {
                continue;
            }
            // What the limits refuse is no candidate.
            let Ok(sized) = sched.clone().with_sizes(sizes, &nest) else {
                continue;
            };
            let work = attnc_schedule::work(&nest, &sized, seq_len, MEETINGS);
            let candidate = Candidate {
                plan,
                sizes,
                predicted: predict(&work, &sized, op.head_dim, threads),
            };
            let is_default = plan == Plan::Auto && i == 0;
            found.push((!is_default, candidate, below(usize::MAX) as u64));
        }
    }
    let key = |(other, c, tie): &(bool, Candidate, u64)| (*other, c.predicted, *tie);
    found.sort_by(|a, b| {
        let (a, b) = (key(a), key(b));
        (a.0.cmp(&b.0))
            .then(a.1.total_cmp(&b.1))
            .then(a.2.cmp(&b.2))
    });
    found.truncate(most.max(1));
    Ok(found.into_iter().map(|(_, c, _)| c).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use attnc_spec::{Loaded, NoFiles, resolve};

    fn operator(dtype: &str) -> std::sync::Arc<Operator> {
        let text = format!(
            "attention a {{ heads = 2, head_dim = 64, dtype = {dtype}, branch {{ segment = 512 }} }}"
        );
        let files = vec![Ok(Loaded::text("a.attn", &text))];
        let resolution = resolve(files, &mut NoFiles);
        let operator = resolution.operators().next().expect("one operator");
        operator.clone()
    }

    #[test]
    fn panels_are_steps_where_kernels_take_a_panel_a_step() {
        let half = candidates(&operator("bf16"), "x86_64-amx", 2048, 1, 0, 1000).expect("some");
        assert!(half.len() > 100, "{}", half.len());
        assert!(half.iter().all(|c| c.sizes.panel == c.sizes.nk));
        let steps: BTreeSet<u32> = half.iter().map(|c| c.sizes.nk).collect();
        assert!(steps.len() > 4, "{steps:?}");
        let float = candidates(&operator("f32"), "x86_64-amx", 2048, 1, 0, 1000).expect("some");
        assert!(float.iter().any(|c| c.sizes.panel != c.sizes.nk));
    }
}
