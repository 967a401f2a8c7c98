// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc build`: which files appear, what they hold, that C and C++ programs get the bits of the code in memory, and that a build which
//! fails leaves nothing behind. Data: made on the spot.

#[path = "support/schema.rs"]
mod schema;
#[path = "support/object.rs"]
#[allow(dead_code)]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use attnc::pipeline::{self, Choices, Plan};
use attnc::{AttentionFile, BuildOptions, Inputs, MANIFEST_SCHEMA, Signature};
use attnc_codegen_cpu::{CpuTarget, Jit};
use attnc_spec::{Loaded, NoFiles, Operator, resolve};
use attnc_tile::core::Core;
use attnc_tile::step::Panels;
use object::{Object, ObjectSection, ObjectSymbol, SectionKind};
use schema::Schema;
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::*;

const TEXT: &str = "edition 1

attention one {
    heads    = 4
    kv_heads = 2
    head_dim = 7
    causal   = true
    branch { segment = 16 }
    branch { segment = 64, dilation = 2 }
}

attention two = one with { dtype = bf16, causal = false }
";

const CC: Tool = Tool {
    name: "cc",
    required_by: "ATTNC_REQUIRE_CC",
};
const CXX: Tool = Tool {
    name: "c++",
    required_by: "ATTNC_REQUIRE_CC",
};

struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

/// A folder with `ops.attn`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("ops.attn"), TEXT).expect("can be written");
    folder
}

fn attnc(folder: &Path, arguments: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnc-under-test"));
    command.args(arguments).current_dir(folder).env_clear();
    let ran = command.output().expect("the command runs");
    let text = |b| String::from_utf8(b).expect("UTF-8");
    Run {
        code: ran.status.code(),
        out: text(ran.stdout),
        err: text(ran.stderr),
    }
}

/// Builds `ops.attn` into a folder of its own below; yields that folder.
fn build(folder: &Path, to: &str, arguments: &[&str]) -> PathBuf {
    let run = attnc(
        folder,
        &[&["build", "ops.attn", "-o", to], arguments].concat(),
    );
    assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.err);
    folder.join(to)
}

/// Every file of a folder with its bytes, by name; nothing where there is no folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let entries = entries.map(|e| e.expect("an entry").path());
    let read = |p: PathBuf| {
        let name = p
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        (name, fs::read(p).unwrap_or_default())
    };
    let mut all: Vec<_> = entries.map(read).collect();
    all.sort();
    all
}

fn operators() -> Vec<Operator> {
    let file = Loaded {
        key: "ops".into(),
        name: "ops".into(),
        bytes: TEXT.into(),
    };
    let resolution = resolve(vec![Ok(file)], &mut NoFiles);
    resolution
        .operators()
        .map(|op| Operator::clone(op))
        .collect()
}

/// The targets of this machine's family.
fn family() -> Vec<CpuTarget> {
    let here = CpuTarget::here().map(CpuTarget::family);
    let all = CpuTarget::ALL.into_iter();
    all.filter(|t| Some(t.family()) == here).collect()
}

/// `--target T` for each.
fn options(targets: &[CpuTarget]) -> Vec<&'static str> {
    targets
        .iter()
        .flat_map(|t| ["--target", t.name()])
        .collect()
}

const X86: &[&str] = &[
    "--target",
    "x86_64",
    "--target",
    "x86_64-v3",
    "--target",
    "x86_64-v4",
    "--target",
    "x86_64-amx",
];

