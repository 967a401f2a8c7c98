// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tensor maps that the kernel makes: boxes, strides, bounds, fills, swizzles and reductions
//! against index arithmetic written here from the manual's definitions; missing fences.

mod common;
use attnc_ptx::emu::{FaultKind, LaunchError};
use common::{Run, kernel};

const DECLS: &str = ".shared .align 1024 .b8 s[8192];\n.shared .align 8 .b64 bar;\n.shared .align 128 .b8 map[128];";

/// A tensor of 16-bit elements and a box in it.
struct Tensor {
    dims: Vec<u32>,
    /// Bytes from one element of a dimension to the next, but the first.
    strides: Vec<u64>,
    boxes: Vec<u32>,
    at: Vec<i32>,
    swizzle: u32,
    nan: bool,
}

impl Tensor {
    fn plain() -> Self {
        Self {
            dims: vec![40, 20],
            strides: vec![80],
            boxes: vec![32, 8],
            at: vec![8, 4],
            swizzle: 0,
            nan: false,
        }
    }

    /// Makes the map of the tensor at `%p0` in the scratch at `%p2`.
    fn make(&self) -> String {
        let mut t = String::from(
            "setp.eq.u32 %q1, %t, 0; mov.u32 %r1, map; shl.b32 %r2, %t, 2; add.u32 %r2, %r2, %r1; mov.u32 %r3, 0; st.shared.b32 [%r2], %r3; bar.warp.sync -1;
             cvt.u64.u32 %d1, %r1; @!%q1 bra MADE;
             tensormap.replace.tile.global_address.shared::cta.b1024.b64 [%d1], %p0;\n",
        );
        let r = |name: &str, index: String, v: String| {
            format!(
                "mov.u32 %r4, {v}; tensormap.replace.tile.{name}.shared::cta.b1024.b32 [%d1], {index}%r4;\n"
            )
        };
        t += &format!(
            "tensormap.replace.tile.rank.shared::cta.b1024.b32 [%d1], {};\n",
            self.dims.len() - 1
        );
        for k in 0..self.dims.len() {
            t += &r("box_dim", format!("{k}, "), self.boxes[k].to_string());
            t += &r("global_dim", format!("{k}, "), self.dims[k].to_string());
            t += &r("element_stride", format!("{k}, "), "1".into());
        }
        for (k, s) in self.strides.iter().enumerate() {
            t += &format!(
                "mov.u64 %d2, {s}; tensormap.replace.tile.global_stride.shared::cta.b1024.b64 [%d1], {k}, %d2;\n"
            );
        }
        t += &format!(
            "tensormap.replace.tile.elemtype.shared::cta.b1024.b32 [%d1], {};
             tensormap.replace.tile.interleave_layout.shared::cta.b1024.b32 [%d1], 0;
             tensormap.replace.tile.swizzle_mode.shared::cta.b1024.b32 [%d1], {};
             tensormap.replace.tile.fill_mode.shared::cta.b1024.b32 [%d1], {};
             MADE: bar.warp.sync -1;
             tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned [%p2], [%d1], 128;
             fence.proxy.tensormap::generic.acquire.gpu [%p2], 128;\n",
            if self.nan { 6 } else { 1 },
            self.swizzle,
            u32::from(self.nan)
        );
        t
    }

    fn coordinates(&self) -> String {
        let c: Vec<String> = self.at.iter().map(i32::to_string).collect();
        format!("{{{}}}", c.join(", "))
    }

    fn bytes(&self) -> u32 {
        2 * self.boxes.iter().product::<u32>()
    }

    /// Copies the box into shared memory; then word `%t + 32 k` of it goes to `%p1`.
    fn load(&self) -> String {
        let (n, rank, at) = (self.bytes(), self.dims.len(), self.coordinates());
        self.make()
            + &format!(
                "mov.u32 %r5, bar; mov.u32 %r6, s; @%q1 mbarrier.init.shared.b64 [%r5], 1; fence.proxy.async; bar.sync 0;
                 @%q1 mbarrier.arrive.expect_tx.shared.b64 _, [%r5], {n};
                 @%q1 cp.async.bulk.tensor.{rank}d.shared::cluster.global.mbarrier::complete_tx::bytes [%r6], [%p2, {at}], [%r5];
                 W: mbarrier.try_wait.parity.shared.b64 %q2, [%r5], 0; @!%q2 bra W;
                 mov.u32 %r7, %t; L: shl.b32 %r8, %r7, 2; add.u32 %r9, %r6, %r8; ld.shared.b32 %r10, [%r9]; cvt.u64.u32 %d3, %r8; add.s64 %d3, %p1, %d3; st.global.b32 [%d3], %r10;
                 add.u32 %r7, %r7, 32; setp.lt.u32 %q3, %r7, {}; @%q3 bra L;",
                n / 4
            )
    }

