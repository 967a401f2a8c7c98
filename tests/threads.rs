// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bits of a result do not depend on the number of threads, several workers really run tasks, and one piece of code serves every
//! batch, length, layout and number of threads.

use std::ops::ControlFlow;

use attnc::pipeline::{self, Choices, Plan};
use attnc::{Amount, Inputs, Signature, VerifyOptions};
use attnc_spec::{Branch, Operator, Precision, Profile, Segment};
use attnc_tensor::{DType, Place, Slice, SliceMut, Tensor, View, ViewMut, normal_tensor};

fn operator(heads: u32, causal: bool) -> Operator {
    let branch = |w, dilation| Branch {
        segment: Segment::Finite(w),
        dilation,
    };
    Operator {
        name: "threads".into(),
        heads,
        kv_heads: heads / 4,
        head_dim: 8,
        dtype: DType::F32,
        precision: Precision::Standard,
        causal,
        scale: 0.35,
        profile: Profile::PAPER,
        branches: vec![branch(64, 1), branch(128, 2), branch(256, 4)],
    }
}

fn code(op: &Operator, plan: Plan) -> attnc_codegen_cpu::Jit {
    let choices = Choices {
        plan,
        ..Choices::new(std::env::consts::ARCH)
    };
    let graph = pipeline::graph(op).expect("a graph");
    let fused = pipeline::fuse(&graph, &choices).expect("rewriting ends");
    let core = pipeline::tile(&fused.graph, &choices).expect("a program");
    attnc_codegen_cpu::Jit::new(&core).expect("code")
}

#[test]
fn output_bits_are_the_same_for_1_2_3_and_7_threads() {
    for causal in [false, true] {
        for plan in [Plan::Share, Plan::Each] {
            bits_are_the_same(&operator(64, causal), plan);
        }
    }
}

fn bits_are_the_same(op: &Operator, plan: Plan) {
    let (batch, seq_len, heads, d) = (2usize, 300usize, op.heads, op.head_dim);
    let shape = |h: u32| [batch, seq_len, h as usize, d as usize];
    let fill = |h, stream| normal_tensor(op.dtype, &shape(h), 7, stream).expect("small");
    let (q, k, v) = (fill(heads, 0), fill(op.kv_heads, 1), fill(op.kv_heads, 2));
    {
        let code = code(op, plan);
        let mut first: Option<(Vec<u8>, Vec<u8>)> = None;
        for threads in [1, 2, 3, 7] {
            let mut out = Tensor::zeros(op.dtype, &shape(heads)).expect("small");
            let mut lse =
                Tensor::zeros(DType::F32, &[batch, heads as usize, seq_len]).expect("small");
            let launch = attnc_runtime::Launch {
                q: q.view(),
                k: k.view(),
                v: v.view(),
                out: out.view_mut(),
                lse: lse.view_mut(),
                workers: attnc_runtime::Workers::Threads(threads),
            };
            let stats = attnc_runtime::launch(&code, launch, &|_, _| ControlFlow::Continue(()))
                .expect("runs");
            assert!(stats.tasks > 100, "{} tasks", stats.tasks);
            assert_eq!(stats.workers.len(), threads);
            let all = &stats.workers;
            assert!(all.iter().all(|w| w.tasks > 0), "{all:?}");
            assert!(all.iter().all(|w| !w.busy.is_zero()), "{all:?}");
            assert_eq!(all.iter().map(|w| w.tasks).sum::<i64>(), stats.tasks);
            assert_eq!(all.iter().map(|w| w.madds).sum::<u64>(), stats.madds);
            let got = (out.bytes().to_vec(), lse.bytes().to_vec());
            match &first {
                None => first = Some(got),
                Some(want) => assert!(*want == got, "{plan:?}, {threads} threads"),
            }
        }
    }
}

/// Room for a tensor of four dimensions in another layout: 0 tokens-major, 1 head-major, 2 padded.
fn strides(layout: usize, [b, n, h, d]: [usize; 4]) -> ([usize; 4], usize) {
    match layout {
        0 => ([n * h * d, h * d, d, 1], b * n * h * d),
        1 => ([n * h * d, d, n * d, 1], b * n * h * d),
        _ => {
            let (head, token) = (d + 3, h * (d + 3) + 5);
            ([n * token, token, head, 1], b * n * token)
        }
    }
}