#[test]
fn files_are_named_by_operator_and_targets_and_are_the_same_every_time() {
    let folder = folder();
    let native = CpuTarget::here().expect("a known processor").name();
    let native_files = format!("one.{native}.o one.h one.json two.{native}.o two.h two.json");
    let both = "one.o one.h one.json two.o two.h two.json";
    for (i, (arguments, want)) in [
        (&[][..], native_files.as_str()),
        (X86, both),
        (
            &["--name", "two", "--target", "x86_64"],
            "two.x86_64.o two.h two.json",
        ),
        (
            &["--name", "two", "--target", "aarch64"],
            "two.aarch64.o two.h two.json",
        ),
        (
            &["--name", "one", "--target", "x86_64", "--target", "x86_64"],
            "one.x86_64.o one.h one.json",
        ),
        (
            &["--bundle", "all-of-them", "--target", "aarch64"],
            "all-of-them.aarch64.o all-of-them.h all-of-them.json",
        ),
        (
            &[&["--bundle", "all"], X86].concat(),
            "all.o all.h all.json",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        // Folders that are not there are made.
        let to = format!("{i}/out");
        let run = attnc(
            folder.path(),
            &[&["build", "ops.attn", "-o", &to], arguments].concat(),
        );
        assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.err);
        let want: Vec<&str> = want.split(' ').collect();
        let listed: Vec<String> = want.iter().map(|f| format!("{to}/{f}")).collect();
        assert_eq!(run.out.lines().collect::<Vec<_>>(), listed, "{arguments:?}");
        let made = files(&folder.path().join(&to));
        let mut names = want;
        names.sort_unstable();
        assert_eq!(made.iter().map(|f| &*f.0).collect::<Vec<_>>(), names);
        // Over what is there, and elsewhere.
        let again = build(folder.path(), &to, &[arguments, &["-q"]].concat());
        assert!(files(&again) == made, "{arguments:?}");
        let elsewhere = build(folder.path(), "elsewhere", arguments);
        assert!(files(&elsewhere) == made, "{arguments:?}");
        fs::remove_dir_all(elsewhere).expect("ours");
    }
    // One header serves every processor.
    let header = |to: &str| fs::read(folder.path().join(to)).expect("written");
    assert!(header("2/out/two.h") == header("3/out/two.h"));
    assert!(header("1/out/two.h") == header("3/out/two.h"));
}

#[test]
fn layout_and_comments_change_nothing_but_meaning_changes_the_hash() {
    let folder = folder();
    let before = files(&build(folder.path(), "a", &["--target", "x86_64"]));
    let text = TEXT.replace("    causal ", "  // a comment\n\n  causal ");
    fs::write(folder.path().join("ops.attn"), text).expect("can be written");
    assert!(files(&build(folder.path(), "b", &["--target", "x86_64"])) == before);
    fs::write(
        folder.path().join("ops.attn"),
        TEXT.replace("= 64,", "= 48,"),
    )
    .expect("written");
    let after = files(&build(folder.path(), "c", &["--target", "x86_64"]));
    for (old, new) in before.iter().zip(&after) {
        assert!(old.0 == new.0 && old.1 != new.1, "{}", old.0);
    }
}

#[test]
fn manifests_follow_their_schema_and_tell_the_truth() {
    let folder = folder();
    let schema = Schema::new(MANIFEST_SCHEMA);
    for (to, name, arguments) in [
        ("a", "two", &["--target", "aarch64"][..]),
        ("b", "all", &[&["--bundle", "all"], X86].concat()),
    ] {
        let out = build(folder.path(), to, arguments);
        let text = fs::read_to_string(out.join(format!("{name}.json"))).expect("written");
        let manifest: Value = serde_json::from_str(&text).expect("JSON");
        let wrong = schema.errors(&manifest);
        assert!(wrong.is_empty(), "{wrong:?}");
        for part in ["header", "object"] {
            let row = &manifest[part];
            let bytes = fs::read(out.join(row["file"].as_str().expect("a name"))).expect("beside");
            assert_eq!(row["bytes"], bytes.len());
            let digest = Sha256::digest(&bytes);
            let digest: String = digest.iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(row["sha256"], digest);
        }
        let object = fs::read(out.join(manifest["object"]["file"].as_str().expect("a name")));
        let object = object.expect("beside");
        let object = object::File::parse(&*object).expect("ELF");
        let mut symbols = Vec::new();
        for row in manifest["operators"].as_array().expect("a list") {
            let operator = row["name"].as_str().expect("a name");
            let hash = attnc(folder.path(), &["hash", "ops.attn", "--name", operator]);
            assert_eq!(row["hash"], hash.out.trim());
            let read = Operator::from_json(&row["operator"].to_string()).expect("an operator");
            assert_eq!(read.content_hash().to_string(), row["hash"]);
            let names = row["symbols"].as_object().expect("an object");
            symbols.extend(
                names
                    .values()
                    .map(|s| s.as_str().expect("a name").to_owned()),
            );
            let held = object.symbol_by_name(names["hash"].as_str().expect("a name"));
            let held = held.expect("defined");
            let section = object.section_by_index(held.section_index().expect("defined"));
            let data = section
                .expect("is there")
                .data_range(held.address(), held.size());
            let data = data.expect("readable").expect("inside");
            assert_eq!(data, format!("{}\0", hash.out.trim()).as_bytes());
        }
        symbols.sort();
        let mut global: Vec<String> = object
            .symbols()
            .filter(|s| s.is_global())
            .map(|s| s.name().expect("UTF-8").to_owned())
            .collect();
        global.sort();
        assert_eq!(symbols, global, "{name}");
        // The schema demands what is there and nothing else: every part, left out or of another kind, is missed.
        let mut damaged = 0;
        for pointer in pointers(&manifest, String::new()) {
            let (parent, key) = pointer.rsplit_once('/').expect("not the root");
            let mut less = manifest.clone();
            if let Some(map) = less.pointer_mut(parent).and_then(Value::as_object_mut) {
                map.remove(key);
                assert!(
                    !schema.errors(&less).is_empty(),
                    "{pointer} is not demanded"
                );
            }
            let mut other = manifest.clone();
            *other.pointer_mut(&pointer).expect("is there") = Value::Null;
            assert!(!schema.errors(&other).is_empty(), "{pointer} may be null");
            damaged += 1;
        }
        assert!(damaged > 40, "{damaged}");
    }
}

