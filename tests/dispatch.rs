// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One program with several bodies: `plan` takes the best one that the machine has, each with plan tables and a workspace of its own.
//! Machines are made up here, so that every choice is tested on any machine that runs the code at all.

#[path = "support/object.rs"]
#[allow(dead_code)]
mod support;

use attnc::pipeline::{self, Choices};
use attnc::{Inputs, Signature};
use attnc_codegen_cpu::{
    Args, CodegenError, CpuTarget, Detect, ERROR_MACHINE, Family, Feature, Features, Jit, Level,
    Part, Program, compile_parts,
};
use attnc_schedule::Schedule;
use attnc_spec::{Branch, Operator, Precision, Profile, Segment};
use attnc_tensor::DType;
use attnc_tile::core::{Core, PlanTable};
use attnc_tile::step::Panels;
use support::*;

fn operator() -> Operator {
    let branch = |w, dilation| Branch {
        segment: Segment::Finite(w),
        dilation,
    };
    Operator {
        name: "op".into(),
        heads: 2,
        kv_heads: 2,
        head_dim: 9,
        dtype: DType::F32,
        precision: Precision::Standard,
        causal: true,
        scale: 0.3,
        profile: Profile::PAPER,
        branches: vec![branch(32, 1), branch(128, 2)],
    }
}

/// The operator under a schedule with tasks of `chunk` rows and a plan table of `more` numbers beside its own.
fn core(op: &Operator, target: CpuTarget, chunk: u32, more: u64) -> Core {
    let choices = Choices::new(target.name());
    let graph = pipeline::graph(op).expect("a graph");
    let fused = pipeline::fuse(&graph, &choices).expect("rewriting ends");
    let nest = attnc_schedule::nest(&fused.graph).expect("a nest");
    let mut sched = Schedule::of(target.name(), &nest);
    assert_ne!(sched.chunk, chunk);
    (sched.chunk, sched.rows) = (chunk, chunk);
    let mut core = attnc_schedule::lower(&nest, &sched).expect("a program");
    if more > 0 {
        core.plan_tables.push(PlanTable {
            name: "more".into(),
            len: more,
            range: None,
        });
    }
    core
}

/// A family with two levels; none where this machine has another.
fn two_levels() -> Option<(CpuTarget, [Level; 2])> {
    for target in CpuTarget::ALL.into_iter().filter(|t| t.runs_here()) {
        if let [a, b] = *target.levels()
            && a.here()
            && b.here()
        {
            return Some((target, [a, b]));
        }
    }
    println!("skipped: this machine runs one level");
    None
}

fn everything() -> Features {
    Features::of(&Feature::ALL)
}

/// Both schedules in one program, the second for the higher level.
fn both(cores: &[Core; 2], target: CpuTarget, levels: &[Level; 2], detect: Detect) -> Program {
    let [low, high] = cores;
    let part = |core, levels| Part {
        core,
        target,
        levels,
    };
    let parts = [part(high, &levels[1..]), part(low, &levels[..1])];
    compile_parts(&parts, detect).expect("code")
}

/// What `plan` answers for N positions, and the plan.
fn plan(jit: &Jit, n: i64) -> (i64, Vec<u64>) {
    let (x, mut y) = ([0f32; 1], [0f32; 1]);
    let args = Args {
        size: size_of::<Args>() as u32,
        abi: attnc_codegen_cpu::ABI,
        q: x.as_ptr().cast(),
        k: x.as_ptr().cast(),
        v: x.as_ptr().cast(),
        out: y.as_mut_ptr().cast(),
        lse: y.as_mut_ptr(),
        batch: 1,
        seq_len: n,
        q_stride: [0; 3],
        k_stride: [0; 3],
        v_stride: [0; 3],
        out_stride: [0; 3],
        lse_stride: [0; 2],
    };
    let mut plan = vec![u64::MAX; jit.layout().plan_bytes.div_ceil(8)];
    (jit.plan(&args, &mut plan), plan)
}