fn scattered(t: &Tensor, layout: usize) -> (Vec<f32>, [usize; 4]) {
    let shape: [usize; 4] = t.shape().try_into().expect("four dimensions");
    let (s, room) = strides(layout, shape);
    let mut out = vec![f32::NAN; room];
    let mut i = 0;
    for b in 0..shape[0] {
        for n in 0..shape[1] {
            for h in 0..shape[2] {
                for d in 0..shape[3] {
                    out[b * s[0] + n * s[1] + h * s[2] + d] = t.get(i) as f32;
                    i += 1;
                }
            }
        }
    }
    (out, s)
}

/// Elements of a guard zone.
const GUARD: usize = 1000;

#[test]
fn one_piece_of_code_serves_every_batch_length_layout_and_number_of_threads() {
    for causal in [false, true] {
        let op = operator(4, causal);
        let code = code(&op, Plan::Auto);
        let snapshot = |c: &attnc_codegen_cpu::Jit| -> Vec<(*const u8, Vec<u8>)> {
            let all = c.code().into_iter();
            all.map(|f| (f.as_ptr(), f.to_vec())).collect()
        };
        let before = snapshot(&code);
        for (batch, seq_len) in [(1, 1), (3, 65), (2, 300), (1, 777)] {
            let s = Signature::from(&op);
            let x = Inputs::generate(&s, batch, seq_len, 3).expect("small");
            let mut first: Option<(Tensor, Tensor)> = None;
            for (layout, threads) in [(0, 1), (1, 2), (2, 3), (0, 7)] {
                let (q, k, v) = (
                    scattered(&x.q, layout),
                    scattered(&x.k, layout),
                    scattered(&x.v, layout),
                );
                let room = Tensor::zeros(op.dtype, x.q.shape()).expect("small");
                let (inner, os) = scattered(&room, layout);
                // NaN marks what is not the tensor's: the gaps of the layout, and zones before and behind it.
                let size = inner.len();
                let guard = vec![f32::NAN; GUARD];
                let mut out = [&guard[..], &inner, &guard].concat();
                let outside = out.iter().filter(|x| x.is_nan()).count();
                let mut lse = Tensor::zeros(DType::F32, &s.lse_shape(x.batch, x.seq_len));
                let lse = lse.as_mut().expect("small");
                let view = |t: &'_ Tensor, m: &'_ (Vec<f32>, [usize; 4])| {
                    (t.shape().to_vec(), m.1.to_vec())
                };
                let [qs, ks, vs] = [view(&x.q, &q), view(&x.k, &k), view(&x.v, &v)];
                let launch = attnc_runtime::Launch {
                    q: View::new(Slice::F32(&q.0), &qs.0, &qs.1).expect("fits"),
                    k: View::new(Slice::F32(&k.0), &ks.0, &ks.1).expect("fits"),
                    v: View::new(Slice::F32(&v.0), &vs.0, &vs.1).expect("fits"),
                    out: ViewMut::new(SliceMut::F32(&mut out[GUARD..GUARD + size]), &qs.0, &os)
                        .expect("fits"),
                    lse: lse.view_mut(),
                    workers: attnc_runtime::Workers::Threads(threads),
                };
                attnc_runtime::launch(&code, launch, &|_, _| ControlFlow::Continue(()))
                    .expect("runs");
                let left = out.iter().filter(|x| x.is_nan()).count();
                assert_eq!(left, outside, "layout {layout}: memory outside is written");
                let got = &out[GUARD..GUARD + size];
                let got = View::new(Slice::F32(got), &qs.0, &os).expect("fits");
                let got = (got.to_tensor().expect("small"), lse.clone());
                match &first {
                    Some(want) => assert!(*want == got, "N {seq_len}, {threads} threads"),
                    None => {
                        let options = VerifyOptions {
                            amount: Amount::All,
                            seed: 0,
                            boundaries: &[],
                            place: Place::Host,
                            threads: 1,
                        };
                        let (o, l) = (got.0.view(), got.1.view());
                        let found = attnc::verify(&op, &x, &o, &l, &options, &|_| {});
                        assert!(found.expect("shapes fit").verdict.passed, "N {seq_len}");
                        first = Some(got);
                    }
                }
            }
        }
        assert!(before == snapshot(&code), "the code has changed");
    }
}
