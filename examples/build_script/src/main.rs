// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls the operator that the build script compiled: `attnc_local_*`, declared as in the header that stands beside the object.

use std::ffi::c_void;

const HEADS: usize = 4;
const HEAD_DIM: usize = 32;

/// `attnc_local_args`.
#[repr(C)]
struct Args {
    size: u32,
    abi: u32,
    q: *const c_void,
    k: *const c_void,
    v: *const c_void,
    out: *mut c_void,
    lse: *mut f32,
    batch: i64,
    seq_len: i64,
    q_stride: [i64; 3],
    k_stride: [i64; 3],
    v_stride: [i64; 3],
    out_stride: [i64; 3],
    lse_stride: [i64; 2],
}

/// Room for `attnc_local_plan_t`, and more: the header checks its size, and the manifest tells it (`plan_bytes`).
#[repr(C, align(8))]
struct Plan([u8; 1024]);

/// What a worker's memory is aligned to.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

unsafe extern "C" {
    fn attnc_local_plan(args: *const Args, plan: *mut Plan) -> i64;
    fn attnc_local_workspace(plan: *const Plan) -> usize;
    fn attnc_local_run(plan: *const Plan, first: i64, last: i64, workspace: *mut c_void) -> i32;
}

/// out and lse of the operator for one sequence; q, k and v are `[N, HEADS, HEAD_DIM]`.
fn local(q: &[f32], k: &[f32], v: &[f32]) -> Result<(Vec<f32>, Vec<f32>), i64> {
    let n = q.len() / (HEADS * HEAD_DIM);
    assert!(k.len() == q.len() && v.len() == q.len() && q.len() == n * HEADS * HEAD_DIM);
    let (mut out, mut lse) = (vec![0.0; q.len()], vec![0.0; HEADS * n]);
    let rows = [q.len(), HEADS * HEAD_DIM, HEAD_DIM].map(|s| s as i64);
    let args = Args {
        size: size_of::<Args>() as u32,
        abi: 1,
        q: q.as_ptr().cast(),
        k: k.as_ptr().cast(),
        v: v.as_ptr().cast(),
        out: out.as_mut_ptr().cast(),
        lse: lse.as_mut_ptr(),
        batch: 1,
        seq_len: n as i64,
        q_stride: rows,
        k_stride: rows,
        v_stride: rows,
        out_stride: rows,
        lse_stride: [(HEADS * n) as i64, n as i64],
    };
    let mut plan = Plan([0; 1024]);
    // SAFETY: the tensors have the shapes and strides that the arguments say and outlive the calls; nothing else uses out and lse; the
    // workspace is aligned and as long as asked for.
    let code = unsafe {
        let tasks = attnc_local_plan(&args, &mut plan);
        if tasks < 0 {
            return Err(tasks);
        }
        let lines = attnc_local_workspace(&plan).div_ceil(size_of::<Line>());
        let mut workspace = vec![Line([0; 64]); lines];
        attnc_local_run(&plan, 0, tasks, workspace.as_mut_ptr().cast())
    };
    if code < 0 {
        return Err(code.into());
    }
    Ok((out, lse))
}

fn main() {
    let n = 2000;
    // Equal keys: every weight is the same, so that out is the mean of the values seen, and here all values are one.
    let q: Vec<f32> = (0..n * HEADS * HEAD_DIM).map(|i| (i % 7) as f32).collect();
    let (k, v) = (vec![0.0; q.len()], vec![1.0; q.len()]);
    let (out, lse) = local(&q, &k, &v).expect("the arguments are right");
    assert!(out.iter().all(|x| (x - 1.0).abs() < 1e-5));
    // Head 0. The first row sees itself once in each branch; row 124 all 125 so far, and every fourth of them once more; row 127 is none
    // of the longer branch's.
    for (row, seen) in [(0, 2.0f32), (124, 125.0 + 32.0), (127, 128.0)] {
        let got = lse[row];
        println!("row {row} sees {:.1} keys", got.exp());
        assert!((got - seen.ln()).abs() < 1e-4, "{got}");
    }
    println!("{n} rows, {HEADS} heads: right");
}