#[test]
fn the_best_body_that_the_machine_has_runs_with_its_own_plan_and_workspace() {
    let Some((target, levels)) = two_levels() else {
        return;
    };
    let op = operator();
    let cores = [core(&op, target, 64, 0), core(&op, target, 128, 300)];
    let x = Inputs::generate(&Signature::from(&op), 2, 500, 3).expect("small");
    let (mut workspaces, mut bits) = (Vec::new(), Vec::new());
    for (i, (core, told)) in cores.iter().zip([Features::NONE, everything()]).enumerate() {
        let joined = both(&cores, target, &levels, Detect::Told(told));
        let joined = Jit::link(&joined).expect("code");
        let part = Part {
            core,
            target,
            levels: &levels[i..=i],
        };
        let alone = compile_parts(&[part], Detect::Trusted).expect("code");
        let alone = Jit::link(&alone).expect("code");
        let (tasks, kept) = plan(&joined, 500);
        // Heads times chunks of the schedule at hand.
        assert_eq!(tasks, 2 * [8, 4][i]);
        assert_eq!(joined.level(&kept), Some(levels[i]));
        let (of_alone, kept_alone) = plan(&alone, 500);
        assert_eq!((tasks, kept_alone.len() < kept.len()), (of_alone, i == 0));
        assert_eq!(joined.workspace(&kept), alone.workspace(&kept_alone));
        workspaces.push(joined.workspace(&kept));
        let got = in_memory(&op, &joined, &x);
        assert!(got == in_memory(&op, &alone, &x), "{i}");
        judge(&op, &x, &got, levels[i].name());
        bits.push(got);
    }
    // Were both bodies one, none of this would tell them apart.
    assert_ne!(workspaces[0], workspaces[1]);
    assert!(bits[0] != bits[1]);
}

#[test]
fn every_extension_that_a_body_needs_is_asked_for() {
    let Some((target, levels)) = two_levels() else {
        return;
    };
    let op = operator();
    let cores = [core(&op, target, 64, 0), core(&op, target, 128, 0)];
    for missing in levels[1].needs().iter() {
        let but = everything().iter().filter(|f| *f != missing);
        let told = Detect::Told(Features::of(&but.collect::<Vec<_>>()));
        let jit = Jit::link(&both(&cores, target, &levels, told)).expect("code");
        let (tasks, kept) = plan(&jit, 10);
        assert!(tasks > 0);
        assert_eq!(
            jit.level(&kept),
            Some(levels[0]),
            "without {}",
            missing.name()
        );
    }
    let asked = Jit::link(&both(&cores, target, &levels, Detect::Machine)).expect("code");
    let best = levels.iter().rev().find(|l| l.here()).copied();
    assert_eq!(asked.level(&plan(&asked, 10).1), best, "this machine");
}

#[test]
fn a_machine_without_a_body_is_told_so_before_anything_runs() {
    let Some((target, levels)) = two_levels() else {
        return;
    };
    let core = core(&operator(), target, 64, 0);
    for (told, fits) in [(Features::NONE, false), (everything(), true)] {
        let part = Part {
            core: &core,
            target,
            levels: &levels[1..],
        };
        let jit = compile_parts(&[part], Detect::Told(told)).expect("code");
        let jit = Jit::link(&jit).expect("code");
        for n in [0, 10] {
            let (tasks, _) = plan(&jit, n);
            assert_eq!(tasks == ERROR_MACHINE, !fits, "{n}: {tasks}");
        }
    }
}