/// The place of every part of a value but itself.
fn pointers(value: &Value, at: String) -> Vec<String> {
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(k, v)| (format!("{at}/{k}"), v)).collect(),
        Value::Array(list) => (list.iter().enumerate())
            .map(|(i, v)| (format!("{at}/{i}"), v))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    inside
        .into_iter()
        .flat_map(|(at, v)| [vec![at.clone()], pointers(v, at)].concat())
        .collect()
}

#[test]
fn objects_need_nothing_and_write_to_nothing_of_their_own() {
    let folder = folder();
    for (to, arguments) in [("a", X86), ("b", &["--target", "aarch64"])] {
        for (name, bytes) in files(&build(folder.path(), to, arguments)) {
            if !name.ends_with(".o") {
                continue;
            }
            let file = object::File::parse(&*bytes).expect("ELF");
            let undefined = file
                .symbols()
                .filter(|s| s.is_undefined() && s.index().0 != 0);
            assert_eq!(undefined.count(), 0, "{name}");
            for section in file.sections() {
                let writable = matches!(
                    section.kind(),
                    SectionKind::Data | SectionKind::UninitializedData | SectionKind::Tls
                );
                assert!(
                    !writable || section.size() == 0,
                    "{name}: {:?}",
                    section.name()
                );
            }
            let marked = file.sections().any(|s| s.name() == Ok(".note.GNU-stack"));
            assert!(
                marked,
                "{name}: without the mark linkers make the stack executable"
            );
        }
    }
}

/// An operator's code in this process: of a target's programs the most preferred that runs here, as an object chooses.
fn jit(op: &Operator, target: CpuTarget, plan: Plan) -> Jit {
    let choices = Choices {
        plan,
        ..Choices::new(target.name())
    };
    let graph = pipeline::graph(op).expect("a graph");
    let fused = pipeline::fuse(&graph, &choices).expect("rewriting ends");
    let cores = pipeline::tiles(&fused.graph, &choices).expect("programs");
    let here = |c: &&Core| Jit::best_level(target, Panels::of(c)).is_some();
    let core = cores.iter().rfind(here).expect("one runs");
    Jit::new(core).expect("code")
}

/// Tensors of three shapes.
fn shapes(op: &Operator) -> [Inputs; 3] {
    [(2, 150), (1, 64), (1, 1)]
        .map(|(batch, n)| Inputs::generate(&Signature::from(op), batch, n, 21).expect("small"))
}

#[test]
fn objects_hold_the_plan_that_is_asked_for_and_manifests_say_it() {
    let folder = folder();
    let folder = folder.path();
    let target = CpuTarget::here().expect("a known processor");
    let object = format!("all.{}.o", target.name());
    let made = |plan: &str| {
        let out = build(folder, plan, &["--bundle", "all", "--plan", plan]);
        (fs::read(out.join(&object)).expect("written"), out)
    };
    let plans = [Plan::Share, Plan::Each].map(|plan| (plan, made(plan.name())));
    let [(_, (share, _)), (_, (each, _))] = &plans;
    assert!(share != each);
    let default = build(folder, "default", &["--bundle", "all"]);
    assert_eq!(
        fs::read(default.join(&object)).expect("written"),
        made("auto").0
    );
    for (plan, (_, out)) in &plans {
        let text = fs::read_to_string(out.join("all.json")).expect("written");
        let manifest: Value = serde_json::from_str(&text).expect("JSON");
        for operator in manifest["operators"].as_array().expect("a list") {
            let want = serde_json::json!([{ "target": target.name(), "plan": plan.name() }]);
            assert_eq!(operator["plans"], want, "{}", operator["name"]);
        }
        if !CC.there() {
            continue;
        }
        for op in operators() {
            let shapes = shapes(&op);
            let want = shapes
                .each_ref()
                .map(|x| in_memory(&op, &jit(&op, target, *plan), x));
            let cc = ["cc", "-std=c99", "-DHASHED"];
            let exe = driver(out, &cc, &op, &out.join("all.h"), &out.join(&object));
            let got = drive(&exe, &[], 0, -1, &shapes);
            assert!(got == want, "{} {}", plan.name(), op.name);
            for (x, bytes) in shapes.iter().zip(&want) {
                judge(&op, x, bytes, target.name());
            }
        }
    }
}