    /// The element that stands at place `n` of the box, or nothing outside of the tensor.
    fn element(&self, n: u32) -> Option<u16> {
        let mut n = n;
        let mut addr = 0i64;
        for k in 0..self.dims.len() {
            let c = i64::from(self.at[k]) + i64::from(n % self.boxes[k]);
            n /= self.boxes[k];
            if c < 0 || c >= i64::from(self.dims[k]) {
                return None;
            }
            let stride = if k == 0 {
                2
            } else {
                self.strides[k - 1] as i64
            };
            addr += c * stride;
        }
        Some((addr / 2) as u16 + 1)
    }

    /// What shared memory must hold. Swizzles exchange the 16-byte chunks of each row of 32,
    /// 64 or 128 bytes by the number of the row within the pattern (manual, 5.5.5).
    fn expected(&self) -> Vec<u16> {
        let n = self.bytes() / 2;
        let mut out = vec![0u16; n as usize];
        for e in 0..n {
            let byte = 2 * e;
            let chunk = byte / 16;
            let row = byte / 128;
            let to = match self.swizzle {
                0 => chunk,
                1 => chunk ^ (row % 2),
                2 => chunk ^ (row % 4),
                _ => chunk ^ (row % 8),
            };
            let fill = if self.nan { 0xffff } else { 0 };
            out[(to * 8 + e % 8) as usize] = self.element(e).unwrap_or(fill);
        }
        out
    }
}

/// Elements 1, 2, 3 and so on: each tells its place.
fn input() -> Vec<u8> {
    (1..=4096u16).flat_map(u16::to_le_bytes).collect()
}

fn run(body: &str, seed: u64) -> Result<Vec<Vec<u8>>, LaunchError> {
    let text = kernel("sm_90a", "8.3", 3, DECLS, body);
    let mut r = Run::new(&text)
        .bytes(&input())
        .bytes(&[0; 8192])
        .bytes(&[0; 256])
        .seed(seed);
    r.go()?;
    Ok(r.buffers)
}

fn halves(b: &[u8]) -> Vec<u16> {
    b.chunks_exact(2)
        .map(|c| u16::from_le_bytes([c[0], c[1]]))
        .collect()
}

#[test]
fn boxes_of_one_to_five_dimensions() {
    let mut cases = vec![Tensor::plain()];
    cases.push(Tensor {
        dims: vec![100],
        strides: vec![],
        boxes: vec![64],
        at: vec![20],
        ..Tensor::plain()
    });
    cases.push(Tensor {
        dims: vec![16, 6, 5],
        strides: vec![48, 320],
        boxes: vec![16, 3, 2],
        at: vec![0, 2, 1],
        ..Tensor::plain()
    });
    cases.push(Tensor {
        dims: vec![8, 4, 3, 3],
        strides: vec![16, 80, 256],
        boxes: vec![8, 2, 2, 2],
        at: vec![0, 1, 0, 1],
        ..Tensor::plain()
    });
    cases.push(Tensor {
        dims: vec![8, 3, 2, 2, 3],
        strides: vec![16, 64, 160, 480],
        boxes: vec![8, 2, 2, 1, 2],
        at: vec![0, 1, 0, 1, 1],
        ..Tensor::plain()
    });
    for c in cases {
        for seed in [0, 1, 5] {
            let got = run(&c.load(), seed).unwrap_or_else(|e| panic!("{e}"));
            let want = c.expected();
            assert_eq!(halves(&got[1])[..want.len()], want, "{:?}", c.boxes);
        }
    }
}

#[test]
fn outside_of_the_tensor_is_fill() {
    for (at, nan) in [
        (vec![-4, -2], false),
        (vec![30, 15], false),
        (vec![-4, 16], true),
        (vec![200, 0], true),
    ] {
        let c = Tensor {
            at,
            nan,
            ..Tensor::plain()
        };
        let got = run(&c.load(), 0).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(halves(&got[1])[..256], c.expected(), "{:?}", c.at);
    }
}

#[test]
fn swizzles_exchange_chunks_of_sixteen_bytes() {
    for (swizzle, inner) in [(1, 16), (2, 32), (3, 64), (3, 32)] {
        let c = Tensor {
            dims: vec![64, 30],
            strides: vec![128],
            boxes: vec![inner, 16],
            at: vec![0, 3],
            swizzle,
            ..Tensor::plain()
        };
        let got = run(&c.load(), 0).unwrap_or_else(|e| panic!("{e}"));
        let want = c.expected();
        assert_eq!(halves(&got[1])[..want.len()], want, "{swizzle} {inner}");
    }
}

/// Writes the box full of `%t`-dependent words, then copies or reduces it out of shared memory.
fn store(c: &Tensor, op: &str, end: &str) -> String {
    let (n, rank, at) = (c.bytes(), c.dims.len(), c.coordinates());
    c.make()
        + &format!(
            "mov.u32 %r6, s; mov.u32 %r7, %t; L: shl.b32 %r8, %r7, 2; add.u32 %r9, %r6, %r8; mad.lo.u32 %r10, %r7, 0x20002, 0x10000; st.shared.b32 [%r9], %r10;
             add.u32 %r7, %r7, 32; setp.lt.u32 %q3, %r7, {}; @%q3 bra L;
             fence.proxy.async; bar.sync 0;
             @%q1 {op}.{rank}d.global.shared::cta.tile.bulk_group [%p2, {at}], [%r6];
             {end}",
            n / 4,
        )
}