/// Machines of every kind for one program with every level there is: `plan` runs here, whatever it chooses.
#[test]
fn every_kind_of_machine_gets_the_highest_level_that_it_has() {
    if Family::here() != Some(Family::X86_64) {
        println!("skipped: no processor of x86_64");
        return;
    }
    let op = operator();
    let cores = CpuTarget::ALL.map(|t| support::core(&op, &Choices::new(t.name())));
    let levels = [
        (CpuTarget::X86_64, &[Level::Base][..]),
        (CpuTarget::X86_64V3, &[Level::V3]),
        (CpuTarget::X86_64V4, &[Level::V4, Level::V4Bf16]),
        (CpuTarget::X86_64Amx, &[Level::Amx]),
    ];
    let parts = levels.map(|(target, levels)| Part {
        core: &cores[CpuTarget::ALL
            .iter()
            .position(|t| *t == target)
            .expect("one")],
        target,
        levels,
    });
    let v4 = Level::V4.needs();
    let tiles = Features::of(&[Feature::AmxTile, Feature::AmxBf16]);
    let bytes = Features::of(&[Feature::Avx512Vbmi]);
    let but_bytes = Level::V4Bf16.needs().with(tiles);
    let whole = but_bytes.with(bytes);
    assert_eq!(whole, everything());
    for (machine, told, level) in [
        ("old", Features::of(&[Feature::Fma]), Level::Base),
        ("no conversion of f16", Level::Fma.needs(), Level::Base),
        ("plain v3", Level::V3.needs(), Level::V3),
        ("plain v4", v4, Level::V4),
        ("bf16", Level::V4Bf16.needs(), Level::V4Bf16),
        ("amx", whole, Level::Amx),
        ("tiles without bf16 vectors", v4.with(tiles), Level::V4),
        ("tiles without bytes", but_bytes, Level::V4Bf16),
    ] {
        let jit = compile_parts(&parts, Detect::Told(told)).expect("code");
        let jit = Jit::link(&jit).expect("code");
        let (tasks, kept) = plan(&jit, 100);
        assert!(tasks > 0, "{machine}");
        assert_eq!(jit.level(&kept), Some(level), "{machine}");
    }
}

#[test]
fn an_object_of_several_bodies_serves_c_and_is_the_same_every_time() {
    const CC: Tool = Tool {
        name: "cc",
        required_by: "ATTNC_REQUIRE_CC",
    };
    let (Some((target, levels)), true) = (two_levels(), CC.there()) else {
        return;
    };
    let op = operator();
    let cores = [core(&op, target, 64, 0), core(&op, target, 128, 300)];
    let folder = tempfile::tempdir().expect("a folder");
    let shapes = [(2, 500), (1, 1)]
        .map(|(batch, n)| Inputs::generate(&Signature::from(&op), batch, n, 5).expect("small"));
    for told in [Features::NONE, everything()] {
        let made = || both(&cores, target, &levels, Detect::Told(told)).with_hash("abc");
        let jit = Jit::link(&made()).expect("code");
        let o = write(folder.path(), "op.o", &[made()]);
        assert!(
            std::fs::read(&o).expect("written")
                == attnc_codegen_cpu::object("op.o", &[made()]).expect("an object")
        );
        let exe = link(folder.path(), &["cc", "-std=c99"], &op, &cores[1], &o);
        let want = shapes.each_ref().map(|x| in_memory(&op, &jit, x));
        for layout in [0, 1, 2] {
            assert!(
                drive(&exe, &[], layout, -1, &shapes) == want,
                "{told:?} {layout}"
            );
        }
    }
}

#[test]
fn all_targets_of_a_family_share_a_program_and_the_most_demanding_one_runs() {
    let op = operator();
    for family in [CpuTarget::X86_64, CpuTarget::Aarch64].map(CpuTarget::family) {
        let targets = CpuTarget::ALL.into_iter().filter(|t| t.family() == family);
        let targets: Vec<CpuTarget> = targets.collect();
        let cores: Vec<Core> = targets
            .iter()
            .map(|t| support::core(&op, &Choices::new(t.name())))
            .collect();
        // In whatever order they come.
        let parts = cores.iter().zip(&targets).rev();
        let parts: Vec<Part<'_>> = parts.map(|(c, t)| Part::of(c, *t)).collect();
        let program = compile_parts(&parts, Detect::Machine).expect("code");
        if !targets.iter().any(|t| t.runs_here()) {
            continue;
        }
        let jit = Jit::link(&program).expect("code");
        let levels = targets.iter().flat_map(|t| t.levels());
        let best = levels.filter(|l| l.here()).max().copied();
        assert_eq!(jit.level(&plan(&jit, 100).1), best);
        let x = Inputs::generate(&Signature::from(&op), 1, 333, 8).expect("small");
        let native = targets.iter().position(|t| Some(*t) == CpuTarget::here());
        let core = &cores[native.expect("one of them")];
        let got = in_memory(&op, &jit, &x);
        let alone = Jit::new(core).expect("code");
        assert!(got == in_memory(&op, &alone, &x));
        judge(&op, &x, &got, "the best");
    }
}