/// What is linked against one object may be compiled with the header of another.
#[test]
fn one_header_fits_the_objects_of_every_plan() {
    for (fields, branches) in [
        ("", &["segment = 16", "segment = 64, dilation = 2"][..]),
        ("", &["segment = 16", "segment = 16"]),
        (
            ", causal = true",
            &[
                "segment = whole",
                "segment = 16",
                "segment = 32, dilation = 4",
            ],
        ),
        (
            ", zero_lse = uncovered",
            &["segment = 8", "segment = 8", "segment = 12, dilation = 3"],
        ),
    ] {
        let branches: String = branches
            .iter()
            .map(|b| format!(" branch {{ {b} }}"))
            .collect();
        let text = format!("attention op {{ heads = 1, head_dim = 8{fields}{branches} }}");
        let file = AttentionFile::parse(&text).expect("an operator");
        let headers = [Plan::Auto, Plan::Share, Plan::Each].map(|plan| {
            let options = BuildOptions {
                plan,
                ..BuildOptions::default()
            };
            let built = attnc::build(file.attentions(), &family(), &options).expect("builds");
            built.files()[1].clone()
        });
        assert_eq!(headers[0].name, "op.h");
        assert!(headers.iter().all(|h| *h == headers[0]), "{text}");
    }
}

#[test]
fn c_and_cxx_programs_get_the_bits_of_the_code_in_memory() {
    if !CC.there() || !CXX.there() {
        return;
    }
    let folder = folder();
    let runs: Vec<CpuTarget> = family().into_iter().filter(|t| t.runs_here()).collect();
    let mut builds = vec![(family(), "all.o".to_owned())];
    builds.extend(
        runs.iter()
            .map(|t| (vec![*t], format!("all.{}.o", t.name()))),
    );
    for (i, (targets, name)) in builds.iter().enumerate() {
        let arguments = [&["--bundle", "all"][..], &options(targets)].concat();
        let out = build(folder.path(), &i.to_string(), &arguments);
        let best = targets
            .iter()
            .rev()
            .find(|t| t.runs_here())
            .expect("one runs");
        for op in operators() {
            let jit = jit(&op, *best, Plan::Auto);
            let shapes = shapes(&op);
            let want = shapes.each_ref().map(|x| in_memory(&op, &jit, x));
            let shared = out.join(format!("lib{}.so", op.name));
            let linked = Command::new("cc")
                .args([
                    "-shared",
                    "-Wl,--no-undefined,-z,text,--fatal-warnings",
                    "-o",
                ])
                .arg(&shared)
                .arg(out.join(name))
                .output()
                .expect("the compiler runs");
            assert!(
                linked.status.success() && linked.stderr.is_empty(),
                "{linked:?}"
            );
            // Once against the shared library, otherwise against the object; by every language and kind of program.
            let rpath = format!("-Wl,-rpath,{}", out.display());
            for (cc, against) in [
                (
                    &["cc", "-std=c99", "-fPIE", "-pie", "-DHASHED"][..],
                    out.join(name),
                ),
                (&["cc", "-std=c11", "-static", "-DHASHED"], out.join(name)),
                (&["cc", "-std=c99", "-no-pie", "-DHASHED", &rpath], shared),
                (
                    &["c++", "-x", "c++", "-std=c++17", "-DHASHED"],
                    out.join(name),
                ),
            ] {
                let exe = driver(&out, cc, &op, &out.join("all.h"), &against);
                for layout in [0, 1, 2] {
                    let got = drive(&exe, &[], layout, -1, &shapes);
                    assert!(got == want, "{name} {} {cc:?} layout {layout}", op.name);
                }
            }
            for (x, bytes) in shapes.iter().zip(&want) {
                judge(&op, x, bytes, best.name());
            }
        }
    }
}