const END: &str = "@%q1 cp.async.bulk.commit_group; @%q1 cp.async.bulk.wait_group 0;";

#[test]
fn boxes_are_stored_inside_of_the_tensor_only() {
    let c = Tensor {
        at: vec![24, 16],
        ..Tensor::plain()
    };
    let got = run(&store(&c, "cp.async.bulk.tensor", END), 0).unwrap_or_else(|e| panic!("{e}"));
    let mut want: Vec<u16> = (1..=4096).collect();
    for n in 0..256u32 {
        if let Some(old) = c.element(n) {
            want[usize::from(old) - 1] = n as u16;
        }
    }
    assert_eq!(halves(&got[0]), want);
}

/// Reductions on every element type that has them: `%t`-th element of shared memory into a
/// tensor of 24 elements, of which the last 8 of the box are outside.
#[test]
fn boxes_are_reduced_in_the_tensors_own_type() {
    let bf = |x: f32| u64::from(x.to_bits() >> 16);
    let hf = |x: f32| u64::from(half::f16::from_f32(x).to_bits());
    let cases: [(u32, usize, &str, u64, u64, u64); 12] = [
        (2, 4, "add", 0xffff_ffff, 3, 2),
        (2, 4, "min", 0xffff_ffff, 3, 3),
        (3, 4, "min", 0xffff_ffff, 3, 0xffff_ffff),
        (3, 4, "max", 0xffff_ffff, 3, 3),
        (2, 4, "xor", 0xf0, 0xff, 0x0f),
        (2, 4, "inc", 7, 7, 0),
        (4, 8, "add", u64::MAX, 5, 4),
        (5, 8, "max", u64::MAX, 5, 5),
        (6, 2, "add", hf(1.5), hf(2.25), hf(3.75)),
        (10, 2, "add", bf(1.5), bf(2.25), bf(3.75)),
        (10, 2, "max", bf(-1.5), bf(-2.25), bf(-1.5)),
        (
            7,
            4,
            "add",
            1.5f32.to_bits().into(),
            2.25f32.to_bits().into(),
            3.75f32.to_bits().into(),
        ),
    ];
    for (elem, width, op, old, new, want) in cases {
        let c = Tensor {
            dims: vec![24],
            strides: vec![],
            boxes: vec![32],
            at: vec![0],
            ..Tensor::plain()
        };
        let made = c.make().replace(
            "elemtype.shared::cta.b1024.b32 [%d1], 1",
            &format!("elemtype.shared::cta.b1024.b32 [%d1], {elem}"),
        );
        let put = match width {
            2 => format!("mov.b16 %h1, {new}; st.shared.b16 [%r9], %h1;"),
            4 => format!("mov.b32 %r10, {new}; st.shared.b32 [%r9], %r10;"),
            _ => format!("mov.b64 %d4, {new}; st.shared.b64 [%r9], %d4;"),
        };
        let body = made
            + &format!(
                "mov.u32 %r6, s; mad.lo.u32 %r9, %t, {width}, %r6; {put} fence.proxy.async; bar.sync 0;
                 @%q1 cp.reduce.async.bulk.tensor.1d.global.shared::cta.{op}.tile.bulk_group [%p2, {{0}}], [%r6]; {END}"
            );
        let text = kernel("sm_90a", "8.3", 3, DECLS, &body);
        let before: Vec<u8> = (0..32)
            .flat_map(|_| old.to_le_bytes()[..width].to_vec())
            .collect();
        let mut r = Run::new(&text)
            .bytes(&before)
            .bytes(&[0; 8])
            .bytes(&[0; 256]);
        if let Err(e) = r.go() {
            panic!("{e}");
        }
        for (n, got) in r.buffers[0].chunks(width).enumerate() {
            let want = if n < 24 { want } else { old };
            assert_eq!(
                got,
                &want.to_le_bytes()[..width],
                "{op} on type {elem}, element {n}"
            );
        }
    }
}

#[test]
fn missing_fences_and_waits_are_reported() {
    let kind = |text: &str| match run(text, 0) {
        Err(LaunchError::Fault(f)) => f.kind,
        other => panic!("{other:?}"),
    };
    let c = Tensor::plain();
    let fence = "fence.proxy.tensormap::generic.acquire.gpu [%p2], 128;";
    let load = c.load();
    assert!(load.contains(fence));
    assert!(matches!(
        kind(&load.replace(fence, "")),
        FaultKind::TensormapFence { .. }
    ));
    let out = store(&c, "cp.async.bulk.tensor", END);
    assert!(run(&out, 0).is_ok());
    for part in [
        "@%q1 cp.async.bulk.commit_group;",
        "@%q1 cp.async.bulk.wait_group 0;",
    ] {
        assert!(
            matches!(kind(&out.replace(part, "")), FaultKind::BulkWait),
            "{part}"
        );
    }
    assert!(matches!(
        kind(&out.replace("fence.proxy.async;", "")),
        FaultKind::ProxyFence { .. }
    ));
}