/// What the targets of x86_64 have of an operator in bf16: AVX-512 takes the operator in f32 where it must and in bf16 where it can.
#[test]
fn a_target_takes_its_best_schedule_that_the_machine_can() {
    let op = Operator {
        dtype: DType::Bf16,
        head_dim: 24,
        ..operator()
    };
    let x86 = CpuTarget::X86_64.family();
    let targets: Vec<CpuTarget> = CpuTarget::ALL
        .into_iter()
        .filter(|t| t.family() == x86)
        .collect();
    let mut cores: Vec<(CpuTarget, Core)> = Vec::new();
    for target in &targets {
        let choices = Choices::new(target.name());
        let graph = pipeline::graph(&op).expect("a graph");
        let fused = pipeline::fuse(&graph, &choices).expect("rewriting ends");
        let all = pipeline::tiles(&fused.graph, &choices).expect("programs");
        assert_eq!(
            all.first(),
            Some(&pipeline::tile(&fused.graph, &choices).expect("a program"))
        );
        cores.extend(all.into_iter().map(|c| (*target, c)));
    }
    let parts: Vec<Part<'_>> = cores.iter().map(|(t, c)| Part::of(c, *t)).collect();
    let bodies: Vec<(Panels, &[Level])> = parts
        .iter()
        .map(|p| (Panels::of(p.core), p.levels))
        .collect();
    assert_eq!(
        bodies,
        [
            (Panels::Float, &[Level::Base, Level::Fma][..]),
            (Panels::Float, &[Level::V3]),
            (Panels::Float, &[Level::V4]),
            (Panels::Half, &[Level::V4Bf16]),
            (Panels::Half, &[Level::Amx]),
        ]
    );
    if !CpuTarget::X86_64V3.runs_here() {
        println!("skipped: the tables of these bodies need AVX2");
        return;
    }
    for level in [Level::V3, Level::V4, Level::V4Bf16, Level::Amx] {
        let told = Detect::Told(level.needs());
        let jit = Jit::link(&compile_parts(&parts, told).expect("code")).expect("code");
        let (tasks, kept) = plan(&jit, 500);
        assert!(tasks > 0);
        assert_eq!(jit.level(&kept), Some(level));
    }
    // Of one target alone, as this process compiles it.
    for (target, core) in &cores {
        let part = Part::of(core, *target);
        let runs = part.levels.iter().any(|l| l.here());
        assert_eq!(Jit::compile(core).is_ok(), runs, "{}", target.name());
    }
}

#[test]
fn parts_that_cannot_stand_in_one_program_are_refused() {
    let [x86, arm] = [CpuTarget::X86_64, CpuTarget::Aarch64];
    let (one, two) = (
        operator(),
        Operator {
            name: "two".into(),
            ..operator()
        },
    );
    let [a, b] = [&one, &two].map(|op| core(op, x86, 64, 0));
    let c = core(&one, arm, 64, 0);
    let refused = |parts: &[Part<'_>]| match compile_parts(parts, Detect::Machine) {
        Ok(_) => panic!("compiled"),
        Err(e) => e.to_string(),
    };
    for (parts, why) in [
        (vec![], "at least one program"),
        (
            vec![Part::of(&a, x86), Part::of(&b, x86)],
            "the operators op and two",
        ),
        (vec![Part::of(&a, x86), Part::of(&a, x86)], "the level base"),
        (
            vec![Part::of(&a, x86), Part::of(&c, arm)],
            "x86_64 and for aarch64",
        ),
    ] {
        let said = refused(&parts);
        assert!(said.contains(why), "{said}");
    }
    assert!(matches!(
        compile_parts(&[], Detect::Machine),
        Err(CodegenError::Empty)
    ));
}