#[test]
fn the_c_example_builds_and_runs() {
    const MAKE: Tool = Tool {
        name: "make",
        required_by: "ATTNC_REQUIRE_CC",
    };
    if !CC.there() || !MAKE.there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("c")).expect("can be made");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for name in ["local.attn", "c/Makefile", "c/main.c"] {
        fs::copy(examples.join(name), folder.path().join(name)).expect("can be copied");
    }
    let mut make = Command::new("make");
    make.current_dir(folder.path().join("c"))
        .arg(concat!("ATTNC=", env!("CARGO_BIN_EXE_attnc-under-test")));
    if let [one] = family()[..] {
        make.arg(format!("TARGETS=--target {}", one.name()))
            .arg(format!("OBJECT=build/operators.{}.o", one.name()));
    }
    let ran = make.output().expect("make runs");
    let (out, err) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success(), "{out}{err}");
    assert!(out.contains("on 2 threads: right"), "{out}");
}

#[test]
fn the_program_of_the_guide_compiles() {
    if !CC.there() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = tempfile::tempdir().expect("a folder");
    let file = root.join("examples/local.attn");
    let file = file.to_str().expect("UTF-8");
    let run = attnc(folder.path(), &["build", file, "-q", "-o", "."]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let guide = fs::read_to_string(root.join("docs/guide/c.md")).expect("the guide");
    let code = guide
        .split("```c\n")
        .map(|part| part.split("```").next().unwrap_or(""));
    let code = code
        .filter(|c| c.starts_with("#include"))
        .collect::<Vec<_>>();
    let [code] = code[..] else {
        panic!("{} programs", code.len());
    };
    fs::write(folder.path().join("attend.c"), code).expect("can be written");
    let made = Command::new("cc")
        .current_dir(folder.path())
        .args([
            "-std=c99",
            "-Wall",
            "-Wextra",
            "-pedantic",
            "-Werror",
            "-c",
            "attend.c",
        ])
        .output()
        .expect("the compiler runs");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

#[test]
fn a_build_that_fails_says_why_and_leaves_nothing_behind() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("taken/two.h")).expect("can be made");
    fs::write(at("taken/one.h"), "before").expect("can be written");
    fs::write(at("file"), "before").expect("can be written");
    fs::write(
        at("fast.attn"),
        "attention a { heads = 2, head_dim = 4, precision = fast, branch { segment = 4 } }\n",
    )
    .expect("can be written");
    fs::write(at("none.attn"), "let a = 1\nlet b = a\n").expect("can be written");
    let two = ["--target", "x86_64", "--target", "aarch64"];
    for (file, to, arguments, code, why) in [
        ("ops.attn", "new", &two[..], 2, "x86_64 and for aarch64"),
        (
            "ops.attn",
            "new",
            &["--target", "sm_80"],
            1,
            "not built yet",
        ),
        ("ops.attn", "new", &["--target", "z80"], 2, "z80"),
        ("ops.attn", "new", &["--bundle", "../x"], 2, "../x"),
        ("ops.attn", "new", &["--bundle", ""], 2, "bundle"),
        ("ops.attn", "new", &["--name", "three"], 1, "three"),
        ("fast.attn", "new", &[], 1, "let `dtype` be `bf16` or `f16`"),
        ("none.attn", "new", &[], 1, "no attention"),
        ("missing.attn", "new", &[], 1, "missing.attn"),
        ("ops.attn", "taken", &[], 1, "two.h"),
        ("ops.attn", "file", &[], 1, "no folder"),
        ("ops.attn", "file/below", &[], 1, "file/below"),
        ("ops.attn", "/dev/full", &[], 1, "no folder"),
        // Not even the administrator may.
        ("ops.attn", "/proc", &[], 1, "/proc"),
    ] {
        let run = attnc(
            folder.path(),
            &[&["build", file, "-o", to], arguments].concat(),
        );
        assert_eq!(
            run.code,
            Some(code),
            "{file} {to} {arguments:?}: {}",
            run.err
        );
        assert!(run.err.contains(why), "{to} {arguments:?}: {}", run.err);
        assert_eq!(run.out, "");
        assert!(!at("new").exists(), "{arguments:?}");
        let left: Vec<String> = files(&at("taken")).into_iter().map(|f| f.0).collect();
        assert_eq!(left, ["one.h", "two.h"]);
        assert_eq!(fs::read(at("taken/one.h")).expect("is there"), b"before");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_written_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).expect("can be made");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).expect("ours");
    if fs::write(locked.join("probe"), "").is_ok() {
        println!("skipped: permissions do not bind this user");
        return;
    }
    let run = attnc(folder.path(), &["build", "ops.attn", "-o", "locked"]);
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("cannot write locked: "), "{}", run.err);
}
